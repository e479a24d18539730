"""python -m nmt.train: from a Config to a run directory with everything in it."""

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nmt.config import Config, check_sections, flat, to_tree
from nmt.data.batching import TrainBatches
from nmt.data.corpus import ParallelText, gold_file, gold_text, open_corpus
from nmt.data.encode import EncodedCorpus
from nmt.data.prepare import Prepared, load_tests, prepare
from nmt.data.text import VALIDATION
from nmt.data.tokenizer import Tokenizers
from nmt.device import resolve_device, resolve_precision, seed_everything, set_up
from nmt.errors import ConfigError, RunError, Stopped
from nmt.eval.challenges import words_of
from nmt.eval.evaluate import EvaluationOptions, PictureRequest, evaluate, sentences_to_draw
from nmt.eval.metrics import METRICS, EvalConfig
from nmt.eval.references import notes_on_references
from nmt.models import build_model
from nmt.models.seq2seq import Seq2Seq
from nmt.plugins import load_plugins
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints, SavedState, can_resume, newest_state
from nmt.runs.directory import (
    ORIGIN,
    TOKENIZER,
    Run,
    absolute_paths,
    alignment_config,
    create_directory,
    directory_for,
    newest_run,
    read_config,
    read_data,
    read_weights,
    recorded_name,
    save_config,
    write_json,
)
from nmt.runs.lock import sole_writer
from nmt.runs.plugins import store_plugins
from nmt.runs.scoring import Scorer, languages, last_line
from nmt.settings import always_numbers
from nmt.train.config import validation_metrics
from nmt.train.console import unread_output_ignored
from nmt.train.distributed import Ranks, check_strategy, join_processes
from nmt.train.log import RunLog, Sample, Validation
from nmt.train.loop import Ending, Trainer
from nmt.train.preflight import preflight_check

WORDS_AT_ONCE = 4096  # pairs of training text decoded at once
# What a resumed run may not change: its weights, its data, the order of its batches, the optimizer's averages.
FIXED = ("model.", "data.", "seed", "optim.name")
MOVABLE = ("data.root", "data.cache", "data.test", "data.tests", "data.gold")


@unread_output_ignored()
def train(config: Config, resumed: Path | None = None, told: Callable[[Path], object] | None = None) -> float | None:
    """Train one run, from its beginning or from where it stopped, and score it with its best weights.

    ``resumed`` is the run to go on with; without it, resume=true finds one by its name.  Returns the best validation
    by trainer.metric.  ``told`` is called with the run directory once there is one.
    What is wrong with the configuration (``check_sections``) or the data is raised before there is a run directory.
    Raises Stopped, a KeyboardInterrupt, where a signal ended training, once everything is saved; it ends a sweep, too.
    """
    plugins = load_plugins(config.plugins)
    check_sections(config)
    device = resolve_device(config.device)
    set_up(config.threads, config.deterministic)
    with join_processes(device) as ranks, contextlib.ExitStack() as lock:
        check_strategy(config.trainer, config.optim, ranks.size)
        tests = load_tests(config.data) if ranks.main else []
        gold = gold_text(config.data) if ranks.main else None
        found = ranks.broadcast(find(config, resumed) if ranks.main else None)
        if ranks.main and found is not None:
            lock.enter_context(sole_writer(found))
        saved: SavedState | None = ranks.broadcast(
            newest_state(found) if ranks.main and found and can_resume(found) else None
        )
        resume = saved is not None
        data = prepared(config, Run.open(found).tokenizers if found and resume else initial_tokenizers(config), ranks)
        model = initial_model(config, data.tokenizers, ranks, resume)
        if ranks.main:
            preflight_check(
                model,
                data,
                tests,
                gold=gold,
                decode=config.decode,
                metric=config.trainer.metric,
                language=config.data.target,
            )
        batches = TrainBatches(data.train, config.data.batching, config.seed, ranks.rank, ranks.size)
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
            announce(log, directory, config, model, data, tests, device, ranks)
            for text in (data.validation, *(t for t in tests if t.name != VALIDATION)):
                for note in notes_on_references(text.target, text.language or config.data.target, text.target_file):
                    log.say(f"note: {text.name}: {note}")
            trainer = Trainer(
                model,
                batches,
                Validator(config, data, gold, device),
                config=config.trainer,
                optim=config.optim,
                log=log,
                checkpoints=RunCheckpoints(directory, config.trainer, saved.path if saved else None),
                device=device,
                ranks=ranks,
            )
            result = trainer.run(resume)
            if ranks.main and result.ending is not Ending.interrupted:
                score_test_sets(Run.open(directory), device, log, data.train)
    if result.ending is Ending.interrupted:
        raise Stopped(result.signal)
    return result.best_metrics.get(config.trainer.metric)


