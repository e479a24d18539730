"""Parallel text in files, plain or compressed, which are read in pairs, line by line (data=files)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from nmt.data.checks import UNPAIRED, Action, Side
from nmt.data.misalignment import MAX_LINES, NEARBY, find_missing_lines
from nmt.data.text import Corpus, DataConfig, ParallelText, TextFiles, no_such_test
from nmt.data.textfile import byte_lines, count_lines, home_expanded, lines, strict_lines
from nmt.errors import ConfigError, DataError


@dataclass
class FilesConfig(DataConfig):
    """your own files, one sentence a line, plain or compressed"""

    name: str = "files"
    train: TextFiles = field(default_factory=TextFiles)
    validation: TextFiles = field(default_factory=TextFiles)

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in ("train", "validation"):
            files = getattr(self, split)
            for side in Side:
                if isinstance(files, TextFiles) and not getattr(files, side.name):
                    raise ConfigError(f"data.{split}.{side.name} is missing: data=files needs it, a file or a list")
        if isinstance(self.train, TextFiles) and self.train.gold is not None:
            raise ConfigError(
                "data.train.gold does nothing: alignment is judged on held-out text (data.validation.gold, data.gold); "
                "links to learn from are data.alignments"
            )


class Files(Corpus):
    """Pairs of files; the k-th of one side goes with the k-th of the other."""

    def split(self, name: str) -> TextFiles:
        """The files of train or validation."""
        return getattr(self.config, name)

    @cached_property
    def train(self) -> list[tuple[Path, Path]]:
        """The training files, in pairs."""
        return file_pairs(self.split("train"), "data.train")

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        """Raises DataError where no file has a line; one of several may have none."""
        refuse, lines_there = self.config.checks.line_counts is Action.refuse, False
        for source, target in self.train:
            for pair in line_pairs(source, target, refuse):
                lines_there = True
                yield pair
        if not lines_there:
            raise DataError(f"data={self.config.name} has nothing to train on: there is no {self.train[0][0]} line 1")

    def untagged(self, seed: int) -> Iterator[tuple[str, ...]]:
        """Behind data.limit, too, lines are counted: where one is missing, the pairs before the limit may be wrong."""
        pairs = self.pairs(seed)
        yield from islice(pairs, self.config.limit)
        for _ in pairs:
            pass

    def validation(self) -> ParallelText:
        return read_text("validation", self.split("validation"), "data.validation")

    def validation_has_gold(self) -> bool:
        return self.config.validation.gold is not None

    def test_names(self) -> list[str]:
        return []

    def test(self, name: str) -> ParallelText:
        raise no_such_test(name, self.config, self.test_names())

    def fingerprint(self, seed: int) -> dict[str, Any]:
        held_out = {name: self.split(name) for name in ("validation", *self.test_names())}
        return {"train": [stamp(path) for pair in self.train for path in pair]} | {
            name: stamps(files, f"data.{name}") for name, files in held_out.items()
        }

    def locate(self, number: int, side: Side) -> str:
        """The file and the line, found by counting again: messages are rare, and reading needs no bookkeeping."""
        for pair in self.train[:-1]:
            count = max(count_lines(path) for path in pair)
            if number < count:
                return f"{pair[side is Side.target]} line {number + 1}"
            number -= count
        return f"{self.train[-1][side is Side.target]} line {number + 1}"


def paths(value: Any, key: str) -> list[Path]:
    """One path or several from the config; raises ConfigError for other types, DataError for files that are absent."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(path, str) and path for path in given):
        raise ConfigError(f"{key} must be a file or a list of files, got {value!r}")
    found = [home_expanded(path, key) for path in given]
    for path in found:
        if path.is_dir():
            raise DataError(f"{key}: {path} is a folder, and a file is wanted")
        if not path.is_file():
            raise DataError(f"{key}: no file {path} (looked for from {Path.cwd()})")
    return found


