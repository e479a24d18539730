"""What a training begins with: the run to go on with, its data, and the first weights and tokenizer."""

import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nmt.config import Config, flat, to_tree
from nmt.data.corpus import ParallelText, gold_file, gold_text, open_corpus
from nmt.data.prepare import Prepared, load_tests, prepare
from nmt.data.tokenizer import Tokenizers
from nmt.device import resolve_device, resolve_precision, seed_everything
from nmt.errors import ConfigError, RunError
from nmt.models import build_model
from nmt.models.seq2seq import Seq2Seq
from nmt.runs.checkpoint_store import SavedState, can_resume, has_only_weights, newest_state
from nmt.runs.directory import (
    Run,
    absolute_paths,
    directory_for,
    newest_run,
    read_config,
    read_data,
    read_weights,
)
from nmt.runs.lock import sole_writer
from nmt.train.distributed import Ranks
from nmt.train.preflight import preflight_check
from nmt.train.validate_command import ValidateCommand

# What a resumed run may not change: its weights, its data, the order of its batches, the optimizer's averages.
FIXED = ("model.", "data.", "seed", "optim.name")
MOVABLE = ("data.root", "data.cache", "data.test", "data.tests", "data.gold")


@dataclass(frozen=True)
class Start:
    """What was found and made before there is a run directory; ``tests`` and ``gold`` in the first process alone."""

    found: Path | None  # the run to go on with
    saved: SavedState | None  # where it stopped, if it saved anything
    data: Prepared
    tests: list[ParallelText]
    gold: ParallelText | None
    model: Seq2Seq


def start(config: Config, resumed: Path | None, ranks: Ranks, lock: contextlib.ExitStack) -> Start:
    """Read what a training reads, build its model and check that they fit, with nothing written yet.

    A run to go on with is locked until ``lock`` closes.  Raises UserError for what cannot be trained.
    """
    if ranks.main:
        config.logger.check()
    tests = load_tests(config.data) if ranks.main else []
    gold = gold_text(config.data) if ranks.main else None
    found = ranks.broadcast(find(config, resumed) if ranks.main else None)
    if ranks.main and found is not None:
        lock.enter_context(sole_writer(found))
    saved: SavedState | None = ranks.broadcast(
        newest_state(found) if ranks.main and found and can_resume(found) else None
    )
    resume = saved is not None
    if saved is not None and saved.measured and config.trainer.metric not in saved.measured:
        raise RunError(
            f"resume: trainer.metric={config.trainer.metric} was not measured where the best weights of {found} were "
            f"chosen ({', '.join(sorted(saved.measured))} were), so that the next validation would replace them; "
            f"init_from={found} starts another training with them"
        )
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
        try_validate_command(config, data.validation)
    return Start(found, saved, data, tests, gold, model)


def validate_command(config: Config, folder: Path, system: str) -> ValidateCommand | None:
    """The program of trainer.validate_command, which reads files in ``folder``, if there is one."""
    trainer, pair = config.trainer, (config.data.source, config.data.target)
    if trainer.validate_command is None:
        return None
    return ValidateCommand(trainer.validate_command, trainer.validate_command_minutes, folder, pair, system)


def try_validate_command(config: Config, text: ParallelText) -> None:
    """Raise the ConfigError that validations would raise, by judging two references as if they were translations."""
    with tempfile.TemporaryDirectory() as folder:
        if (judge := validate_command(config, Path(folder), "reference")) is not None:
            judge(text.source[:2], text.target[:2], text.target[:2])


def check_start(config: Config, here: bool) -> None:
    """Raise UserError for what can be told of a training before anything is read or made: whether the run of init_from
    and its tokenizer, the packages of the loggers, the file of data.gold and, if it runs ``here``, the device and
    validation's precision can be had."""
    if here:
        resolve_precision(config.decode.precision, resolve_device(config.device))
    config.logger.check()
    initial_tokenizers(config)
    gold_file(open_corpus(config.data))


def find(config: Config, resumed: Path | None) -> Path | None:
    """The run to go on with: ``resumed`` or, with resume=true, the newest of that name, if there is one.

    Raises RunError if it has another model or other data, and where it has weights but no state to go on from.
    """
    found = resumed or (newest_run(directory_for(config)) if config.resume else None)
    if found is not None and has_only_weights(found):
        raise RunError(
            f"resume={resumed or 'true'}: {found} has weights, which a training from the beginning would overwrite, "
            f"and no checkpoints/last.pt to go on from; init_from={found} starts another training with its weights"
        )
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
