"""Random segmentations that are a function of a seed and the number of the sentence, in every process.

SentencePiece draws some, too, but from version 0.2.3 on others in every process, whatever its seed is set to.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from nmt.batch import UNK
from nmt.data import counter_random
from nmt.data.spans import NONE, PieceTable, Spans, Words

CHARACTERS = 1 << 20  # of texts that are segmented together, which takes some hundred bytes for each
CELLS = 1 << 20  # symbols of words, padding included, that are merged at the same time
NEVER = np.iinfo(np.int32).max  # the rank of a merge that there is not
UNKNOWN_PENALTY = 10.0  # SentencePiece scores a character that is no piece so much below the worst piece


def sample(
    table: PieceTable, texts: Sequence[str], unigram: bool, sampling: float, seed: int, first: int
) -> list[list[int]]:
    """The ids of a random segmentation of each text, by ``sample_unigram`` or ``sample_bpe``."""
    draw = sample_unigram if unigram else sample_bpe
    part = np.cumsum([len(text) for text in texts]) // CHARACTERS
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(texts)]
    drawn = (
        draw(table, texts[start:stop], sampling, seed, first + start) for start, stop in itertools.pairwise(bounds)
    )
    return list(itertools.chain.from_iterable(drawn))


def sample_bpe(table: PieceTable, texts: Sequence[str], p: float, seed: int, first: int = 0) -> list[list[int]]:
    """BPE-dropout (Provilkov et al. 2020): a merge is dropped with probability ``p``, from 0 to 1.

    As in SentencePiece, a merge that was dropped is not tried again until one of its two symbols has grown.  Algorithm
    1 of the paper, which is for single words, draws again at every step; in a long text without spaces nearly every
    merge would then be made in the end.

    ``seed`` and a text's number, ``first`` for the first of them, decide what is drawn for it.
    """
    spans, words = table.cut(texts)
    if len(words.word) == 0:
        return [[] for _ in texts]
    keys = counter_random.keys(seed, first + np.arange(words.texts))[words.text]
    _, ranks = np.unique(-table.scores, return_inverse=True)  # equal scores have one rank: the leftmost merge is best
    ranks = np.append(ranks, NEVER).astype(np.int32)[np.minimum(spans.codes, len(ranks))]  # NONE, -1, takes the last
    symbols, begin = spans.symbols[words.word], spans.first[words.word]
    order = np.argsort(symbols, kind="stable")  # words of about the same length are merged together
    codes, lengths, start = [], [], 0
    while start < len(order):
        size = max(1, CELLS // int(symbols[order[start]]))
        size = max(1, CELLS // int(symbols[order[start : start + size][-1]]))
        block = order[start : start + size]
        merging = Merging(ranks, begin[block], symbols[block], words.place[block], keys[block], p)
        merging.run()
        n, a = np.nonzero(merging.begins)
        codes.append(spans.codes[begin[block[n]] + a, merging.after[n, a] - a - 1])
        lengths.append(merging.begins.sum(1))
        start += size
    length = np.concatenate(lengths)
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return rows(spans, words, np.repeat(order, length), within, np.concatenate(codes))


class Merging:
    """The merges in N words of up to L symbols, made in all of them at the same time, the best of each word first.

    ``ranks[begin[n] + a, k]`` is the rank of the merge that makes one symbol of the k + 1 from a on in word n; 0 is the
    best, NEVER says that there is none.  Of merges of the same rank the leftmost is the best.
    """

    def __init__(
        self, ranks: np.ndarray, begin: np.ndarray, symbols: np.ndarray, place: np.ndarray, keys: np.ndarray, p: float
    ) -> None:
        self.ranks, self.begin, self.symbols, self.place, self.keys = ranks, begin, symbols, place, keys
        self.dropped_below = p * 2**counter_random.BITS
        shape, column = (len(begin), int(symbols.max())), np.arange(symbols.max())
        self.begins = column < symbols[:, None]  # (N, L), whether a symbol begins there
        self.after = np.broadcast_to(column + 1, shape).copy()  # where the symbol that begins there ends
        self.before = np.broadcast_to(
            np.arange(-1, shape[1]), (shape[0], shape[1] + 1)
        ).copy()  # begin of the one before
        self.best = np.full(
            shape, NEVER, np.int32
        )  # the rank of its merge with the next symbol, if that was not dropped

    def run(self) -> None:
        """Merge until there is nothing left to merge; ``begins`` and ``after`` then tell the symbols."""
        n, a = np.nonzero(self.begins[:, 1:])
        self.propose(n, a, a + 2, 3 * (a + 1))
        n = np.arange(len(self.begin))
        while True:
            best = self.best[n]
            a = best.argmin(1)
            going = best[np.arange(len(n)), a] != NEVER
            n, a = n[going], a[going]
            if len(n) == 0:
                return
            self.merge(n, a)

    def merge(self, n: np.ndarray, a: np.ndarray) -> None:
        """In each of the words ``n``, make one symbol of the one that begins at ``a`` and the next, which begins at b.

        No other merge takes the beginning at b away, so that b can number the draws of the two merges that become
        possible: no two draws of a text have the same number.
        """
        b = self.after[n, a]
        end = self.after[n, b]
        self.begins[n, b], self.after[n, a], self.before[n, end] = False, end, a
        self.best[n, a] = self.best[n, b] = NEVER
        more = end < self.symbols[n]
        self.propose(n[more], a[more], self.after[n[more], end[more]], 3 * b[more] + 1)
        left = self.before[n, a]
        more = left >= 0
        self.best[n[more], left[more]] = NEVER
        self.propose(n[more], left[more], end[more], 3 * b[more] + 2)

    def propose(self, n: np.ndarray, a: np.ndarray, end: np.ndarray, draw: np.ndarray) -> None:
        """Note the merge that makes one symbol from ``a`` to ``end``, unless draw ``draw`` of the word drops it."""
        fits = end - a <= self.ranks.shape[1]
        n, a, end, draw = n[fits], a[fits], end[fits], draw[fits]
        rank = self.ranks[self.begin[n] + a, end - a - 1]
        there = rank != NEVER
        n, a, rank, draw = n[there], a[there], rank[there], draw[there]
        dropped = counter_random.draw(self.keys[n], 3 * self.place[n] + draw) < self.dropped_below
        self.best[n, a] = np.where(dropped, NEVER, rank)


def sample_unigram(table: PieceTable, texts: Sequence[str], alpha: float, seed: int, first: int = 0) -> list[list[int]]:
    """A segmentation with probability p(segmentation)^alpha / Z, of all that there are (Kudo 2018, section 3.2).

    Forward filtering, backward sampling: forward, the sum over all segmentations of each beginning of a word; backward,
    the last piece by its share of that sum, then the last of what is left.

    ``seed`` and a text's number, ``first`` for the first of them, decide what is drawn for it.
    """
    spans, words = table.cut(texts)
    if len(words.word) == 0:
        return [[] for _ in texts]
    keys = counter_random.keys(seed, first + np.arange(words.texts))[words.text]
    lattice = Lattice(spans, alpha * span_scores(table))
    n = np.argsort(words.word, kind="stable")  # the words of which something is left: lookups in order are faster
    end = spans.symbols[words.word[n]]
    steps, occurrences, codes = [], [], []
    while len(n):
        drawn = counter_random.draw(keys[n], words.place[n] + end) / 2**counter_random.BITS
        code, end = lattice.last_piece(words.word[n], end, drawn)
        steps.append(np.full(len(n), len(steps)))
        occurrences.append(n)
        codes.append(code)
        n, end = n[end > 0], end[end > 0]
    occurrence, step = np.concatenate(occurrences), np.concatenate(steps)
    within = np.bincount(occurrence, minlength=len(words.word))[occurrence] - 1 - step
    return rows(spans, words, occurrence, within, np.concatenate(codes))


def span_scores(table: PieceTable) -> np.ndarray:
    """The score of each piece; after the last one, that of a character that is no piece."""
    normal = table.scores[table.normal]
    worst = normal.min() if len(normal) else 0.0
    return np.append(table.scores, worst - UNKNOWN_PENALTY)


class Lattice:
    """For every beginning of every word: the pieces that can be its last one, each with its probability.

    ``weights`` are the logarithms of what each piece multiplies a segmentation's probability with; the last of them is
    for characters that are no piece.
    """

    def __init__(self, spans: Spans, weights: np.ndarray) -> None:
        at, k = np.nonzero(spans.codes != NONE)
        word = np.repeat(np.arange(len(spans.first)), spans.symbols)[at]
        self.empty = spans.first + np.arange(len(spans.first))  # node empty[w] + j: the first j symbols of word w
        node = self.empty[word] + at - spans.first[word] + k + 1
        order = np.argsort(node, kind="stable")
        node, word, self.codes, self.length = node[order], word[order], spans.codes[at, k][order], k[order] + 1
        closes = np.append(node[1:] != node[:-1], True)  # whether a piece is the last of those of its node
        self.closing = np.zeros(len(spans.codes) + len(self.empty), np.int64)  # the last of each node
        self.closing[node[closes]] = np.flatnonzero(closes)
        shares = cumulative_shares(weights[np.minimum(self.codes, spans.unknown)], node, self.length, self.empty[word])
        self.reached = node + np.where(closes, 1.0, shares)  # rises from piece to piece, by 1 within a node

    def last_piece(self, word: np.ndarray, end: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last piece of the first ``end`` symbols of some words, and where it begins; ``drawn`` is from 0 to 1."""
        node = self.empty[word] + end
        piece = np.minimum(np.searchsorted(self.reached, node + drawn, side="right"), self.closing[node])
        return self.codes[piece], end - self.length[piece]