def file_pairs(files: TextFiles, key: str) -> list[tuple[Path, Path]]:
    """The files of both sides, in pairs; raises ConfigError unless there are as many of one as of the other."""
    sources, targets = paths(files.source, f"{key}.source"), paths(files.target, f"{key}.target")
    if len(sources) != len(targets):
        raise ConfigError(
            f"{key}.source names {len(sources)} files and {key}.target {len(targets)}: they are read in pairs"
        )
    pairs = list(zip(sources, targets, strict=True))
    for source, target in pairs:
        if source.samefile(target):
            raise ConfigError(f"{key}.source and {key}.target are the same file, {source}")
    return pairs


def line_pairs(source: Path, target: Path, refuse: bool) -> Iterator[tuple[str, str]]:
    """The lines of two files side by side.

    If one file is longer, raises DataError where the other ends, or, unless ``refuse``, goes on with UNPAIRED.
    """
    for pair in zip_longest(lines(source), lines(target), fillvalue=UNPAIRED):
        if refuse and UNPAIRED in pair:
            raise DataError(explain_unequal(source, target) + " (data.checks.line_counts=drop ignores the surplus)")
        yield pair


def explain_unequal(source: Path, target: Path) -> str:
    """The names and line counts of both files, and at which line one of them seems to lack some."""
    counts = count_lines(source), count_lines(target)
    counted = f"{source} has {counts[0]:,} lines and {target} has {counts[1]:,}"
    long, short = (source, target) if counts[0] > counts[1] else (target, source)
    gaps = find_missing_lines(line_lengths(long), line_lengths(short), abs(counts[0] - counts[1]))
    if gaps is None:
        return f"{counted}; no pairing of their lines fits the lengths: are they the same text?"
    if not gaps and min(counts) < NEARBY:
        return counted
    if not gaps:
        end = "its end, which is missing" if min(counts) < MAX_LINES else f"line {MAX_LINES:,} at least"
        return f"{counted}; {short.name} seems to go with {long.name} up to {end}"
    gains = np.diff([0, *(offset for _, offset in gaps)])
    places = [f"{gain:,} at about line {line + 1:,}" for gain, (line, _) in zip(gains, gaps, strict=True)]
    return (
        f"{counted}; {short.name} seems to lack {' and '.join(places)}: from there its line n goes with line "
        f"n + {gaps[0][1]} of {long.name}"
    )


def line_lengths(path: Path) -> np.ndarray:
    """The lengths of the first MAX_LINES lines, in characters as far as they can be decoded."""
    return np.array(
        [len(line.decode("utf-8", "replace")) for line in islice(byte_lines(path), MAX_LINES)], dtype=np.int64
    )


def read_text(name: str, files: TextFiles, key: str) -> ParallelText:
    """A validation or test set; raises DataError for sides of unequal length and for bytes that are not UTF-8."""
    sides: tuple[list[str], list[str]] = [], []
    for pair in file_pairs(files, key):
        found = [strict_lines(path) for path in pair]
        if len(found[0]) != len(found[1]):
            raise DataError(f"{key}: {explain_unequal(*pair)}")
        for side, more in zip(sides, found, strict=True):
            side.extend(more)
    if not sides[0]:
        raise DataError(f"{key}: there is no line in {files.source} and {files.target}")
    gold = None
    if files.gold is not None:
        (path,) = paths(files.gold, f"{key}.gold")
        gold = strict_lines(path)
        if len(gold) != len(sides[0]):
            raise DataError(f"{path} has {len(gold)} lines of links, but {key} has {len(sides[0])} pairs")
    return ParallelText(name, *sides, gold, ", ".join(map(str, paths(files.target, f"{key}.target"))))


def stamp(path: Path) -> list[Any]:
    """Path, size and time of change in nanoseconds, which together show whether a file has changed."""
    status = path.stat()
    return [os.fspath(path.resolve()), status.st_size, status.st_mtime_ns]


def stamps(files: TextFiles, key: str) -> list[list[Any]]:
    """The stamps of a test set."""
    return [stamp(path) for pair in file_pairs(files, key) for path in pair]
