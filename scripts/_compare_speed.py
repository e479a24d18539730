"""scripts/compare_commits.py --speed: how many times as fast the new commit trains and searches."""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from _compare_cases import SPEED, SPEED_COMMON, sources, sweep, write_experiments
from _compare_results import events
from _compare_sides import Side, last_line, wait

DRIVER = Path(__file__).with_name("_compare_translate.py")
UPDATES, WARM_UP = 60, 20
SENTENCES = 128

Rates = dict[str, list[float]]  # by what is measured; several of training, which are compared one by one


def speed(sides: Sequence[Side], folder: Path, rounds: int) -> None:
    """Old and new in turns, never at once; prints new / old for each measurement, the median of the rounds.

    Other work on the machine slows both: the ratio of neighbours in time says more than two means would.
    """
    source = folder / "sources.txt"
    source.write_text("\n".join(sources(SENTENCES)) + "\n", encoding="utf-8")
    ratios: dict[tuple[str, str], list[float]] = {}
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(1, rounds + 1):
        for case in SPEED:
            for measure in (train, search):
                turns = sides if number % 2 else sides[::-1]  # who comes first may find a warmer or a cooler machine
                found = {side.name: measured(measure, side, case, number, source) for side in turns}
                for what, old in found["old"].items():
                    new = found["new"][what]
                    of_pairs = [b / a for a, b in zip(old, new, strict=True)]
                    ratios.setdefault((case, what), []).append(statistics.median(of_pairs))
                    rates.setdefault((case, what), []).append(statistics.median(old))
    print("| model | what | old, tokens/s | new / old, median | rounds |\n| --- | --- | --- | --- | --- |")
    for (case, what), each in ratios.items():
        shown = ", ".join(f"{ratio:.3f}" for ratio in each)
        rate = statistics.median(rates[case, what])
        print(f"| {case} | {what} | {rate:,.0f} | {statistics.median(each):.3f} | {shown} |")


def measured(measure: Callable[..., Rates], side: Side, case: str, number: int, source: Path) -> Rates:
    """One measurement of one side, with a word about it."""
    found = measure(side, case, number, source)
    said = ", ".join(f"{what} {statistics.median(rates):,.0f} tokens/s" for what, rates in found.items())
    print(f"round {number}, {side.name}, {case}: {said}", file=sys.stderr, flush=True)
    return found


def train(side: Side, case: str, number: int, source: Path) -> Rates:
    """Target tokens a second of each few updates after the warm-up, as the run itself reports them."""
    group, log = f"speed-{number}", f"speed-train-{number}-{case}.log"
    common = f"{SPEED_COMMON} trainer.max_steps={UPDATES} trainer.validate_every={UPDATES}"
    write_experiments({case: SPEED[case]}, common, side.folder / "experiments" / group)
    words = ["-m", "nmt.train", "-m", "--config-dir", side.folder / "experiments" / group, sweep([case])]
    words += [f"runs='{side.folder / 'runs'}'", f"sweep={group}", f"data.cache='{side.folder / 'cache'}'"]
    finish(side, words, log)
    rows = [event for event in events(side.run(group, case) / "log.jsonl") if event["event"] == "train"]
    return {"training": [row["tokens_per_second"] for row in rows if row["step"] > WARM_UP]}


def search(side: Side, case: str, number: int, source: Path) -> Rates:
    """Target pieces a second with the run of the same round."""
    out, log = side.folder / "speed.json", f"speed-search-{number}-{case}.log"
    finish(side, [DRIVER, "speed", source, out, side.run(f"speed-{number}", case)], log)
    return {f"search, {what}": [rate] for what, rate in json.loads(out.read_text(encoding="utf-8")).items()}


def finish(side: Side, words: Sequence[object], log: str) -> None:
    """Run a command of a side to its end; leaves with its last words if it fails."""
    process = side.start(words, log)
    wait([process], lambda: f"{side.name}: {log.removesuffix('.log')}")
    if process.returncode:
        sys.exit(f"error: {side.name} ({side.commit[:9]}), {log}: {last_line(side.said(log))}")