def check_start(config: Config, here: bool) -> None:
    """Raise UserError for what can be told of a training before anything is read or made: whether the run of init_from
    and its tokenizer, the file of data.gold and, if it runs ``here``, the device can be had."""
    if here:
        resolve_device(config.device)
    initial_tokenizers(config)
    gold_file(open_corpus(config.data))


def initial_model(config: Config, tokenizers: Tokenizers, ranks: Ranks, resume: bool) -> Seq2Seq:
    """The model on the CPU, with random weights or those of the run that init_from names.

    A run to be resumed gets its weights later, from its checkpoint.
    """
    seed_everything(config.seed + ranks.rank)  # the weights of rank 0 count, but each rank has its own dropout
    sizes = tokenizers.source.size, tokenizers.target.size
    model = build_model(config.model, *sizes, tokenizers.joint, config.trainer.label_smoothing)
    if config.init_from and not resume:
        copy_weights(Path(config.init_from), model)
    return model


def describe_run(directory: Path, config: Config, tokenizers: Tokenizers, device: torch.device, ranks: Ranks) -> None:
    """Write what later commands read: configuration and tokenizer; and where and by what the run was made."""
    # What the run is, not how it was started; the name that it was made for tells whose NAME-2 it is.
    save_config(directory, replace(config, name=recorded_name(directory) or config.name, resume=False))
    tokenizers.save(directory / TOKENIZER)
    write_json(directory / ORIGIN, origin(device, ranks))


def find(config: Config, resumed: Path | None) -> Path | None:
    """The run to go on with: ``resumed`` or, with resume=true, the newest of that name, if there is one.

    Raises RunError if it has another model or other data.
    """
    found = resumed or (newest_run(directory_for(config)) if config.resume else None)
    if found is None or not can_resume(found):
        return found
    old, new = flat(to_tree(read_config(found))), flat(to_tree(config))
    changed = [
        key
        for key in sorted(old.keys() | new.keys())
        if key.startswith(FIXED) and not key.startswith(MOVABLE) and old.get(key) != new.get(key)
    ]
    if any(key.startswith("data.") for key in changed):  # a relative and an absolute path may be the same
        was, now = (flat(absolute_paths(data), "data.") for data in (read_data(found), to_tree(config.data)))
        changed = [key for key in changed if key not in was or was[key] != now.get(key)]
    # Where another choice was made (model.attention.name), the keys below it differ anyway, and are not listed.
    choices = [key.removesuffix("name") for key in changed if key.endswith(".name")]
    listed = [key for key in changed if not any(key.startswith(c) and key != f"{c}name" for c in choices)]
    if listed:
        differences = "; ".join(f"{key.removesuffix('.name')}={old.get(key)}, not {new.get(key)}" for key in listed)
        raise RunError(f"resume={resumed or 'true'}: {found} was trained with {differences}")
    return found


def prepared(config: Config, tokenizers: Tokenizers | None, ranks: Ranks) -> Prepared:
    """The data, read by the first process and then, from its cache, by the others."""
    progress = ranks.main and sys.stderr.isatty()
    linked = config.trainer.guided_alignment > 0
    data = prepare(config.data, config.seed, tokenizers, progress, linked) if ranks.main else None
    ranks.broadcast(None)
    return data or prepare(config.data, config.seed, tokenizers, linked=linked)


def initial_tokenizers(config: Config) -> Tokenizers | None:
    """Those of the run that init_from names, if it names one.

    Raises RunError if it is no run, ConfigError if data.tokenizer asks for other tokenizers.  data.tokenizer.sampling
    may differ: the pieces are the same.
    """
    if not config.init_from:
        return None
    try:
        run = Run.open(config.init_from)
    except RunError as error:
        raise RunError(f"init_from: {error}") from None
    theirs, asked = (to_tree(c.data.tokenizer) for c in (run.config, config))
    other = [key for key in asked if key != "sampling" and theirs[key] != asked[key]]
    if other:
        differences = "; ".join(f"data.tokenizer.{key}={theirs[key]}, not {asked[key]}" for key in other)
        raise ConfigError(f"init_from={config.init_from} brings its tokenizer, so type what that has: {differences}")
    return run.tokenizers


