"""Which parts of words are pieces of a SentencePiece model, in tables that all words of many texts share."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sentencepiece as spm

from nmt.batch import UNK

SPACE = "\u2581"  # how SentencePiece writes a space, and how Tokenizer.pieces shows one
NONE = -1  # the code of a span that is no piece
WORDS_KEPT = 1 << 17  # words whose pieces are remembered, some 50 MB: nearly all words of a text have been there before


@dataclass(frozen=True)
class Spans:
    """Different words, and the parts of each that are pieces.

    A word is a row of symbols: its characters, but a user-defined symbol of the model is one symbol.  ``codes[r, k]``
    belongs to the k + 1 symbols from symbol r on, counted over all words: the id of the piece that they are, NONE if
    they are none or the word ends before.  A symbol that is no piece has a code from ``unknown`` on.
    """

    codes: np.ndarray  # (symbols, longest) int32
    first: np.ndarray  # (words,) the first symbol of each word
    symbols: np.ndarray  # (words,) how many it has
    unknown: int  # the size of the vocabulary
    unknown_ids: Sequence[list[int]]  # what is written for each code from ``unknown`` on


@dataclass(frozen=True)
class Words:
    """The words of some texts in their order, W in all."""

    word: np.ndarray  # (W,) which it is in ``Spans``
    text: np.ndarray  # (W,) which text it is in
    place: np.ndarray  # (W,) how many symbols of its text are before it
    texts: int  # how many there are


class PieceTable:
    """The pieces of a SentencePiece model with their scores, and the cutting of texts into words and symbols.

    Where no piece goes over the beginning of a word, each word is segmented by itself; otherwise a whole text is one
    word.  Of the kinds of pieces, normal and user-defined ones are looked for in texts.
    """

    def __init__(self, model: bytes) -> None:
        from sentencepiece import sentencepiece_model_pb2  # here: it takes a while, and only sampling needs it

        message: Any = sentencepiece_model_pb2
        proto, kind = message.ModelProto.FromString(model), message.ModelProto.SentencePiece
        self._processor = spm.SentencePieceProcessor(model_proto=model)
        self.scores = np.array([p.score for p in proto.pieces])
        self.normal = np.array([p.type == kind.NORMAL for p in proto.pieces])
        defined = {p.piece: i for i, p in enumerate(proto.pieces) if p.type == kind.USER_DEFINED}
        normal = {p.piece: i for i, p in enumerate(proto.pieces) if p.type == kind.NORMAL}
        over_spaces = any(SPACE in piece[1:] for piece in (*defined, *normal))
        self._word = re.compile(r".+" if over_spaces else f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", re.DOTALL)
        longest_first = sorted(defined, key=len, reverse=True)
        self._symbol = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)
        self._trie: dict[str, Any] = {}  # symbol -> [code of the piece that ends here, or NONE; a trie of what follows]
        for piece, i in normal.items():
            if defined.keys().isdisjoint(piece):  # a defined symbol of one character never is a part of another piece
                add(self._trie, piece, i)
        for piece, i in defined.items():
            add(self._trie, [piece], i)
        self._longest = max(map(len, normal), default=1)
        self._unknown: dict[str, int] = {}
        self._bytes = [i for i, p in enumerate(proto.pieces) if p.type == kind.BYTE]  # in the order of their values
        self._unknown_ids: list[list[int]] = []
        self._spans_of = lru_cache(WORDS_KEPT)(self._find_spans)

    def cut(self, texts: Sequence[str]) -> tuple[Spans, Words]:
        """The words of the texts, normalized as SentencePiece does it for this model."""
        number: dict[str, int] = {}  # of each word, in the order in which they are first met
        normalized = self._processor.normalize(list(texts))
        found = [[number.setdefault(w, len(number)) for w in self._word.findall(text)] for text in normalized]
        counts = np.array([len(words) for words in found], np.int64)
        word = np.fromiter((w for words in found for w in words), np.int64, counts.sum())
        spans = self.spans(number)
        place = np.cumsum(spans.symbols[word]) - spans.symbols[word]  # in all texts together
        text = np.repeat(np.arange(len(texts)), counts)
        place -= place[(np.cumsum(counts) - counts)[text]]
        return spans, Words(word, text, place, len(texts))

    def spans(self, words: Iterable[str]) -> Spans:
        """Every part of every word."""
        found = [self._spans_of(word) for word in words]
        symbols = np.array([count for count, _ in found], np.int64)
        first = np.cumsum(symbols) - symbols
        start, length, code = np.frombuffer(b"".join(spans for _, spans in found), np.int32).reshape(-1, 3).T
        table = np.full((symbols.sum(), self._longest), NONE, np.int32)
        counts = np.array([len(spans) // 12 for _, spans in found], np.int64)
        table[np.repeat(first, counts) + start, length] = code
        return Spans(table, first, symbols, len(self.scores), self._unknown_ids)

    def _find_spans(self, word: str) -> tuple[int, bytes]:
        """How many symbols a word has; and of each part that is a piece, as int32, start, length - 1 and code."""
        symbols, found = self._symbol.findall(word), []
        for start in range(len(symbols)):
            following, known = self._trie, False
            for end in range(start, len(symbols)):
                node = following.get(symbols[end])
                if node is None:
                    break
                code, following = node
                if code != NONE:
                    found += start, end - start, code
                    known |= end == start
            if not known:
                found += start, 0, self._unknown_code(symbols[start])
        return len(symbols), np.array(found, np.int32).tobytes()

    def _unknown_code(self, symbol: str) -> int:
        """The code of a character that is no piece: its bytes are written, or UNK in a model without byte fallback."""
        if symbol not in self._unknown:
            self._unknown[symbol] = len(self.scores) + len(self._unknown)
            self._unknown_ids.append([self._bytes[b] for b in symbol.encode()] if self._bytes else [UNK])
        return self._unknown[symbol]


def add(trie: dict[str, Any], symbols: Iterable[str], code: int) -> None:
    """Add a piece to a trie."""
    node: list[Any] = [NONE, trie]
    for symbol in symbols:
        node = node[1].setdefault(symbol, [NONE, {}])
    node[0] = code
