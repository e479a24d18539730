"""python -m nmt.train: from a Config to a run directory with everything in it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nmt.config import Config, flat, to_tree
from nmt.config_checks import check_sections
from nmt.data.batching import TrainBatches
from nmt.data.both_directions import BothDirections
from nmt.data.corpus import ParallelText
from nmt.data.directions import tags_of
from nmt.data.encode import EncodedCorpus
from nmt.data.prepare import Prepared, load_tests
from nmt.data.text import VALIDATION
from nmt.data.tokenizer import Tokenizers
from nmt.device import resolve_device, resolve_precision, set_up
from nmt.errors import Stopped
from nmt.eval.challenges import words_of
from nmt.eval.evaluate import EvaluationOptions, PictureRequest, evaluate, sentences_to_draw
from nmt.eval.metrics import METRICS, EvalConfig
from nmt.eval.references import notes_on_references
from nmt.models.seq2seq import Seq2Seq
from nmt.plugins import load_plugins, used_plugins
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints
from nmt.runs.directory import (
    ORIGIN,
    TOKENIZER,
    Run,
    alignment_config,
    create_directory,
    directory_for,
    recorded_name,
    save_config,
    write_json,
)
from nmt.runs.lock import sole_writer
from nmt.runs.origin import device_name, origin
from nmt.runs.plugins import FOLDER, store_plugins
from nmt.runs.scoring import Scorer, languages, last_line
from nmt.runs.start import start, validate_command
from nmt.settings import always_numbers
from nmt.train.config import COMMAND, COMMAND_LOWER, validation_metrics
from nmt.train.console import unread_output_ignored
from nmt.train.distributed import Ranks, check_strategy, join_processes
from nmt.train.log import RunLog, Sample, Validation
from nmt.train.loop import Ending, Trainer

VALIDATED = "validation"  # in a run directory: what trainer.validate_command read last
WORDS_AT_ONCE = 4096  # pairs of training text decoded at once


@unread_output_ignored()
def train(config: Config, resumed: Path | None = None, told: Callable[[Path], object] | None = None) -> float | None:
    """Train one run, from its beginning or from where it stopped, and score it with its best weights.

    ``resumed`` is the run to go on with; without it, resume=true finds one by its name.  Returns the best validation
    by trainer.metric.  ``told`` is called with the run directory once there is one.
    What is wrong with the configuration (``check_sections``) or the data is raised before there is a run directory.
    Raises Stopped, a KeyboardInterrupt, where a signal ended training, once everything is saved; it ends a sweep, too.
    """
    plugins = load_plugins(config.plugins)
    # In a Python program an earlier call may have loaded what this run needs.
    plugins += [plugin for plugin in used_plugins(config) if plugin not in plugins]
    check_sections(config)
    device = resolve_device(config.device)
    resolve_precision(config.decode.precision, device)  # of validation: what the machine lacks is refused at once
    set_up(config.threads, config.deterministic)
    with join_processes(device) as ranks, contextlib.ExitStack() as lock:
        check_strategy(config.trainer, config.optim, ranks.size)
        begun = start(config, resumed, ranks, lock)
        found, saved, data, model = begun.found, begun.saved, begun.data, begun.model
        both = BothDirections.of(data.tokenizers.source, tags_of(config.data)) if config.trainer.agreement else None
        batches = TrainBatches(
            data.train, config.data.batching, config.seed, ranks.rank, ranks.size, data.mixture, both
        )
        precision = resolve_precision(config.trainer.precision, device)
        config = replace(config, trainer=replace(config.trainer, precision=precision))
        directory = ranks.broadcast((found or create_directory(directory_for(config))) if ranks.main else None)
        if told is not None:
            told(directory)
        if ranks.main:
            if found is None:
                lock.enter_context(sole_writer(directory))
            describe_run(directory, config, data.tokenizers, device, ranks)
            store_plugins(directory, plugins)
        with RunLog(directory, config.logger, main=ranks.main, step=saved.step if saved else 0) as log:
            if saved and saved.damage:
                said = f"{saved.damage}\ngoing on from the one before it, {saved.path}, step {saved.step:,}"
                log.event("damaged", said, step=saved.step, damage=saved.damage, used=saved.path)
            announce(log, directory, config, model, data, batches, begun.tests, device, ranks)
            trainer = Trainer(
                model,
                batches,
                Validator(config, data, begun.gold, device, directory),
                config=config.trainer,
                optim=config.optim,
                log=log,
                checkpoints=RunCheckpoints(directory, config.trainer, saved.path if saved else None),
                device=device,
                ranks=ranks,
            )
            result = trainer.run(saved is not None)
            if ranks.main and result.ending is not Ending.interrupted:
                score_test_sets(Run.open(directory), device, log, data.train)
    if result.ending is Ending.interrupted:
        raise Stopped(result.signal)
    return result.best_metrics.get(config.trainer.metric)


def describe_run(directory: Path, config: Config, tokenizers: Tokenizers, device: torch.device, ranks: Ranks) -> None:
    """Write what later commands read: configuration and tokenizer; and where and by what the run was made."""
    # What the run is, not how it was started; the name that it was made for tells whose NAME-2 it is.
    save_config(directory, replace(config, name=recorded_name(directory) or config.name, resume=False))
    tokenizers.save(directory / TOKENIZER)
    write_json(directory / ORIGIN, origin(device, ranks))


def announce(
    log: RunLog,
    directory: Path,
    config: Config,
    model: Seq2Seq,
    data: Prepared,
    batches: TrainBatches,
    tests: Sequence[ParallelText],
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Print and log what was built: model, device, precision and data; which sets will be scored at the end, and what
    is to be noted about their references."""
    parameters = sum(p.numel() for p in model.parameters())
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    shown = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    choices = [config.model.name, *(getattr(config.model, key).name for key in config.model.choices)]
    facts = {
        "run": str(directory),
        "model": f"{' '.join(choices)}: {parameters:,} parameters ({shown})",
        "device": f"{device_name(device)}, {ranks.size} process{'es' * (ranks.size > 1)}",
        "precision": config.trainer.precision.name,
    }
    text = "\n".join([*(f"{key:14}{value}" for key, value in facts.items()), str(data.table), str(batches)])
    sets = list(dict.fromkeys([data.validation.name, *(test.name for test in tests)]))
    more = {"parameters": parameters, "sets": sets, "data": data.table.as_dict(), "padding": batches.padding()}
    log.event("built", text, **facts, **more)
    settings = {k: v for k, v in flat(to_tree(config)).items() if k not in ("name", "runs", "sweep", "resume")}
    log.hparams(settings, {*always_numbers(config)}, row_name(directory, config))
    for one in (data.validation, *(test for test in tests if test.name != VALIDATION)):
        for note in notes_on_references(one.target, one.language or config.data.target, one.target_file):
            log.say(f"note: {one.name}: {note}")