def copy_weights(directory: Path, model: Seq2Seq) -> None:
    """Load the best weights of another run; raises RunError, naming init_from, where they do not fit."""
    try:
        [best] = Run.open(directory).weights("best")
        model.load_state_dict(read_weights(best)["model"])
    except RunError as error:
        raise RunError(f"init_from: {error}") from None
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise RunError(f"init_from={directory}: its weights do not fit this model: {reason}") from None


def origin(device: torch.device, ranks: Ranks) -> dict[str, Any]:
    """Where and by what the run was made."""
    return {
        "command": [readable(word) for word in sys.argv],
        "folder": readable(Path.cwd()),
        "nmt": nmt_version(),
        **source_state(Path(__file__).parent),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "processes": ranks.size,
    }


def readable(name: str | Path) -> str:
    """A word or path as text, even where the locale does not have its characters."""
    return os.fsencode(name).decode(errors="replace")


def source_state(folder: Path) -> dict[str, Any]:
    """The git ``commit`` of the source tree below which ``folder`` is, and whether it has ``uncommitted`` changes.

    Nothing for an installed package, which is in no git repository, and where there is no git.
    """
    try:
        listed = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "."]
        subprocess.run(listed, capture_output=True, check=True, timeout=10)
        commit, changes = (
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, text=True, timeout=10)
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit.stdout.strip(), "uncommitted": bool(changes.stdout.strip())}


def nmt_version() -> str:
    """The version of the installed package; a source tree need not be installed."""
    try:
        return version("nmt")
    except PackageNotFoundError:
        return "not installed"


def device_name(device: torch.device) -> str:
    """cpu with its threads, or the accelerator's name."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    return f"cpu ({threads} thread{'s' * (threads > 1)} of {cores} core{'s' * (cores > 1)})"


def announce(
    log: RunLog,
    directory: Path,
    config: Config,
    model: Seq2Seq,
    data: Prepared,
    tests: Sequence[ParallelText],
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Print and log what was built: model, device, precision and data; and which sets will be scored at the end."""
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
    text = "\n".join([*(f"{key:14}{value}" for key, value in facts.items()), str(data.table)])
    sets = list(dict.fromkeys([data.validation.name, *(test.name for test in tests)]))
    log.event("built", text, **facts, parameters=parameters, sets=sets, data=data.table.as_dict())
    settings = {k: v for k, v in flat(to_tree(config)).items() if k not in ("name", "runs", "sweep", "resume")}
    log.hparams(settings, {*always_numbers(config)}, row_name(directory, config))


def row_name(directory: Path, config: Config) -> str:
    """What a run is called among others: its directory from the folder that ``runs`` is in."""
    above = Path(config.runs).resolve().parent
    return str(directory.resolve().relative_to(above)) if directory.resolve().is_relative_to(above) else str(directory)


class Validator:
    """The validations of training: the same evaluation as nmt.eval makes, of a fixed part of the validation set.

    The alignment error rate is measured on ``gold`` where data.gold names a test set.
    """

    def __init__(self, config: Config, data: Prepared, gold: ParallelText | None, device: torch.device) -> None:
        self.config, self.data, limit = config, data, config.trainer.validation_sentences
        logger = config.logger
        heatmaps = logger.heatmaps if logger.tensorboard else 0
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
        samples = [Sample(text.source[i], text.target[i], by_place[i]) for i in self.sampled]
        drawn = self.config.logger.heatmap_layers, self.config.logger.heatmap_heads
        figures = {f"attention {p.kind}/sentence {p.sentence}": p.draw(step, *drawn) for p in found.pictures}
        return Validation(found.numbers(), samples, figures)


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
    log.say(f"{run.directory} holds it all; python -m nmt.translate run={run.directory} < in.txt > out.txt")
    log.say(last_line(scored[1:] or scored))


def target_words(trained: EncodedCorpus, tokenizers: Tokenizers) -> set[str]:
    """The words of the training target, in lower case."""
    words: set[str] = set()
    for start in range(0, len(trained), WORDS_AT_ONCE):
        _, targets = trained.read(np.arange(start, min(start + WORDS_AT_ONCE, len(trained))))
        words |= words_of(tokenizers.target.decode(targets))
    return words
