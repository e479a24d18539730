"""Forced prefixes: target text that a translation must begin with."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nmt.data.checks import blank
from nmt.data.pieces import Tokenizer, TokenizerKind, normalize
from nmt.errors import DataError
from nmt.eval.metrics import one_line


class TextError(DataError):
    """A text that cannot be translated as asked; ``number`` is its place, from 0, among the texts of the call."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"text {number}: {reason}")
        self.number, self.reason = number, reason


class Prefix(NamedTuple):
    """What a translation must begin with."""

    text: str = ""  # as the target tokenizer normalizes it
    ids: Sequence[int] = ()


NO_PREFIX = Prefix()


def tokenize_prefixes(tokenizer: Tokenizer, prefixes: Sequence[str | None] | None, count: int) -> list[Prefix]:
    """The prefixes of ``count`` texts in the form that the target tokenizer encodes; NO_PREFIX where there is none.

    Raises DataError unless there are as many prefixes as texts.
    """
    if prefixes is None:
        return [NO_PREFIX] * count
    if len(prefixes) != count:
        raise DataError(f"there are {count} texts and {len(prefixes)} prefixes: give each text one, or None")
    normal = [
        "" if blank(prefix or "") else normalize(one_line(prefix or ""), tokenizer.lowercase) for prefix in prefixes
    ]
    if tokenizer.kind is TokenizerKind.word:
        normal = [" ".join(prefix.split()) for prefix in normal]
    return [Prefix(text, ids) for text, ids in zip(normal, tokenizer.encode(normal), strict=True)]


def check_prefix(number: int, pieces: int, limit: int, longest: int | None, warn: Callable[[int, str], object]) -> None:
    """Check the length of the prefix of text ``number`` against the length limit of its translation.

    ``longest`` is the most target positions that the model reads, that of BOS included (None: any number).  Warns
    where the prefix leaves no place for more; raises TextError where the model cannot write it.
    """
    if longest is not None:
        limit = min(limit, longest - 1)
        if pieces > longest - 1:
            raise TextError(number, f"the prefix has {pieces:,} pieces, and the model writes at most {longest - 1:,}")
    if pieces >= limit:
        warn(number, f"the prefix has {pieces:,} pieces, and the length limit is {limit:,}: nothing follows it")
