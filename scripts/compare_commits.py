"""Do two commits compute the same, bit for bit?  For changes that move code and mean to change no result.

    python scripts/compare_commits.py main~1 main
    python scripts/compare_commits.py v1 main --cases 'transformer-*' --precision fp32 --keep /tmp/compared
    python scripts/compare_commits.py v1 main --speed

Each commit, in a git worktree of its own, trains some sixty tiny models through ``python -m nmt.train`` and translates
with them (``nmt.load`` and ``python -m nmt.translate``).  Compared are every figure of log.jsonl that no clock decides,
all of checkpoints/last.pt (weights, optimizer, random numbers), and the beam's three best translations of each
sentence with their scores.  Leaves with 1 if anything differs or a case cannot be trained, with 0 if all is equal.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from _compare_cases import BY_COMMAND, COMMON, cases, sources, sweep, write_experiments
from _compare_results import checkpoint_difference, first, log_difference, translation_difference
from _compare_sides import Side, last_line, place, resolve, wait, worktrees
from _compare_speed import speed

DRIVER = Path(__file__).with_name("_compare_translate.py")
PRECISIONS = ("fp32", "bf16")
SENTENCES = 50
NEXT_JOB = re.compile(r"^== job |^error: \d+ of \d+ jobs failed", re.MULTILINE)  # where a case of a sweep ends


def main() -> None:
    """The command line."""
    options = arguments()
    chosen = {name: words for name, words in cases().items() if fnmatchcase(name, options.cases)}
    if options.list:
        print("\n".join(f"{name:28}{words}" for name, words in chosen.items()))
        return
    if not chosen and not options.speed:
        sys.exit(f"error: no case matches {options.cases!r}; --list shows them")
    commits = [resolve(name) for name in (options.old, options.new)]
    began = time.monotonic()
    with place(options.keep) as folder, worktrees(folder, commits, bool(options.keep)) as sides:
        if options.speed:
            speed(sides, folder, options.rounds)
            return
        differing = compare(sides, folder, chosen, options.precision, options.updates)
    minutes = (time.monotonic() - began) / 60
    count = len(chosen) * len(options.precision)
    print(f"\n{count - differing} of {count} equal, {differing} not, in {minutes:.1f} minutes")
    sys.exit(1 if differing else 0)


def arguments() -> argparse.Namespace:
    """Read and check what was typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", nargs="?", help="commit, branch or tag whose results are right")
    parser.add_argument("new", nargs="?", help="the one that is to have the same")
    parser.add_argument("--cases", default="*", metavar="GLOB", help="only the cases with such names")
    parser.add_argument("--precision", default="fp32,bf16", metavar="A,B", help="fp32, bf16 or both (default)")
    parser.add_argument("--updates", type=int, default=20, metavar="N", help="updates of each training (default 20)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in DIR, and leave runs and worktrees there")
    parser.add_argument("--list", action="store_true", help="show the cases and what each is trained with")
    parser.add_argument("--speed", action="store_true", help="compare the speed of training and search instead")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of --speed: old and new in turns, N times")
    options = parser.parse_args()
    options.precision = options.precision.split(",")
    if unknown := [name for name in options.precision if name not in PRECISIONS]:
        parser.error(f"--precision: {unknown[0]!r} is not one of {', '.join(PRECISIONS)}")
    if options.new is None and not options.list:
        parser.error("which two commits?  compare_commits.py OLD NEW")
    if options.updates < 1 or options.rounds < 1:
        parser.error("--updates and --rounds must be at least 1")
    return options


def compare(sides: Sequence[Side], folder: Path, chosen: dict[str, str], precisions: list[str], updates: int) -> int:
    """Train, translate and compare; prints a table and returns how many rows of it are not equal."""
    common = f"{COMMON} trainer.max_steps={updates} trainer.validate_every={updates}"
    source, differing = folder / "sources.txt", 0
    source.write_text("\n".join(sources(SENTENCES)) + "\n", encoding="utf-8")
    print("| case | precision | result |\n| --- | --- | --- |", flush=True)
    for precision in precisions:
        words = f"{common} trainer.precision={precision} decode.precision={precision}"
        train(sides, chosen, words, precision)
        trained = [
            c for c in chosen if all((side.run(precision, c) / "checkpoints/last.pt").exists() for side in sides)
        ]
        translate(sides, trained, precision, source)
        for case in chosen:
            found = difference(sides, case, precision) if case in trained else untrained(sides, case, precision)
            differing += found is not None
            print(f"| {case} | {precision} | {found or 'equal'} |", flush=True)
    return differing


