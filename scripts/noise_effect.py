"""What each kind of noise in the training text is good for, on Multi30k, English to German.

    python scripts/noise_effect.py

trains one model without noise and one with each kind, with two seeds (runs that are there are not trained again), and
translates the test set as it is and as people type: in capitals, in lower case, with slips of the fingers, with an
emoji or a web address at the end.  Prints BLEU of each, and what the challenge report counts.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import nmt
from nmt.data.noise import NoiseConfig, add_noise
from nmt.errors import UserError

TRAINING = (
    *("+experiment=multi30k_attention", "threads=1", "trainer.metric=loss", "trainer.validate_every=1000"),
    *("trainer.max_steps=1000", "optim.decay_steps=1000", "decode=greedy"),
    *("data.test=[clean,capitals,lower,typos,emoji,urls]", "logger.tensorboard=false", "logger.heatmaps=0"),
)
TRAINED = {
    "none": (),
    "case": ("data.noise.case=0.2",),
    "typos": ("data.noise.typos=0.1",),
    "emoji": ("data.noise.emoji=0.1",),
    "urls": ("data.noise.urls=0.1",),
}
Change = Callable[[list[str], str], list[str]]


def noise(**rates: float) -> Change:
    """One side of a test set with noise, always the same."""
    return lambda texts, side: add_noise(texts, side, NoiseConfig(**rates), 1, 0)


# How each test set is made of the original one; called with its lines and with source or target.
TESTS: dict[str, Change] = {
    "clean": lambda texts, side: texts,
    "capitals": lambda texts, side: [text.upper() for text in texts],
    "lower": lambda texts, side: [text.lower() for text in texts] if side == "source" else texts,
    "typos": noise(typos=0.1),
    "emoji": noise(emoji=1.0),
    "urls": noise(urls=1.0),
}
# Of the challenge report, what noise may change.
COUNTED = ("emoji_copied", "urls_copied", "urls_invented", "unseen_words", "repeated", "unaligned")


def write_tests(corpus: Path, folder: Path) -> list[str]:
    """Write the test sets; returns the overrides that name them."""
    words = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, change in TESTS.items():
        for side, language in (("source", "en"), ("target", "de")):
            lines = (corpus / f"test_2016_flickr.{language}").read_text(encoding="utf-8").splitlines()
            path = folder / f"{name}.{language}"
            path.write_text("".join(f"{line}\n" for line in change(lines, side)), encoding="utf-8")
            words.append(f"data.tests.{name}.{side}={path}")
    return words


def trained(kind: str, seed: int, runs: Path, more: Sequence[str]) -> Path:
    """The run of a kind of noise and a seed, trained where it is not there."""
    directory = runs / f"{kind}-{seed}"
    if not (directory / "scores" / "urls").exists():
        nmt.train(
            [*TRAINING, *TRAINED[kind], f"seed={seed}", f"runs={runs}", f"name={directory.name}", *more, "resume=true"]
        )
    return directory


def results(directory: Path, test: str) -> dict[str, Any]:
    """What was scored of a test set."""
    return json.loads((directory / "scores" / test / "results.json").read_text(encoding="utf-8"))


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Mean and sample standard deviation."""
    return f"{mean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print Markdown."""
    heads = ["trained with", *heads]
    for cells in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def kinds(text: str) -> list[str]:
    """What --kinds names; raises ArgumentTypeError where there is no such kind."""
    names = text.split(",")
    if not set(names) <= set(TRAINED):
        raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join(TRAINED)}")
    return names


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/noise"), help="folder of the runs (%(default)s)")
    parser.add_argument("--root", type=Path, default=Path("data"), help="data.root (%(default)s)")
    parser.add_argument("--seeds", default="1,2", help="(%(default)s)")
    parser.add_argument("--kinds", type=kinds, default=",".join(TRAINED), help="rows (%(default)s)")
    parser.add_argument("--only", choices=[*TRAINED], help="train this one, and print no table")
    parser.add_argument("more", nargs="*", help="KEY=VALUE of nmt.train, after those of this file")
    given = parser.parse_intermixed_args()  # options may stand among the words
    seeds = [int(seed) for seed in given.seeds.split(",")]
    more = [f"data.root={given.root}", *write_tests(given.root / "multi30k", given.runs / "tests")]
    more += given.more
    runs = {
        kind: [trained(kind, seed, given.runs, more) for seed in seeds]
        for kind in given.kinds
        if given.only in (None, kind)
    }
    if given.only:
        return
    of = {kind: [{test: results(run, test) for test in TESTS} for run in found] for kind, found in runs.items()}
    bleu = {kind: [{t: r[t]["scores"]["bleu"]["value"] for t in TESTS} for r in rs] for kind, rs in of.items()}
    print("BLEU\n")
    table(TESTS, ([kind, *(spread([r[t] for r in rs], ".1f") for t in TESTS)] for kind, rs in bleu.items()))
    print("BLEU, per cent of the same model's on clean text\n")
    table(
        TESTS,
        ([kind, *(spread([100 * r[t] / r["clean"] for r in rs], ".0f") for t in TESTS)] for kind, rs in bleu.items()),
    )
    for name in COUNTED:
        print(f"{name}\n")
        table(
            TESTS, ([kind, *(shares([r[t]["challenges"][name] for r in rs]) for t in TESTS)] for kind, rs in of.items())
        )


def shares(counted: Sequence[dict[str, int]]) -> str:
    """Of the challenge report, over seeds; a dash where there is nothing to be counted."""
    if not all(share["of"] for share in counted):
        return "-"
    return spread([100 * share["part"] / share["of"] for share in counted], ".1f")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
