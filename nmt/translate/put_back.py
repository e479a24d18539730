"""Puts the tags and placeholders of a source back into its translation, where attention says that they belong.

Each target word j is linked with the source word i of greatest weight.  Then

- an element (a tag, what it encloses, the tag that closes it) reaches from the first to the last target word that is
  linked with a word it enclosed; where no word is, it is put around the one with the greatest weight on them; where it
  enclosed all that its parent did, it does again;
- an element stays inside its parent, and elements side by side never overlap: the one that begins first in the source
  is placed first, and the others have what is left;
- everything else, empty elements too, stands before what is linked with the word that followed, or after what is linked
  with the word that it was joined to; without links, where the nearest linked word says.

So tags nest in the target as in the source, each mark is there once, and marks at one place keep their order.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from nmt.data.pharaoh import SEPARATORS
from nmt.translate.markup import Mark, Marked
from nmt.translate.translation import Translation

WORD = re.compile(rf"[^{SEPARATORS}]+")


class Word(NamedTuple):
    """Places of a word in a text: its first character, the first and last without punctuation around it, its end."""

    start: int
    core: int
    core_end: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words that alignments count (nmt/data/pharaoh.py), and the punctuation around each."""
    words = []
    for match in WORD.finditer(text):
        start, end = core, core_end = match.span()
        while core < end and is_punctuation(text[core]):
            core += 1
        while core_end > core and is_punctuation(text[core_end - 1]):
            core_end -= 1
        # A word of punctuation alone has none around it.
        words.append(Word(start, core, core_end, end) if core < core_end else Word(start, start, end, end))
    return words


def is_punctuation(character: str) -> bool:
    """Whether Unicode has a character among the punctuation."""
    return unicodedata.category(character).startswith("P")


@dataclass
class Node:
    """An element, or a mark that stands by itself; the root is the whole text."""

    order: int  # place of its mark among the marks
    begin: int  # in the source's text without marks
    finish: int
    mark: Mark | None = None
    closing: Mark | None = None  # None: it stands by itself
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    taken: list[tuple[int, int, int]] = field(default_factory=list)  # where its elements lie: first, end, order
    start: int = 0  # in the target
    end: int = 0


def with_marks(marked: Marked, found: Sequence[Translation], keep_alignment: bool) -> list[Translation]:
    """The hypotheses of a text with the tags and placeholders that were taken out of it.

    A text of marks alone has no hypothesis; its marks are its translation.
    """
    if not found and marked.marks:
        return [Translation("".join(mark.raw for mark in marked.marks), 0.0, 0.0, True, [])]
    whole: list[Translation] = []
    for h in found:
        assert h.alignment is not None
        text = put_back(marked, h.text, h.alignment)
        whole.append(replace(h, text=text, alignment=h.alignment if keep_alignment else None))
    return whole


def put_back(marked: Marked, target: str, weights: np.ndarray) -> str:
    """The translation ``target`` of ``marked.text`` with the marks in it; weights (target words, source words)."""
    if not marked.marks:
        return marked.written(target)
    placing = Placing(marked, target, weights)
    return written(marked, target, placing.root)