def row_name(directory: Path, config: Config) -> str:
    """What a run is called among others: its directory from the folder that ``runs`` is in."""
    above = Path(config.runs).resolve().parent
    return str(directory.resolve().relative_to(above)) if directory.resolve().is_relative_to(above) else str(directory)


class Validator:
    """The validations of training: the same evaluation as nmt.eval makes, of a fixed part of the validation set.

    The alignment error rate is measured on ``gold`` where data.gold names a test set.
    """

    def __init__(
        self, config: Config, data: Prepared, gold: ParallelText | None, device: torch.device, directory: Path
    ) -> None:
        self.config, self.data, limit = config, data, config.trainer.validation_sentences
        self.judge = validate_command(config, directory / VALIDATED, directory.name)
        logger = config.logger
        heatmaps = logger.heatmaps if logger.draws else 0
        shown = sentences_to_draw(data.validation, data.tokenizers, max(heatmaps, logger.samples), limit)
        self.pictures, self.sampled = PictureRequest(shown[:heatmaps], logger.self_attention), shown[: logger.samples]
        self.options = EvaluationOptions(
            device,
            config.decode,
            metrics=validation_metrics(config.trainer.metric),
            languages=languages(config.data),
            limit=limit,
            alignment=alignment_config(config),
            gold=gold,
        )

    def __call__(self, model: Seq2Seq, step: int) -> Validation:
        text = self.data.validation
        found = evaluate(model, self.data.tokenizers, text, self.options, self.pictures)
        by_place = dict(zip(found.indices, found.hypotheses, strict=True))
        read = text.tagged_source()
        samples = [Sample(read[i], text.target[i], by_place[i]) for i in self.sampled]
        drawn = self.config.logger.heatmap_layers, self.config.logger.heatmap_heads
        figures = {f"attention {p.kind}/sentence {p.sentence}": p.draw(step, *drawn) for p in found.pictures}
        numbers = found.numbers()
        if self.judge is not None:
            sources, targets = ([side[i] for i in found.indices] for side in (text.source, text.target))
            name = COMMAND_LOWER if self.config.trainer.metric == COMMAND_LOWER else COMMAND
            numbers[name] = self.judge(sources, found.hypotheses, targets)
        return Validation(numbers, samples, figures)


def score_test_sets(run: Run, device: torch.device, log: RunLog, trained: EncodedCorpus) -> None:
    """Score the whole validation set and the test sets of the configuration with the best checkpoint.

    The metric that chose it is among the scores.  The last line has the score of the test sets, or of the validation
    set where there are none.
    """
    chosen, usual = run.config.trainer.metric, EvalConfig()
    if chosen in METRICS and chosen not in usual.metrics:
        usual = replace(usual, metrics=[*usual.metrics, chosen])
    best = checkpoint.load(run.directory / checkpoint.BEST, mmap=True)
    log.say(f"best.pt of step {best['step']:,} ({chosen} {best['metrics'][chosen]:.4f} in validation) is scored:")
    known = target_words(trained, run.tokenizers)
    scorer = Scorer(run, run.config.data, run.config.decode, device, measure=usual, known=known.__contains__)
    scored = []
    for text in (scorer.validation(), *(t for t in load_tests(run.config.data) if t.name != VALIDATION)):
        found = scorer.score(text)
        scored.append((found, scorer.folder(text)))
        log.scored(scorer.step, found.name, str(found), found.numbers())
        if found.challenges is not None:
            log.event("challenges", set=found.name, step=scorer.step, **found.challenges.to_dict())
    trust = " trust=true" if (run.directory / FOLDER).is_dir() else ""  # its plug-ins
    log.say(f"{run.directory} holds it all; python -m nmt.translate run={run.directory}{trust} < in.txt > out.txt")
    log.say(last_line(scored[1:] or scored))


def target_words(trained: EncodedCorpus, tokenizers: Tokenizers) -> set[str]:
    """The words of the training target, in lower case."""
    words: set[str] = set()
    for first in range(0, len(trained), WORDS_AT_ONCE):
        _, targets = trained.read(np.arange(first, min(first + WORDS_AT_ONCE, len(trained))))
        words |= words_of(tokenizers.target.decode(targets))
    return words
