"""Checks of training text: each keeps, drops or refuses a sentence pair that fails it, and counts are kept of all."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import regex

from nmt.errors import ConfigError, DataError
from nmt.settings import check_ranges, setting

# Stands for the line that one side lacks, where files of unequal length are not refused.  No decoder yields this.
UNPAIRED = "\ud800"
# For the ratio, a shorter side counts as this many characters, because "No" may be translated as "Auf keinen Fall".
SHORT = 10
# Bytes that are not UTF-8 reach the checks as U+DC80 to U+DCFF (PEP 383); JSON can hold other lone surrogates.
SURROGATE = re.compile("[\ud800-\udfff]")
NUL = "\udc00"  # stands for the byte 0, which is valid UTF-8 and no text
# Whatever a font shows of a text.  Not shown are white space, control characters, what Unicode calls default-ignorable
# (soft hyphen, zero-width characters, byte order mark, direction marks, variation selectors, Hangul fillers, ...), the
# marks of interlinear annotations and the empty Braille cell.
VISIBLE = regex.compile(r"[^\s\p{Cc}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\u2800]")


class Action(Enum):
    """What happens to a pair that fails a check."""

    keep = "keep"  # train on it, but count it
    drop = "drop"  # leave it out, and count it
    refuse = "refuse"  # stop with an error that says where it is


class Side(Enum):
    """Which half of a pair."""

    source = "source"
    target = "target"


@dataclass
class ChecksConfig:
    """What becomes of training pairs that look wrong (data.checks.*); both sides blank is always dropped."""

    line_counts: Action = setting(Action.refuse, "one file has more lines than the other: drop ignores the surplus")
    undecodable: Action = setting(Action.refuse, "bytes that are not UTF-8, or zero; keep: as U+FFFD")
    blank: Action = setting(Action.drop, "one side of a pair shows nothing")
    long: Action = setting(Action.drop, "over max_source, max_target or max_characters")
    ratio: Action = setting(Action.drop, "one side is over max_ratio times as long")
    in_test: Action = setting(Action.drop, "one side is a sentence of a validation or test set")
    max_source: int = setting(200, "words (between white space) in a source sentence", least=1)
    max_target: int = setting(200, "words (between white space) in a target sentence", least=1)
    max_characters: int = setting(2000, "characters in a sentence, for unspaced scripts", least=1)
    max_ratio: float | None = setting(
        9.0,
        f"characters of the longer side to the shorter, which counts as {SHORT} or more; null: no limit",
        least=1,
    )

    def __post_init__(self) -> None:
        check_ranges(self, "data.checks")
        if self.line_counts is Action.keep:
            raise ConfigError(
                "data.checks.line_counts=keep: a line without a partner cannot be kept; use drop or refuse"
            )


# What the table counts, in the order of the checks: a dropped pair is counted under the first that dropped it.
TITLES = {
    "line_counts": "line without a partner",
    "undecodable": "bytes that are not UTF-8",
    "both_blank": "both sides blank",
    "blank": "one side blank",
    "long": "too long",
    "ratio": "lengths too unlike",
    "in_test": "sentence of a held-out set",
    "normalized": "side rewritten in NFC",
    "stripped": "side with white space at an edge",
}


@dataclass
class CheckCounts:
    """How many pairs failed each check, and what was done: ``print(counts)`` shows it, ``as_dict`` logs it.

    read = kept + the sum of ``dropped``.
    """

    read: int = 0
    kept: int = 0
    found: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # where the first pair that failed each check comes from

    def __post_init__(self) -> None:
        self.found, self.dropped = Counter(self.found), Counter(self.dropped)

    def count(self, check: str, dropped: bool, where: Callable[[], str]) -> None:
        """Count one more pair that fails ``check``."""
        if check not in self.first:
            self.first[check] = where()
        self.found[check] += 1
        self.dropped[check] += dropped

    def as_dict(self) -> dict[str, Any]:
        """The counts in JSON types; ``CheckCounts(**counts.as_dict())`` is equal to them."""
        return {
            "read": self.read,
            "kept": self.kept,
            "found": {**self.found},
            "dropped": {**self.dropped},
            "first": self.first,
        }

    def __str__(self) -> str:
        lines = [f"training pairs read {self.read:,}, kept {self.kept:,}"]
        if self.first:
            lines.append(f"  {'':32} {'found':>10} {'dropped':>10}  first at")
        for check in sorted(self.first, key=list(TITLES).index):
            counts = f"{self.found[check]:>10,} {self.dropped[check]:>10,}"
            lines.append(f"  {TITLES[check]:32} {counts}  {self.first[check]}")
        return "\n".join(lines)


def clean(
    pairs: Iterable[tuple[str, ...]],
    config: ChecksConfig,
    table: CheckCounts,
    held_out: Iterable[str] = (),
    locate: Callable[[int, Side], str] = lambda number, side: f"pair {number + 1}, {side.name} side",
) -> Iterator[tuple[str, ...]]:
    """The pairs to train on, in NFC and stripped at the edges; ``table`` counts the pairs that fail a check.

    The third and later elements of a pair are passed on unchanged.
    ``held_out``: the sentences, of either language, of the validation and test sets; these alone are kept in memory.
    ``locate(number, side)`` says where the 0-based pair comes from.  Raises DataError for what the config refuses.
    """
    forbidden = frozenset(strip_nfc(text) for text in held_out)
    for number, raw in enumerate(pairs):
        table.read += 1
        pair = strip_nfc(raw[0]), strip_nfc(raw[1])
        for check, side in problems(*pair, config, forbidden):
            action = Action.drop if check == "both_blank" else getattr(config, check)
            if action is Action.refuse:
                where = locate(number, side) + (
                    offending_byte(raw[side is Side.target]) if check == "undecodable" else ""
                )
                raise DataError(f"{where}: {TITLES[check]} (data.checks.{check}=refuse; drop leaves such pairs out)")
            table.count(check, action is Action.drop, lambda n=number, s=side: locate(n, s))
            if action is Action.drop:
                break
        else:
            for side, before, after in zip(Side, raw[:2], pair, strict=True) if pair != raw[:2] else ():
                if before != after:
                    check = "stripped" if unicodedata.is_normalized("NFC", before) else "normalized"
                    table.count(check, False, lambda n=number, s=side: locate(n, s))
            table.kept += 1
            yield SURROGATE.sub("\ufffd", pair[0]), SURROGATE.sub("\ufffd", pair[1]), *raw[2:]


def strip_nfc(text: str) -> str:
    """The text in NFC, without white space at the edges; nothing inside is changed otherwise."""
    return unicodedata.normalize("NFC", text).strip()


def blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or holds white space and invisible characters alone.

    Such text is left out of training, translated to an empty line, and its translation is taken for empty in scores.
    """
    return VISIBLE.search(text) is None


