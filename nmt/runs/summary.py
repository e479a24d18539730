"""What is known of finished and unfinished runs, read from their directories without loading a model."""

import contextlib
import hashlib
import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nmt.config import flat, from_yaml, refuse_endless, to_tree
from nmt.errors import ConfigError, RunError
from nmt.eval.evaluate import count_of
from nmt.runs import lock
from nmt.runs.directory import CONFIG_FILE, RESULTS, read_checked, read_json
from nmt.runs.results import REFERENCE, RESULTS_FILE

# Keys that do not make a configuration another one.
SAME = (
    *("seed", "name", "runs", "sweep", "resume", "device", "threads", "logger"),
    *("data.root", "data.cache", "data.test", "data.tests"),
)


class State(Enum):
    """How far a run has come, as tables show it."""

    finished = "finished"  # training has ended and every set was scored
    unscored = "trained, not scored"
    interrupted = "interrupted"  # by a signal; everything was saved
    training = "training now"  # another process holds its lock
    broken_off = "broken off"  # the log has no end: the process was killed, or an error ended it
    unknown = "no log"  # a copy that was made to give away, say


class SetKey(NamedTuple):
    """What results are of."""

    name: str  # of the set
    how: str  # what was done differently from training, in words; "" for the usual


@dataclass(frozen=True)
class RunSummary:
    """One run directory."""

    directory: Path
    settings: dict[str, str]  # by dotted key, without those of SAME
    seed: int
    state: State
    results: dict[SetKey, dict[str, Any]]  # what each results.json holds
    folders: dict[SetKey, Path]  # where it lies, with the sentences
    events: list[dict[str, Any]]  # of log.jsonl
    notes: tuple[str, ...]  # damage that was passed over

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """Equal where two runs differ in the seed alone, or not at all."""
        return tuple(sorted(self.settings.items()))

    @property
    def written(self) -> float:
        """When the run was last at work, in seconds since 1970."""
        times = [event["time"] for event in self.events if isinstance(event.get("time"), int | float)]
        return max(times, default=(self.directory / CONFIG_FILE).stat().st_mtime)

    def figures(self, event: str, name: str) -> list[float]:
        """A figure of every event of a kind that has it."""
        return [e[name] for e in self.events if e["event"] == event and isinstance(e.get(name), int | float)]

    @property
    def minutes(self) -> float | None:
        """Of training, all together."""
        return max(self.figures("end", "minutes"), default=None)

    @property
    def speed(self) -> float | None:
        """Target tokens a second in training."""
        speeds = self.figures("train", "tokens_per_second")
        return statistics.mean(speeds) if speeds else None

    @property
    def parameters(self) -> int | None:
        """How many weights the model has."""
        return next((int(number) for number in self.figures("built", "parameters")), None)

    @property
    def memory(self) -> float | None:
        """The most that training took, in MiB: of the accelerator if there was one, else of the process."""
        return max(self.figures("train", "device_memory") or self.figures("train", "memory"), default=None)


def find_runs(directories: Iterable[Path]) -> list[Path]:
    """All run directories that these are or hold, sorted, each once.

    Symbolic links to folders are followed, after everything that is there without them, so that a run is called by a
    link only where it lies nowhere else.
    """
    found, seen, waiting = set(), set(), list(directories)
    for start in waiting:
        for path, inner, files in os.walk(start):
            folder = Path(path)
            if (place := folder.resolve()) in seen:  # a link may lead back to a folder above it
                inner.clear()
                continue
            seen.add(place)
            if CONFIG_FILE in files:
                found.add(folder)
            waiting += [folder / name for name in sorted(inner) if (folder / name).is_symlink()]
    return sorted(found)


def read_runs(directories: Sequence[Path]) -> list[RunSummary]:
    """All runs below the directories; raises RunError where there is none, and for a damaged file."""
    paths = find_runs(directories)
    if not paths:
        raise RunError(f"no run directory below {', '.join(map(str, directories))}")
    return [read_run(path) for path in paths]


