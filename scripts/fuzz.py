"""Broken input, a million pieces of it: whatever is read either gives what it should or is refused in one sentence.

    python scripts/fuzz.py                                        # all parts; about an hour on one core
    python scripts/fuzz.py pharaoh lines --inputs 1000            # two of them, so many inputs each
    python scripts/fuzz.py pharaoh --first 123456 --inputs 1      # the input of a failure once more

Inputs are mutations of good ones: bytes flipped, cut, doubled and replaced by what programs stumble over.  Each is a
function of --seed, its part and its number.  A failure is an exception other than ``nmt.errors.UserError`` (which ends
a command with one line), a result that breaks the property of its part (the functions below say which), or more than
--seconds for one input; it is printed with the command that repeats it.  A run directory that is read must, besides,
start no process and open no connection.  The report is Markdown, for benchmarks/results/fuzz.md.
"""

import argparse
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))  # pytest loads this file from elsewhere

import _fuzz_parts as parts

from nmt.errors import UserError


@dataclass(frozen=True)
class Found:
    """What came of a part."""

    part: str
    inputs: int
    refused: int
    failures: Counter[str]
    first: dict[str, int]  # the number of the first input of each failure
    seconds: float


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"default: all of {', '.join(parts.PARTS)}")
    parser.add_argument("--inputs", type=int, help="of each part; default: a million in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=20, help="the most that one input may take")
    options = parser.parse_args()
    if unknown := set(options.parts) - parts.PARTS.keys():
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; choose of: {', '.join(parts.PARTS)}")
    found = []
    for name in options.parts or parts.PARTS:
        part = parts.PARTS[name]
        inputs = part.inputs if options.inputs is None else options.inputs
        with TemporaryDirectory(prefix="nmt-fuzz-") as folder:
            numbers = range(options.first, options.first + inputs)
            found.append(run(name, part.prepare(Path(folder)), numbers, options.seed, options.seconds))
        print(row(found[-1]), file=sys.stderr, flush=True)
    print(report(found, options.seed))
    sys.exit(any(one.failures for one in found))


def run(name: str, attempt: Callable[[random.Random], None], numbers: range, seed: int, seconds: int) -> Found:
    """Give a part its inputs."""
    refused, failures, first, began = 0, Counter(), {}, time.monotonic()
    signal.signal(signal.SIGALRM, too_long)
    for number in numbers:
        signal.alarm(seconds)
        try:
            attempt(random.Random(f"{seed} {name} {number}"))
        except UserError as error:
            refused += 1
            check_message(error, name, number, failures, first)
        except Exception as error:
            count(f"{type(error).__name__} in {where(error)}: {str(error)[:100]!r}", number, failures, first)
    signal.alarm(0)
    return Found(name, len(numbers), refused, failures, first, time.monotonic() - began)


def too_long(*_: object) -> None:
    """What SIGALRM calls."""
    raise TimeoutError("one input took too long")


def check_message(error: UserError, name: str, number: int, failures: Counter[str], first: dict[str, int]) -> None:
    """A refusal is a sentence that a terminal can show."""
    text = str(error)
    if not text.strip() or (len(text) > 4000 and name != "words"):  # typed words are repeated
        count(f"{name}: a refusal of {len(text)} characters: {text[:60]!r}", number, failures, first)


def count(failure: str, number: int, failures: Counter[str], first: dict[str, int]) -> None:
    """Note a failure."""
    failures[failure] += 1
    first.setdefault(failure, number)


def where(error: Exception) -> str:
    """The last line of this program in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/nmt/" in f.filename or "_fuzz_parts" in f.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "?"


def row(one: Found) -> str:
    """A line of the table."""
    read = one.inputs - one.refused - one.failures.total()
    return (
        f"| {one.part} | {one.inputs:,} | {read:,} | {one.refused:,} | {one.failures.total():,} | {one.seconds:.0f} |"
    )


def report(found: list[Found], seed: int) -> str:
    """The page."""
    lines = [
        f"`python {' '.join(['scripts/fuzz.py', *sys.argv[1:]])}`, {date.today().isoformat()}, seed {seed}; "
        f"{sum(one.inputs for one in found):,} inputs.",
        "",
        "| part | inputs | read | refused in a sentence | failures | seconds |",
        "| --- | --: | --: | --: | --: | --: |",
        *map(row, found),
    ]
    for one in found:
        for failure, times in one.failures.most_common():
            again = f"python scripts/fuzz.py {one.part} --seed {seed} --first {one.first[failure]} --inputs 1"
            lines += ["", f"- {times} times {failure}: `{again}`"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
