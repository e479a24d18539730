"""Word alignments as Pharaoh lines, and as links between the pieces that words are made of.

A link (i, j) joins source word i and target word j, both counted from 0 over the words of ``split_words``.  A line
holds a sentence's links: ``i-j`` a sure one, ``ipj`` a possible one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nmt.errors import DataError, shown

Links = frozenset[tuple[int, int]]

SEPARATORS = " \t"  # of words, as aligners know them; a no-break space, say, is a part of its word
_WORD = re.compile(rf"[^{SEPARATORS}]+")
_LINK = re.compile(r"0*(\d{1,18})([-p])0*(\d{1,18})", re.ASCII)  # of thousands of digits Python makes no number


@dataclass(frozen=True)
class Alignment:
    """The links of one sentence pair."""

    sure: Links
    possible: Links  # holds the sure ones too

    def shifted(self, source: int, target: int) -> "Alignment":
        """The links of the sentences without their first ``source`` and ``target`` words."""

        def shift(links: Links) -> Links:
            return frozenset((i - source, j - target) for i, j in links if i >= source and j >= target)

        return Alignment(shift(self.sure), shift(self.possible))

    def __str__(self) -> str:
        links = [(j, i, "-") for i, j in self.sure] + [(j, i, "p") for i, j in self.possible - self.sure]
        return " ".join(f"{i}{mark}{j}" for j, i, mark in sorted(links))


def split_words(text: str) -> list[str]:
    """The words that links count: what stands between spaces and tabs, as for fast_align and other aligners.

    Other white space, such as the no-break spaces U+00A0 and U+202F in numbers, does not end a word.
    """
    return _WORD.findall(text)


def leading_words(text: str) -> int:
    """How many words at the beginning of a text are white space alone, which ``str.strip`` takes away."""
    return len(split_words(text[: len(text) - len(text.lstrip())])) if text.strip() else 0


def parse_line(line: str, where: str, lengths: tuple[int, int] | None = None) -> Alignment:
    """The links of one line; ``lengths``, words of source and target, makes sure that they are inside.

    Raises DataError, beginning with ``where``, for a malformed link or one outside its sentences.
    """
    sure, possible = set(), set()
    for word in line.split():
        match = _LINK.fullmatch(word)
        if match is None:
            raise DataError(f"{where}: {shown(word)} is not a link; write 3-4 (sure) or 3p4 (possible)")
        link = (int(match[1]), int(match[3]))
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
        for index, length, side in zip(link, lengths, ("source", "target"), strict=True) if lengths else ():
            if index >= length:
                raise DataError(
                    f"{where}: link {match[0][-40:]} is outside its {side} sentence of {length} words "
                    "(they count from 0)"
                )
    return Alignment(frozenset(sure), frozenset(possible))


def parse_pharaoh(lines: Iterable[str], name: str, lengths: Sequence[tuple[int, int]] | None = None) -> list[Alignment]:
    """Pharaoh lines to alignments; a blank line is a sentence without links.

    ``lengths``, words of each source and target, makes sure that the lines belong to those sentences.  Raises
    DataError, naming ``name`` and the line, for what ``parse_line`` refuses and for a wrong number of lines.
    """
    sizes = {} if lengths is None else dict(enumerate(lengths, 1))
    alignments = [parse_line(line, f"{name}:{n}", sizes.get(n)) for n, line in enumerate(lines, 1)]
    if lengths is not None and len(alignments) != len(lengths):
        raise DataError(f"{name} has {len(alignments)} lines for {len(lengths)} sentence pairs")
    return alignments


def piece_links(line: str, source_words: Sequence[int], target_words: Sequence[int]) -> list[int]:
    """Links between words to links between pieces: every piece of the one word with every piece of the other.

    ``source_words`` (S,) and ``target_words`` (T,) give each piece's word.  Possible links count as sure ones do.
    Returns target position, source position, target position, ...
    """
    pieces = places(source_words), places(target_words)
    flat: list[int] = []
    for i, j in sorted(parse_line(line, "links").possible):
        for t in pieces[1].get(j, ()):
            for s in pieces[0].get(i, ()):
                flat += (t, s)
    return flat


def places(words: Sequence[int]) -> dict[int, list[int]]:
    """The positions at which each word has a piece."""
    found: dict[int, list[int]] = {}
    for position, word in enumerate(words):
        found.setdefault(word, []).append(position)
    return found
