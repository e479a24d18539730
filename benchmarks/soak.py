"""Memory, file descriptors and threads of a training that runs for half an hour with a validation about every minute.

    python benchmarks/soak.py [--minutes 30] [GROUP=CHOICE | KEY=VALUE ...]

A training of its own process (`python -m nmt.train`, local_p attention on the embedded corpus unless other words are
typed) is looked at from outside, every second.  How many updates make a minute is measured first.  The report,
benchmarks/results/soak.md, has a row for each minute: resident memory (the mean of the minute; that of the first
minutes still grows, because libraries are loaded and caches are filled), open descriptors and threads (the most of the
minute), and the validations so far.  Flat means: over the second half, the line fitted through memory rises by less
than a thousandth a minute, and there were never more descriptors or threads than in the first half.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import RESULTS, commit, markdown, processor

DEFAULT = ("model.attention=local_p", "threads=1")
RISE = 0.001  # of memory, a minute: what still counts as flat


@dataclass(frozen=True)
class Sample:
    """What a process held at a time."""

    seconds: float  # since it was first looked at
    memory: float  # MiB, resident
    descriptors: int
    threads: int
    validations: int


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where soak.md is written")
    parser.add_argument("words", nargs="*", help=f"what is trained; default: {' '.join(DEFAULT)}")
    options = parser.parse_args()
    words: list[str] = options.words or [*DEFAULT]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = updates_a_minute(folder, words)
        limits = f"trainer.max_minutes={options.minutes}", "trainer.max_steps=null", f"trainer.validate_every={every}"
        samples = watch(folder, [*words, *limits, "name=soak"], folder / "runs" / "soak" / "log.jsonl")
    text = report(samples, " ".join(words), every)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "soak.md").write_text(text, encoding="utf-8")
    print(text)


def train(folder: Path, words: list[str]) -> subprocess.Popen:
    """Start a training with its runs in ``folder``."""
    command = [sys.executable, "-m", "nmt.train", *words, f"runs={folder / 'runs'}", f"data.cache={folder / 'cache'}"]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)


def updates_a_minute(folder: Path, words: list[str]) -> int:
    """How many updates a training makes in a minute, from one of 30 seconds."""
    limits = "trainer.max_minutes=0.5", "trainer.max_steps=null", "trainer.validate_every=1000000"
    if train(folder, [*words, *limits, "name=speed"]).wait():
        sys.exit("error: the training failed")
    events = read_log(folder / "runs" / "speed" / "log.jsonl")
    (end,) = (event for event in events if event["event"] == "end")
    return max(1, round(end["step"] / end["minutes"]))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log.jsonl; none where it is not there yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def watch(folder: Path, words: list[str], log: Path) -> list[Sample]:
    """Samples of a training, one a second, from its first figures to its end; leaves where it fails."""
    running, samples, began = train(folder, words), [], None
    process = psutil.Process(running.pid)
    while running.poll() is None:
        names = [event["event"] for event in read_log(log)]
        if "end" in names:  # what follows is the scoring of the test sets
            break
        if "train" in names:
            began = began or time.monotonic()
            found = process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()
            samples.append(Sample(time.monotonic() - began, *found, names.count("validation")))
        time.sleep(1)
    if running.wait():
        sys.exit("error: the training failed")
    return samples


def by_minute(samples: list[Sample]) -> list[list[Sample]]:
    """The samples of each whole minute."""
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.seconds // 60), []).append(sample)
    return list(minutes.values())[:-1] or list(minutes.values())


def verdicts(minutes: list[list[Sample]]) -> dict[str, tuple[str, bool]]:
    """For memory, descriptors and threads: what the second half shows, and whether that is flat."""
    middle = len(minutes) // 2
    half = minutes[middle:]
    memory = [statistics.mean(s.memory for s in minute) for minute in half]
    rise = float(np.polyfit(np.arange(len(half)), memory, 1)[0]) if len(half) > 1 else 0.0
    found = {"memory": (f"{rise:+.3f} MiB a minute at {memory[-1]:.0f} MiB", rise < RISE * memory[-1])}
    for name in ("descriptors", "threads"):
        most = [max(getattr(s, name) for s in minute) for minute in minutes]
        before, after = max(most[:middle] or most), max(most[middle:])
        found[name] = (f"at most {after}, in the first half {before}", after <= before)
    return found


def report(samples: list[Sample], words: str, every: int) -> str:
    """The page."""
    minutes = by_minute(samples)
    rows = [
        [
            str(number),
            f"{statistics.mean(s.memory for s in minute):.1f}",
            str(max(s.descriptors for s in minute)),
            str(max(s.threads for s in minute)),
            str(minute[-1].validations),
        ]
        for number, minute in enumerate(minutes, 1)
    ]
    lines = [f"- {name}: {text}: {'flat' if flat else 'NOT FLAT'}" for name, (text, flat) in verdicts(minutes).items()]
    about = f"{date.today().isoformat()}, commit {commit()}, {processor()}, `python -m nmt.train {words}`"
    return "\n".join(
        [
            "# A training of half an hour",
            "",
            f"`python benchmarks/soak.py`; {about}, a validation every {every:,} updates.",
            "The second half:",
            "",
            *lines,
            "",
            markdown(["minute", "memory, MiB", "descriptors", "threads", "validations"], rows),
            "",
        ]
    )


if __name__ == "__main__":
    main()