def cumulative_shares(weights: np.ndarray, node: np.ndarray, length: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Of each piece, the probability that the last piece of its node is this or one before it; sorted by ``node``.

    ``length`` is a piece's length in symbols, and ``empty`` is the node before its word.
    """
    total = np.zeros(int(node.max()) + 1)  # of each node, the logarithm of the sum over its segmentations
    shares, end = np.empty(len(weights)), node - empty
    order = np.argsort(end, kind="stable")  # what a piece follows comes before it
    bounds = np.searchsorted(end[order], np.arange(1, end.max() + 2))
    for start, stop in itertools.pairwise(bounds):
        part = order[start:stop]
        first = np.flatnonzero(np.append(True, node[part[1:]] != node[part[:-1]]))
        sizes = np.diff(np.append(first, stop - start))
        x = weights[part] + total[node[part] - length[part]]
        most = np.maximum.reduceat(x, first)
        x = np.exp(x - np.repeat(most, sizes))
        sums = np.add.reduceat(x, first)
        total[node[part[first]]] = most + np.log(sums)
        reached = np.cumsum(x)
        shares[part] = (reached - np.repeat(reached[first] - x[first], sizes)) / np.repeat(sums, sizes)
    return shares


def rows(spans: Spans, words: Words, occurrence: np.ndarray, within: np.ndarray, codes: np.ndarray) -> list[list[int]]:
    """The ids of each text; ``codes`` are given in any order, each the piece number ``within`` of an occurrence."""
    length = np.bincount(occurrence, minlength=len(words.word))
    flat = np.empty(len(codes), np.int32)
    flat[(np.cumsum(length) - length)[occurrence] + within] = codes
    text = np.repeat(words.text, length)
    if (flat >= spans.unknown).any():
        flat, text = spelt(spans, flat, text)
    ids, bounds = flat.tolist(), np.searchsorted(text, np.arange(words.texts + 1)).tolist()
    return [ids[start:stop] for start, stop in itertools.pairwise(bounds)]


def spelt(spans: Spans, codes: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the bytes of characters that are no piece; without byte fallback UNK, once for several of them in a row."""
    unknown = codes >= spans.unknown
    written = [spans.unknown_ids[code] for code in (codes[unknown] - spans.unknown).tolist()]
    sizes = np.ones(len(codes), np.int64)
    sizes[unknown] = [len(ids) for ids in written]
    codes, text = np.repeat(codes, sizes), np.repeat(text, sizes)
    codes[np.repeat(unknown, sizes)] = list(itertools.chain.from_iterable(written))
    again = np.append(False, (codes[1:] == UNK) & (codes[:-1] == UNK) & (text[1:] == text[:-1]))
    return codes[~again], text[~again]
