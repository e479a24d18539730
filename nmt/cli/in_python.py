"""nmt.train(...) in a Python program: what ``python -m nmt.train`` does, without the command line."""

import contextlib
import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton

from nmt.cli import resume
from nmt.cli.compose import configs, register
from nmt.cli.mistakes import explain, for_user
from nmt.cli.plugins import plugins_loaded
from nmt.cli.train import COMMAND
from nmt.cli.words import parse
from nmt.config import Config
from nmt.errors import ConfigError, UserError
from nmt.runs import training
from nmt.runs.directory import read_config
from nmt.runs.results import RESULTS_FILE, read_results
from nmt.runs.summary import read_events
from nmt.translate.arguments import list_of
from nmt.translate.loaded import LoadedModel, load

# Hydra, the seeds and the number of threads belong to the process: a second training waits for the first one.
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class TrainedRun:
    """A finished training.  Everything but ``directory`` and ``best`` is read from the run directory when asked for."""

    directory: Path
    best: float | None  # the best validation by trainer.metric

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return read_config(self.directory)

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """For each set that was scored at the end, by its folder in DIR/scores, what its results.json holds."""
        found = sorted((self.directory / "scores").glob(f"*/{RESULTS_FILE}"))
        return {path.parent.name: read_results(path.parent) for path in found}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The events of log.jsonl, the earliest first (docs/log_format.md)."""
        return read_events(self.directory / "log.jsonl")[0]

    def load(self, device: str = "auto", checkpoint: str = "best", engine: str = "torch") -> LoadedModel:
        """The trained model: see ``nmt.load``."""
        return load(self.directory, device, checkpoint, engine)


def train(overrides: Sequence[str] | Config = ()) -> TrainedRun:
    """Train one model in a run directory of its own, and score it at the end, as ``python -m nmt.train`` does.

    ``overrides`` are the words that would be typed, ["model.attention=local_p", "seed=2"], or a whole Config.
    Trainings of several threads run one after another.

    Raises:
        TypeError: ``overrides`` is something else.
        UserError: what the command would end with, in the same words.
        Stopped: a signal ended training (a KeyboardInterrupt); everything was saved, and resume=true goes on.
    """
    with _one_at_a_time, process_state_kept():
        config, resumed = (overrides, None) if isinstance(overrides, Config) else composed(overrides)
        directories: list[Path] = []
        best = training.train(config, resumed, told=directories.append)
        return TrainedRun(directories[0], best)


def composed(overrides: Sequence[str]) -> tuple[Config, Path | None]:
    """The configuration that the command makes of these words and, for resume=DIR, the run to go on with.

    Raises ConfigError in the words of the command.
    """
    wanted = "a list of str, as typed after python -m nmt.train, or a Config"
    words = list_of("overrides", wanted, (str,), overrides)
    for word in words:
        if word.startswith("-"):
            raise ConfigError(f"overrides: {word} is a flag of the command line; nmt.train takes KEY=VALUE alone")
    try:
        overrides = parse(words, COMMAND).overrides
        refuse_sweeps(overrides)
        with plugins_loaded(overrides, COMMAND) as typed:
            register(COMMAND)
            if directory := resume.named_run(typed):
                return resume.config_on_top(COMMAND, directory, typed), directory
            return configs(COMMAND, typed), None
    except Exception as error:
        if isinstance(error, UserError) or not for_user(error):
            raise
        raise ConfigError(explain(error, COMMAND)) from None


def refuse_sweeps(overrides: Sequence[str]) -> None:
    """Raise ConfigError for an override with several values, of which one call trains none."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            word = str(override.input_line)
            key, _, values = word.partition("=")
            raise ConfigError(
                f"{word} has several values, and nmt.train trains one model: call it once for each (a sweep is the "
                f"command line's: python -m nmt.train -m {word}), type {key}=[{values}] for a list, or quote one text: "
                f"{key}='{values}'"
            )


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """A context after which Hydra, random numbers, threads and environment of the process are as they were before."""
    hydra_state, environment = Singleton.get_state(), dict(os.environ)
    generators = random.getstate(), np.random.get_state()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    GlobalHydra.instance().clear()  # a program that uses Hydra itself has initialized it, which is refused twice
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        Singleton.set_state(hydra_state)
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        restore_environment(environment)


def restore_environment(before: Mapping[str, str]) -> None:
    """Make os.environ what it was."""
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
