"""A text that is too long for a model, in parts that are not."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

CLOSING = "\"'\u2019\u201d\u00bb\u203a)\\]"
# Where a part may end, the better places first.  Latin marks end something only before white space (3.14, e.g.this).
SENTENCE_END = re.compile(
    rf"[.!?\u2026\u061f\u06d4\u0964]+[{CLOSING}]*(?=\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*"
)
CLAUSE_END = re.compile(rf"[,;:\u060c\u061b\u2013\u2014]+[{CLOSING}]*(?=\s)|[\uff0c\u3001\uff1b\uff1a]+")
WORD_END = re.compile(r"\S(?=\s)")

Span = tuple[int, int]  # of characters


class Parts(NamedTuple):
    """What became of a text."""

    spans: list[Span]  # those that hold more than white space, in order
    where: str  # where the text was split


def split_long(text: str, limit: int, sizes: Callable[[Sequence[str]], Sequence[int]]) -> Parts:
    """Split a text so that ``sizes`` of each part is at most ``limit``; nothing is left out.

    Parts end at sentence ends where that suffices, else also at clause marks, else also between words, else anywhere;
    each takes in as much as fits.  A single character may remain larger than ``limit``.
    """
    spans, where = [(0, len(text))], ""
    levels = [
        ("at sentence ends", SENTENCE_END),
        ("at sentence ends and clause marks", CLAUSE_END),
        ("between words, for want of marks", WORD_END),
        *(
            ("inside words, for want of spaces", re.compile(f"(?s).{{1,{n}}}"))
            for n in (limit // 4, limit // 16, 1)
            if n
        ),
    ]
    for name, end in levels:
        large = [size > limit for size in sizes([text[a:b] for a, b in spans])]
        if not any(large):
            break
        finer = [
            list(pack(text, list(atoms(text, span, end)), limit, sizes)) if over else [span]
            for span, over in zip(spans, large, strict=True)
        ]
        where = name if sum(map(len, finer)) > len(spans) else where
        spans = [span for group in finer for span in group]
    return Parts([(a, b) for a, b in spans if text[a:b].strip()], where)


def atoms(text: str, span: Span, end: re.Pattern[str]) -> Iterator[Span]:
    """The span cut after every match of ``end``."""
    start = span[0]
    for match in end.finditer(text, *span):
        yield start, match.end()
        start = match.end()
    if start < span[1]:
        yield start, span[1]


def pack(text: str, spans: list[Span], limit: int, sizes: Callable[[Sequence[str]], Sequence[int]]) -> Iterator[Span]:
    """Neighbours joined while the sum of their sizes is within ``limit``."""
    start, total = spans[0][0], 0
    for (a, _), size in zip(spans, sizes([text[a:b] for a, b in spans]), strict=True):
        if total and total + size > limit:
            yield start, a
            start, total = a, 0
        total += size
    yield start, spans[-1][1]
