"""Mean and spread over seeds of each configuration of a sweep, as a Markdown table.

    python scripts/compare_runs.py runs/2026-01-31_12-00-00 [runs/other ...] [--metric bleu] [--set test_2016_flickr]

Reads config.yaml, scores/SET/results.json and log.jsonl of every run directory below the ones given.  Runs whose
configurations differ in the seed alone make one row: mean ± sample standard deviation (lowest to highest) of each
metric on each test set, with the minutes of training and the target tokens a second.  Results made in another way
than training makes them (eval.limit=20, checkpoint=avg:3) have columns of their own, which say so.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nmt.config import flat
from nmt.errors import RunError
from nmt.eval.evaluate import count_of
from nmt.runs.directory import CONFIG_FILE, read_checked, read_json

# Keys that do not make a configuration another one.
SAME = (
    "seed",
    "name",
    "runs",
    "sweep",
    "resume",
    "device",
    "threads",
    "data.root",
    "data.cache",
    "data.test",
    "logger",
)


@dataclass(frozen=True)
class Trained:
    """What is known of one run."""

    directory: Path
    settings: dict[str, str]  # by dotted key, without those of SAME
    seed: int
    scores: dict[tuple[str, str, str], float]  # by test set, how it was scored differently from training, and metric
    scored: dict[tuple[str, str], str]  # by the first two of these: decoding, checkpoint and number of sentences
    minutes: float | None
    speed: float | None  # target tokens a second


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directories", nargs="+", type=Path, help="runs, or folders of runs such as a sweep's")
    parser.add_argument("--metric", action="append", help="bleu, chrf, ...; may be repeated; default: all")
    parser.add_argument("--set", action="append", help="test set; may be repeated; default: all but the validation set")
    options = parser.parse_args()
    paths = sorted({p.parent for d in options.directories for p in d.rglob("config.yaml")})
    if not paths:
        sys.exit(f"error: no run directory below {', '.join(map(str, options.directories))}")
    try:
        runs = [read(path) for path in paths]
    except RunError as error:
        sys.exit(f"error: {error}")
    print(table(runs, options.metric, options.set))
    for run in runs:
        if not run.scores:
            print(f"\nno results: {run.directory}")
    for where in sorted({where for run in runs for where in run.scored}):
        if len({run.scored[where] for run in runs if where in run.scored}) > 1:
            name = f"{where[0]} {where[1]}".strip()
            print(f"\nnot comparable: {name} was scored with different decoding, checkpoints or numbers of sentences")


def read(directory: Path) -> Trained:
    """One run directory; raises RunError for a damaged file."""
    config = yaml.safe_load(read_checked(directory / CONFIG_FILE))
    leaves = settings_of(config)
    settings = {k: str(v) for k, v in leaves.items() if not any(k == s or k.startswith(s + ".") for s in SAME)}
    results = read_results(directory)
    scores = {(*key, metric): score["value"] for key, r in results.items() for metric, score in r["scores"].items()}
    scored = {key: str([r[k] for k in ("decode", "checkpoint", "sentences")]) for key, r in results.items()}
    log = directory / "log.jsonl"
    events = read_events(log) if log.exists() else []
    minutes = [event["minutes"] for event in events if event["event"] == "end"]
    speeds = [event["tokens_per_second"] for event in events if event["event"] == "train"]
    speed = statistics.mean(speeds) if speeds else None
    return Trained(directory, settings, config["seed"], scores, scored, minutes[-1] if minutes else None, speed)


def read_results(directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The results of a run by the name of the set and by what was done differently, in words (see nmt.runs.results)."""
    usual, others = (sorted(directory.glob(f"scores/{folder}/results.json")) for folder in ("*", "*/*"))
    found = [(path, read_json(path)) for path in (*usual, *others)]
    # Results deeper down that are made as training makes them are those of an ensemble.
    own = [(path, r) for path, r in found if path in usual or r.get("difference")]
    return {(r.get("name", path.parent.name), difference_in_words(r)): r for path, r in own}


def difference_in_words(result: dict[str, Any]) -> str:
    """(20 of 1,000 sentences, beam_size=3) for results made with eval.limit and decode.beam_size; "" for the usual."""
    other = dict(result.get("difference", {}))
    part = [f"{count_of(result['sentences'], result['set_sentences'])} sentences"] if other.pop("limit", None) else []
    words = ", ".join([*part, *(f"{key}={value}" for key, value in other.items())])
    return f"({words})" if words else ""


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Leaves by dotted key; the name of a choice stands for its group: model.attention, not model.attention.name."""
    return {key.removesuffix(".name"): value for key, value in flat(config).items()}


def read_events(log: Path) -> list[dict[str, Any]]:
    """The events of a log.jsonl; a line that is no event is skipped with a warning.

    What follows the last line end was cut short by a crash, or is just being written, and is not read.
    """
    events = []
    for number, line in enumerate(log.read_bytes().split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
        except ValueError:  # no JSON, or no UTF-8
            event = None
        if isinstance(event, dict) and "event" in event:
            events.append(event)
        else:
            print(f"warning: {log}, line {number} is damaged and was skipped", file=sys.stderr)
    return events


def table(runs: list[Trained], metrics: list[str] | None = None, sets: list[str] | None = None) -> str:
    """The Markdown table, a row for each configuration in the order of the runs."""
    rows: dict[tuple[tuple[str, str], ...], list[Trained]] = defaultdict(list)
    for run in runs:
        rows[tuple(sorted(run.settings.items()))].append(run)
    columns = sorted({key for run in runs for key in run.scores})
    columns = [
        (where, how, metric)
        for where, how, metric in columns
        if (metric in metrics if metrics else True) and (where in sets if sets else where != "validation")
    ]
    differing = differences([dict(key) for key in rows])
    head = [
        "configuration",
        "seeds",
        *(f"{metric} {where} {how}".strip() for where, how, metric in columns),
        "minutes",
        "tokens/s",
    ]
    lines = [head, ["---"] * len(head)]
    for key, group in rows.items():
        settings = dict(key)
        name = " ".join(f"{k}={settings[k]}" for k in differing if k in settings) or "all"
        scores = [spread([run.scores[c] for run in group if c in run.scores], 2) for c in columns]
        cost = [
            spread([r.minutes for r in group if r.minutes is not None], 1, short=True),
            spread([r.speed for r in group if r.speed is not None], 0, short=True),
        ]
        lines.append([name, ", ".join(str(seed) for seed in sorted(r.seed for r in group)), *scores, *cost])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def differences(settings: list[dict[str, str]]) -> list[str]:
    """Keys with several values; one that only some configurations have counts only if those differ in it."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one[key] for one in settings if key in one}) > 1]


def spread(values: list[float], digits: int, short: bool = False) -> str:
    """mean ± sample standard deviation (lowest to highest)."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    if short or len(values) == 1:
        return mean
    lowest, highest = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f} ({lowest} to {highest})"


if __name__ == "__main__":
    main()