class Placing:
    """Finds the place of each mark in the target."""

    def __init__(self, marked: Marked, target: str, weights: np.ndarray) -> None:
        self.text, self.target, self.weights = marked.text, target, weights
        self.source_words, self.target_words = words_of(marked.text), words_of(target)
        self.linked: list[list[int]] = [[] for _ in self.source_words]  # target words of each source word
        for j, row in enumerate(weights[: len(self.target_words)]):
            if row.size and np.isfinite(row).all() and row.max() > 0:
                self.linked[int(row.argmax())].append(j)
        nodes = self.nodes(marked)
        for node in nodes:
            self.place_element(node)
        for node in nodes:
            if node.start < 0:
                self.place_mark(node)

    def nodes(self, marked: Marked) -> list[Node]:
        """The tree of elements, of which ``self.root`` is the root: all but that, in the order of the source."""
        self.root = Node(-1, 0, len(marked.text), end=len(self.target))
        found, stack, closing = [], [self.root], set(marked.pairs.values())
        for order, mark in enumerate(marked.marks):
            if order in closing:
                stack.pop()
                continue
            close = marked.marks[marked.pairs[order]] if order in marked.pairs else None
            node = Node(order, mark.at, close.at if close else mark.at, mark, close, stack[-1], start=-1, end=-1)
            stack[-1].children.append(node)
            found.append(node)
            if close:
                stack.append(node)
        return found

    def inside(self, node: Node) -> range:
        """The source words that a node encloses, at least a part of each that is no punctuation."""
        first = bisect_right(self.source_words, node.begin, key=lambda w: w.core_end)
        return range(first, bisect_left(self.source_words, node.finish, key=lambda w: w.core))

    def place_element(self, node: Node) -> None:
        """Give an element the target words that belong to it; it stays without a place where there is none."""
        parent, words = node.parent, self.inside(node)
        assert parent is not None
        if node.closing is None or not words or parent.start < 0:
            return
        around = self.text[parent.begin : node.begin] + self.text[node.finish : parent.finish]
        if not around.strip():
            node.start, node.end = parent.start, parent.end
        else:
            found, gap = self.fitting(parent, sorted(j for i in words for j in self.linked[i]))
            if not found and self.weights.size:
                likely = self.weights[: len(self.target_words), words.start : words.stop].sum(1)
                found, gap = self.fitting(parent, [int(likely.argmax())] if likely.max() > 0 else [])
            if not found:
                return
            first, last = self.source_words[words.start], self.source_words[words.stop - 1]
            begin, end = self.target_words[found[0]], self.target_words[found[-1]]
            node.start = max(begin.start if first.core > first.start >= node.begin else begin.core, gap[0])
            node.end = min(end.end if last.core_end < last.end <= node.finish else end.core_end, gap[1])
        if node.start < node.end:
            insort(parent.taken, (node.start, node.end, node.order))

    def fitting(self, parent: Node, words: Sequence[int]) -> tuple[list[int], tuple[int, int]]:
        """Of target words those in the free part of a node that has most of them, and that part."""
        by_gap: dict[int, list[int]] = {}
        for j in words:
            _, core, core_end, _ = self.target_words[j]
            k = bisect_right(parent.taken, core, key=lambda taken: taken[0])
            start, end = self.gap(parent, k)
            if start <= core and core_end <= end:
                by_gap.setdefault(k, []).append(j)
        if not by_gap:
            return [], (0, 0)
        best = max(by_gap, key=lambda k: len(by_gap[k]))
        return by_gap[best], self.gap(parent, best)

    @staticmethod
    def gap(parent: Node, k: int) -> tuple[int, int]:
        """The part of a node before its k-th element, in the order of the target."""
        taken = parent.taken
        return taken[k - 1][1] if k else parent.start, taken[k][0] if k < len(taken) else parent.end

    def place_mark(self, node: Node) -> None:
        """Give a mark that stands by itself, or an empty element, its place inside its parent and outside others."""
        parent = node.parent
        assert parent is not None
        place = min(max(self.place(node, parent), parent.start), parent.end)
        k = bisect_left(parent.taken, place, key=lambda taken: taken[0])
        if k and place < parent.taken[k - 1][1]:
            start, end, order = parent.taken[k - 1]
            place = end if node.order > order else start
        node.start = node.end = place

    def place(self, node: Node, parent: Node) -> int:
        """Where the links want a mark."""
        assert node.mark is not None
        at, words = node.begin, self.source_words
        after = bisect_left(words, at, key=lambda w: w.start)  # the word that follows
        before = after - 1
        if before >= 0 and words[before].end > at and self.linked[before]:
            return self.inside_word(words[before], self.linked[before], at)
        first = before < 0 or words[before].end <= parent.begin
        last = after == len(words) or words[after].start >= parent.finish
        is_tag = node.mark.raw.startswith("<")
        if not first and node.mark.joined_before and not (last and is_tag) and self.linked[before]:
            return self.target_words[self.linked[before][-1]].end
        if not last and node.mark.joined_after and not (first and is_tag) and self.linked[after]:
            return self.target_words[self.linked[after][0]].start
        if first or last:
            return parent.end if last else parent.start
        for distance in range(len(words)):
            if (i := after + distance) < len(words) and self.linked[i]:
                return self.target_words[self.linked[i][0]].start
            if (i := before - distance) >= 0 and self.linked[i]:
                return self.target_words[self.linked[i][-1]].end
        # No word is linked: as far from the beginning as in the source.
        return words_start(self.target_words, len(self.target_words) * after // len(words), len(self.target))

    def inside_word(self, word: Word, linked: Sequence[int], at: int) -> int:
        """The place in the target words ``linked`` with a source word, of which ``at`` is inside."""
        first, last = self.target_words[linked[0]], self.target_words[linked[-1]]
        if at <= word.core:
            return first.core
        same = self.text[word.start : word.end] == self.target[last.start : last.end]
        return last.start + at - word.start if same else last.core_end


def words_start(words: Sequence[Word], number: int, end: int) -> int:
    """The first character of a word; ``end`` where there are not as many."""
    return words[number].start if number < len(words) else end


def written(marked: Marked, target: str, root: Node) -> str:
    """The target with the marks of the tree in it."""
    out, at = Line(), 0

    def in_order(node: Node) -> Iterator[Node]:
        # At one place first what takes no room.
        return iter(sorted(node.children, key=lambda child: (child.start, child.start < child.end, child.order)))

    stack = [(root, in_order(root))]
    while stack:
        node, rest = stack[-1]
        child = next(rest, None)
        end = node.end if child is None else child.start
        out.text(marked.written(target[at:end]))
        at = max(at, end)
        if child is None:
            stack.pop()
            out.closing(node.closing)
            continue
        assert child.mark is not None
        out.mark(child.mark, alone=child.closing is None)
        if child.closing is not None:
            stack.append((child, in_order(child)))
    return "".join(out.parts)


class Line:
    """A line that is put together, with white space where marks had it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.last = ""  # the last character
        self.wanted = False  # whether white space has to follow
        self.after_mark = False

    def add(self, part: str, space: bool) -> None:
        """``space``: white space has to stand before it, unless it is the first."""
        if space and self.last and not self.last.isspace() and not part[0].isspace():
            self.parts.append(" ")
        self.parts.append(part)
        self.last = part[-1]

    def text(self, text: str) -> None:
        """A piece of the translation, perhaps none."""
        if text:
            self.add(text, self.wanted or (self.after_mark and runs_on(self.last, text[0])))
            self.wanted = self.after_mark = False

    def mark(self, mark: Mark, alone: bool) -> None:
        """A mark that stands ``alone``, or an opening tag, beside which words have white space already."""
        self.add(mark.raw, self.wanted or (alone and mark.before) or runs_on(self.last, mark.raw[0]))
        self.wanted, self.after_mark = alone and mark.after, True

    def closing(self, mark: Mark | None) -> None:
        """A closing tag, if there is one."""
        if mark is not None:
            self.add(mark.raw, False)


def runs_on(last: str, first: str) -> bool:
    """Whether a placeholder such as %s or __NAME__ would no longer be seen as one, with these characters together."""
    return all(c.isalnum() or (c != "" and c in "_%") for c in (last, first))