def problems(source: str, target: str, config: ChecksConfig, forbidden: Set[str]) -> Iterator[tuple[str, Side]]:
    """The checks that a pair (in NFC, stripped) fails, in the order of TITLES, and the side to look at."""
    if source == UNPAIRED or target == UNPAIRED:
        yield "line_counts", Side.target if source == UNPAIRED else Side.source
    for side, text in ((Side.source, source), (Side.target, target)):
        if not text.isascii() and SURROGATE.search(text):
            yield "undecodable", side
            break
    empty = blank(source), blank(target)
    if any(empty):
        yield "both_blank" if all(empty) else "blank", Side.source if empty[0] else Side.target
    for side, text, most in ((Side.source, source, config.max_source), (Side.target, target, config.max_target)):
        if len(text) > config.max_characters or len(text.split()) > most:
            yield "long", side
            break
    shorter, longer = sorted((len(source), len(target)))
    if config.max_ratio is not None and longer > config.max_ratio * max(shorter, SHORT):
        yield "ratio", Side.source if len(source) == longer else Side.target
    if source in forbidden or target in forbidden:
        yield "in_test", Side.source if source in forbidden else Side.target


def offending_byte(text: str) -> str:
    """Which byte of a line decoded with surrogateescape is not UTF-8, counted from 1."""
    match = SURROGATE.search(text)
    if match is None or not (match[0] == NUL or "\udc80" <= match[0] <= "\udcff"):
        return ""
    place = len(text[: match.start()].encode()) + 1
    value = ord(match[0]) - 0xDC00
    wide = value == 0 or (place == 1 and value in (0xFE, 0xFF))
    hint = "; UTF-16? convert the file to UTF-8" if wide else ""
    return f", byte {place} (0x{value:02x}{hint})"
