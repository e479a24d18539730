"""Splitting a paragraph into its sentences, and a text that is too long for a model into parts that are not."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import regex

from nmt.data.checks import blank
from nmt.languages import language_of
from nmt.libraries import needed

CLOSING = "\"'\u2019\u201d\u00bb\u203a)\\]"
# Where a part may end, the better places first.  Latin marks end something only before white space (3.14, e.g.this);
# no place is before a combining mark or the like, which belongs to the character that it follows.
MARK = r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]"
SENTENCE_END = regex.compile(
    rf"[.!?\u2026\u061f\u06d4\u0964]+[{CLOSING}]*(?=\s)"
    rf"|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*(?!{MARK})"
)
CLAUSE_END = regex.compile(rf"[,;:\u060c\u061b\u2013\u2014]+[{CLOSING}]*(?=\s)|[\uff0c\u3001\uff1b\uff1a]+(?!{MARK})")
WORD_END = re.compile(r"\S(?=\s)")
CHARACTER = r"\X"  # what a reader takes for one: an extended grapheme cluster (Unicode Standard Annex 29)
CODE_POINT = r"(?s:.)"

Span = tuple[int, int]  # first code point, and the one after the last
Sizes = Callable[[Sequence[str]], Sequence[int]]


class Split(NamedTuple):
    """The parts of a text."""

    spans: list[Span]  # in order, without those that show nothing
    where: str  # at what kind of place the text was split; empty if nowhere


def sentence_spans(text: str, language: str) -> list[Span]:
    """Where the sentences of a paragraph lie, without those that show nothing and without the space between them.

    The library sentencex finds them; it knows the abbreviations of many ``language``s, and for others of a similar one.
    Raises ConfigError if it is not installed.
    """
    sentencex = needed("sentencex", "translate.paragraphs=true", extra="paragraphs")
    spans, start = [], 0
    for sentence in sentencex.segment(language_of(language), text):
        begin, end = start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())
        if not blank(text[begin:end]):
            spans.append((begin, end))
        start += len(sentence)
    return spans


def split_long(text: str, limit: int, sizes: Sizes, ceiling: int | None = None) -> Split:
    """Split a text so that ``sizes`` of each part is at most ``limit``; no part of the text is left out.

    Parts end at sentence ends where that suffices, else also at clause marks, else also between words, else between
    characters; each takes in as much as fits.  A character is what a reader takes for one: an emoji of several code
    points, or a letter with its combining marks, may therefore remain larger than ``limit``.  It is itself split, into
    code points, only if it is larger than ``ceiling`` (None: there is none), the most that a model can read; a single
    code point may remain larger than that, too.
    """
    spans, where = [(0, len(text))], ""
    for name, end, bound in levels(limit, ceiling):
        large = [size > bound for size in sizes([text[a:b] for a, b in spans])]
        if not any(large):
            continue
        finer = [
            list(join_small(text, list(cut_after(text, span, end)), bound, sizes)) if over else [span]
            for span, over in zip(spans, large, strict=True)
        ]
        where = name if sum(map(len, finer)) > len(spans) else where
        spans = [span for group in finer for span in group]
    return Split([(a, b) for a, b in spans if not blank(text[a:b])], where)


def levels(limit: int, ceiling: int | None) -> Iterator[tuple[str, Any, int]]:
    """The kinds of place to split at, the better first: their name, a pattern, and the size above which they are used.

    Inside words, groups of characters come before single ones, which are slow to count one by one.
    """
    yield "at sentence ends", SENTENCE_END, limit
    yield "at sentence ends and clause marks", CLAUSE_END, limit
    yield "between words, for want of marks", WORD_END, limit
    for count in (limit // 4, limit // 16, 1):
        if count:
            yield "inside words, for want of spaces", regex.compile(f"{CHARACTER}{{1,{count}}}"), limit
    if ceiling is not None:
        yield "inside characters that are larger than the model can read", regex.compile(CODE_POINT), ceiling


def cut_after(text: str, span: Span, end: Any) -> Iterator[Span]:
    """The span cut after every match of the pattern ``end``."""
    start = span[0]
    for match in end.finditer(text, *span):
        yield start, match.end()
        start = match.end()
    if start < span[1]:
        yield start, span[1]


def join_small(text: str, spans: list[Span], limit: int, sizes: Sizes) -> Iterator[Span]:
    """Neighbours joined while the sum of their sizes is within ``limit``."""
    start, total = spans[0][0], 0
    for (a, _), size in zip(spans, sizes([text[a:b] for a, b in spans]), strict=True):
        if total and total + size > limit:
            yield start, a
            start, total = a, 0
        total += size
    yield start, spans[-1][1]


def describe_split(total: int, limit: int, parts: Sequence[int], where: str, ceiling: int | None) -> str:
    """What was done with a text of ``total`` pieces, for a warning.

    ``parts`` has the pieces of each part; of those, the model reads the first ``ceiling`` (None: all).
    """
    cut = [size for size in parts if ceiling is not None and size > ceiling]
    if len(parts) > 1:
        done = f"translated in {len(parts)} parts, split {where}"
    else:
        done = "" if cut else "translated as a whole"
    if len(cut) == 1:
        number = f"; part {parts.index(cut[0]) + 1} " if len(parts) > 1 else ""
        done += f"{number}cut after {ceiling:,} of {cut[0]:,} pieces: no place to split"
    elif cut and ceiling is not None:
        lost = sum(cut) - len(cut) * ceiling
        done += f"; {len(cut):,} parts cut after {ceiling:,} pieces, {lost:,} left out in all: no place to split"
    else:
        large = sum(size > limit for size in parts)
        if large and len(parts) > 1:
            done += f"; {large:,} of them over {limit:,}: no place to split"
        elif large:
            done += ": no place to split"
    return f"{total:,} pieces, over {limit:,}: {done}"