def train(sides: Sequence[Side], chosen: dict[str, str], common: str, group: str) -> None:
    """Every case of one precision: one sweep, and so one process, a side."""
    running = []
    for side in sides:
        write_experiments(chosen, common, side.folder / "experiments" / group)
        words = ["-m", "nmt.train", "-m", "--config-dir", side.folder / "experiments" / group]
        words += [sweep(chosen), f"runs='{side.folder / 'runs'}'", f"sweep={group}"]
        running.append(side.start([*words, f"data.cache='{side.folder / 'cache'}'"], f"train-{group}.log"))

    def count() -> str:
        done = [sum((s.run(group, c) / "checkpoints/last.pt").exists() for c in chosen) for s in sides]
        return f"training in {group}: old {done[0]}, new {done[1]} of {len(chosen)}"

    wait(running, count)
    for side in sides:
        if not (side.folder / "runs" / group).exists():
            tail = "\n".join(side.said(f"train-{group}.log").strip().splitlines()[-8:])
            sys.exit(f"error: {side.name} ({side.commit[:9]}) trained nothing in {group}; it said\n{tail}")


def untrained(sides: Sequence[Side], case: str, group: str) -> str:
    """Which side could not train a case, and the end of what it said."""
    found = []
    for side in sides:
        if not (side.run(group, case) / "checkpoints/last.pt").exists():
            _, _, after = side.said(f"train-{group}.log").partition(f": {group}/{case}\n")
            said = NEXT_JOB.split(after)[0].strip()
            print(f"{side.name}, {case}, {group}:", *said.splitlines()[-8:], sep="\n  ", file=sys.stderr)
            found.append(f"{side.name} did not train: {last_line(said)}")
    return "; ".join(found)


def translate(sides: Sequence[Side], trained: Sequence[str], group: str, source: Path) -> None:
    """Through nmt.load with every run, and through the command with some; the two sides at once."""
    where = {side.name: side.folder / f"{group}.jsonl" for side in sides}
    running = [
        side.start(
            [DRIVER, "texts", source, where[side.name], *(side.run(group, case) for case in trained)],
            f"translate-{group}.log",
        )
        for side in sides
    ]
    done = {side.name: 0 for side in sides}

    def progress() -> str:
        done.update({name: lines(path) // SENTENCES for name, path in where.items()})
        return f"translating in {group}: old {done['old']}, new {done['new']} of {len(trained)}"

    wait(running, progress)
    for side, process in zip(sides, running, strict=True):
        if process.returncode:
            said = last_line(side.said(f"translate-{group}.log"))
            sys.exit(f"error: {side.name} ({side.commit[:9]}) could not translate in {group}: {said}")
    for case in (case for case in BY_COMMAND if case in trained):
        wait([command(side, group, case, source) for side in sides], lambda case=case: f"nmt.translate with {case}")


def command(side: Side, group: str, case: str, source: Path) -> subprocess.Popen[bytes]:
    """python -m nmt.translate with everything that it can say."""
    words = ["-m", "nmt.translate", f"run='{side.run(group, case)}'", "checkpoint=last", "threads=1", "device=cpu"]
    words += ["translate.format=jsonl", "translate.token_scores=true", "translate.alignments=soft"]
    return side.start(words, f"command-{group}-{case}.log", source=source, out=side.folder / f"{group}-{case}.jsonl")


def lines(path: Path) -> int:
    """How many a file has, which need not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def read(path: Path) -> list[dict[str, Any]]:
    """JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []


def difference(sides: Sequence[Side], case: str, group: str) -> str | None:
    """The first difference of a case that both sides trained: in its log, else its weights, else its translations."""
    old, new = (side.run(group, case) for side in sides)
    texts = [[row for row in read(side.folder / f"{group}.jsonl") if row["run"] == old.name] for side in sides]
    typed = [read(side.folder / f"{group}-{case}.jsonl") for side in sides]
    if case in BY_COMMAND and not all(typed):
        failed = next(side for side, found in zip(sides, typed, strict=True) if not found)
        return f"{failed.name} nmt.translate failed: {last_line(failed.said(f'command-{group}-{case}.log'))}"
    logs, last = "log.jsonl", "checkpoints/last.pt"
    checks = (
        lambda: log_difference(old / logs, new / logs),
        lambda: checkpoint_difference(old / last, new / last),
        lambda: translation_difference(*texts),
        lambda: translation_difference(*typed),
    )
    return first(check() for check in checks)


if __name__ == "__main__":
    main()
