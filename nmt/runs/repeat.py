"""A sweep that is typed again: which run directory belongs to which of its jobs, and how far that run came.

A run belongs to a job if its config.yaml says what the job's configuration says, but for HOW_TO_RUN.  Any other key
makes another run, limits such as trainer.max_steps among them, because a schedule may depend on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from nmt.config import Config, flat, to_tree
from nmt.data.corpus import names_of_tests, open_corpus
from nmt.data.text import VALIDATION
from nmt.device import Precision
from nmt.errors import RunError
from nmt.runs.directory import CONFIG_FILE, RESULTS, directory_for, read_config, runs_of_name
from nmt.runs.results import read_results, set_folder
from nmt.runs.summary import read_events

# Keys that say where, on what and how loudly a run is trained, and which test sets are scored: not what it is.
HOW_TO_RUN = ("name", "runs", "sweep", "resume", "device", "threads", "logger", "data.root", "data.cache", "data.test")
HOW_TO_RUN += ("trainer.stall_minutes",)
PRECISION = "trainer.precision"  # auto is recorded as what the device had
STAMPED = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]_*"  # folders that directory.time_stamp named


class State(Enum):
    """How far a run came."""

    new = "not started"
    half_done = "half-done"
    failed = "failed"
    finished = "finished"


@dataclass(frozen=True)
class Progress:
    """The state of a run, and what is said of it."""

    state: State
    detail: str = ""  # the latest step, or why it failed
    objective: float | None = None  # of a finished run: the best validation by trainer.metric

    def __str__(self) -> str:
        return f"{self.state.value}{self.detail and f' ({self.detail})'}"


def what_is_trained(config: Config) -> dict[str, Any]:
    """The values that make a run what it is, by dotted key."""
    leaves = flat(to_tree(config))
    return {k: v for k, v in leaves.items() if not any(k == how or k.startswith(f"{how}.") for how in HOW_TO_RUN)}


def same_run(recorded: Config, asked: Config) -> bool:
    """Whether a run with the recorded configuration is what is asked for."""
    old, new = what_is_trained(recorded), what_is_trained(asked)
    if asked.trainer.precision is Precision.auto:
        del old[PRECISION], new[PRECISION]
    return old == new


def is_run_of(directory: Path, config: Config) -> bool:
    """Whether the directory holds a run with this configuration; one that cannot be read does not."""
    try:
        return same_run(read_config(directory), config)
    except RunError:
        return False


def find_runs(configs: Sequence[Config]) -> list[Path | None]:
    """The run directory of each job of a sweep, if it has one; no two jobs get the same.

    Those of the job's own name come first, the newest before the others, then all others in the folder of the sweep:
    names follow the order in which choices were typed.
    """
    found: list[Path | None] = []
    for config in configs:
        named = runs_of_name(directory_for(config))
        found.append(next((named[n] for n in sorted(named, reverse=True) if is_run_of(named[n], config)), None))
    if configs and None in found:
        folder = directory_for(configs[0]).parent
        others = sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}") if path.parent not in found)
        for place, config in enumerate(configs):
            if found[place] is None and others:
                found[place] = next((path for path in others if is_run_of(path, config)), None)
                others = [path for path in others if path != found[place]]
    return found


def earlier_sweep(runs: str, configs: Sequence[Config]) -> str | None:
    """The newest folder below ``runs``, of those named by their time, that holds a run of one of the jobs.

    Whatever its name is: names follow the order in which choices were typed, and have only what is swept.
    """
    for folder in sorted(Path(runs).glob(STAMPED), reverse=True):
        for path in sorted(folder.glob(f"*/{CONFIG_FILE}")):
            if any(is_run_of(path.parent, config) for config in configs):
                return folder.name
    return None


# How far a run came.


def progress_of(directory: Path | None, config: Config) -> Progress:
    """How far the run came, from its log and its scores.

    A finished one is a run whose log says that training ended, and whose validation set and test sets (those that
    ``config`` asks for) have scores of its best weights.
    """
    if directory is None:
        return Progress(State.new)
    events, _ = read_events(directory / "log.jsonl")
    last = next((e for e in reversed(events) if e.get("event") in ("built", "resume", "failed", "end")), {})
    step = max((e["step"] for e in events if isinstance(e.get("step"), int)), default=0)
    if last.get("event") == "failed":
        return Progress(State.failed, str(last.get("reason", "")))
    if last.get("event") != "end" or last.get("ending") == "interrupted":
        return Progress(State.half_done, f"step {step:,}" if step else "")
    if not is_scored(directory, config, last.get("best_step")):
        return Progress(State.half_done, "to be scored")
    metrics: Mapping[str, float] = last.get("best_metrics") or {}
    return Progress(State.finished, objective=metrics.get(config.trainer.metric))


def is_scored(directory: Path, config: Config, best_step: Any) -> bool:
    """Whether all sets that training scores at its end have results of the best weights."""
    sets = [VALIDATION, *names_of_tests(open_corpus(config.data), config.data.test)]
    return all(read_results(directory / RESULTS / set_folder(name)).get("step") == best_step for name in sets)