def read_run(directory: Path) -> RunSummary:
    """One run directory; raises RunError for a damaged config.yaml or results.json."""
    leaves = read_settings(directory / CONFIG_FILE)
    settings = {k: str(v) for k, v in leaves.items() if not any(k == s or k.startswith(s + ".") for s in SAME)}
    found = read_all_results(directory)
    events, notes = read_events(directory / "log.jsonl")
    return RunSummary(
        directory,
        settings,
        int(leaves.get("seed", 1)),
        state_of(directory, events),
        {key: tree for key, (_, tree) in found.items()},
        {key: folder for key, (folder, _) in found.items()},
        events,
        tuple(notes),
    )


def read_settings(path: Path) -> dict[str, Any]:
    """A config.yaml by dotted key; the name of a choice stands for its group, model.attention for model.attention.name.

    Keys that an older version did not write have their defaults, so that its runs are not taken for another
    configuration.  Where that cannot be, because a choice is known to another program alone, the file counts as it is.
    """
    text = read_checked(path)
    try:
        tree = to_tree(from_yaml(text))
    except ConfigError as reason:
        try:
            tree = yaml.safe_load(text)
            refuse_endless(tree)
        except (yaml.YAMLError, ConfigError, RecursionError, ValueError):
            raise RunError(f"{path}: {reason}") from None
    if not isinstance(tree, dict):
        raise RunError(f"{path}: no configuration: expected keys and values")
    return {key.removesuffix(".name"): value for key, value in flat(tree).items()}


def read_all_results(directory: Path) -> dict[SetKey, tuple[Path, dict[str, Any]]]:
    """Folder and content of each results.json of a run (nmt.runs.results); not those of ensembles with others."""
    usual, others = (sorted(directory.glob(f"{RESULTS}/{folder}/{RESULTS_FILE}")) for folder in ("*", "*/*"))
    found = [(path, read_result(path)) for path in (*usual, *others)]
    own = [(path.parent, r) for path, r in found if path in usual or r.get("difference")]
    return {SetKey(r.get("name", folder.name), difference_in_words(r)): (folder, r) for folder, r in own}


def read_result(path: Path) -> dict[str, Any]:
    """A results.json, with a checksum of the references beside it, ``text``; RunError where it is damaged or none."""
    result = read_json(path)
    if not isinstance(result, dict) or not isinstance(result.get("scores"), dict):
        raise RunError(f"{path}: no results: expected scores")
    with contextlib.suppress(OSError):  # a copy that was made to be given away has no sentences
        result["text"] = hashlib.sha256((path.parent / REFERENCE).read_bytes()).hexdigest()[:8]
    return result


def difference_in_words(result: dict[str, Any]) -> str:
    """(20 of 1,000 sentences, beam_size=3) for results made with eval.limit and decode.beam_size; "" for the usual."""
    other = dict(result.get("difference", {}))
    part = [f"{count_of(result['sentences'], result['set_sentences'])} sentences"] if other.pop("limit", None) else []
    words = ", ".join([*part, *(f"{key}={value}" for key, value in other.items())])
    return f"({words})" if words else ""


def read_events(log: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of a log.jsonl, and a warning for each line that is none and was skipped; none where there is no log.

    What follows the last line end was cut short by a crash, or is just being written, and is not read.
    """
    events, warnings = [], []
    for number, line in enumerate(log.read_bytes().split(b"\n")[:-1] if log.exists() else [], 1):
        try:
            event = json.loads(line)
        except ValueError:  # no JSON, or no UTF-8
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
        else:
            warnings.append(f"{log}, line {number} is damaged and was skipped")
    return events, warnings


def state_of(directory: Path, events: Sequence[dict[str, Any]]) -> State:
    """How far a run has come, from its lock and what its log says since it was last started."""
    if lock.is_locked(directory):
        return State.training
    starts = [i for i, event in enumerate(events) if event["event"] in ("resume", "built")]
    if not starts and not any(event["event"] == "end" for event in events):
        return State.broken_off if events else State.unknown
    # A resumed run logs "resume" and then "built".
    latest = events[starts[-1] :] if starts else events
    ends = [i for i, event in enumerate(latest) if event["event"] == "end"]
    if not ends:
        return State.broken_off
    if latest[ends[-1]].get("ending") == "interrupted":
        return State.interrupted
    scored = {event.get("set") for event in latest[ends[-1] :] if event["event"] == "scored"}
    wanted = set(latest[0].get("sets", ()))  # earlier versions did not log which sets there are to score
    return State.finished if scored and wanted <= scored else State.unscored
