"""The tokenizers, of subwords, words or characters, which implement one protocol."""

import json
import unicodedata
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from typing import Protocol

import sentencepiece as spm

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.data.pharaoh import SEPARATORS, leading_words, split_words
from nmt.data.spans import SPACE, PieceTable
from nmt.data.subword_sampling import sample
from nmt.errors import DataError

ESCAPE = "\ufdd0"  # a noncharacter, which no text interchanges (Unicode 23.7)
NAMES = {PAD: "<pad>", UNK: "<unk>", BOS: "<s>", EOS: "</s>"}


class TokenizerKind(Enum):
    """What a piece is."""

    unigram = "unigram"  # SentencePiece, Kudo 2018
    bpe = "bpe"  # SentencePiece, Sennrich et al. 2016
    word = "word"  # split at white space
    char = "char"  # Unicode code points


SUBWORDS = (TokenizerKind.unigram, TokenizerKind.bpe)  # those made with SentencePiece


class Tokenizer(Protocol):
    """Text of one language to ids below ``size`` and back.  No method adds or returns PAD, BOS or EOS."""

    kind: TokenizerKind
    lowercase: bool

    @property
    def size(self) -> int:
        """Pieces in the vocabulary, the four of nmt/batch.py included."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, always the same; normalizes first (``normalize``)."""
        ...

    def sample(self, texts: Sequence[str], sampling: float, seed: int, first: int = 0) -> list[list[int]]:
        """Ids of a random segmentation of each text, a function of the arguments alone, in every process.

        ``first`` is the number of the first text; what is drawn for a text depends on its number and on ``seed``.
        Words and characters have only one segmentation, so there it is the same as ``encode``.
        """
        ...

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """One line of text for each row; PAD, BOS and EOS are skipped."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What to show for each id; in subwords and characters U+2581 stands for a space before a word."""
        ...

    def words(self, ids: Sequence[int], text: str | None = None) -> list[int]:
        """Index of the word (by ``pharaoh.split_words``) that each id belongs to; a space goes with the word after it.

        ``text`` is what the ids were encoded from; None: they are a model's own, and the words are those of ``decode``.
        """
        ...

    def to_bytes(self) -> bytes:
        """Everything learnt, for a file; executes nothing when read."""
        ...


def normalize(text: str, lowercase: bool) -> str:
    """NFC, without white space at the ends, lower-cased if asked: what decoding gives back."""
    return unicodedata.normalize("NFC", text.lower() if lowercase else text).strip()


class SubwordTokenizer:
    """SentencePiece with byte fallback, so that no character is unknown, and identity normalization.

    Everything ``normalize`` leaves comes back from ``decode`` but line feeds, which a line does not have.
    """

    def __init__(self, model: bytes, kind: TokenizerKind, lowercase: bool) -> None:
        self.kind, self.lowercase, self._model = kind, lowercase, model
        self._processor = spm.SentencePieceProcessor(model_proto=model)
        p = self._processor
        if (p.pad_id(), p.unk_id(), p.bos_id(), p.eos_id()) != (PAD, UNK, BOS, EOS):
            raise DataError("the SentencePiece model was not trained with pad_id=0 unk_id=1 bos_id=2 eos_id=3")

    @property
    def size(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._processor.encode(self._prepare(texts))

    def sample(self, texts: Sequence[str], sampling: float, seed: int, first: int = 0) -> list[list[int]]:
        """Unigram: sampled with p(segmentation)^sampling (Kudo 2018, section 3); BPE: merges dropped with probability
        ``sampling`` (Provilkov et al. 2020)."""
        if sampling == 0:
            return self.encode(texts)
        unigram = self.kind is TokenizerKind.unigram
        return sample(self._table, self._prepare(texts), unigram, sampling, seed, first)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        texts = self._processor.decode([[int(i) for i in row if i not in (PAD, BOS, EOS)] for row in rows])
        # A model may emit the bytes of a line feed, which training text lacks: later lines of a file would be shifted.
        return [unescape(t).replace("\n", " ").replace("\r", " ") for t in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [NAMES[i] if i in NAMES else self._processor.id_to_piece(i) for i in map(int, ids)]

    def words(self, ids: Sequence[int], text: str | None = None) -> list[int]:
        return word_indices([self._surface(int(i)) for i in ids], text)

    def to_bytes(self) -> bytes:
        return self._model

    def _surface(self, i: int) -> bytes:
        """The UTF-8 that an id stands for."""
        if i in (PAD, BOS, EOS):
            return b""
        piece = self._processor.id_to_piece(i)
        if self._processor.is_byte(i):
            return bytes([int(piece[3:5], 16)])  # <0xE2>
        return piece.replace(SPACE, " ").encode()

    @cached_property
    def _table(self) -> PieceTable:
        return PieceTable(self._model)

    def _prepare(self, texts: Sequence[str]) -> list[str]:
        return [escape(normalize(t, self.lowercase)) for t in texts]


class SymbolTokenizer:
    """A list of words or of characters, the most frequent first; everything else is UNK, shown as <unk> or U+FFFD.

    Words are split at any white space and joined by single spaces.
    """

    def __init__(self, symbols: Sequence[str], kind: TokenizerKind, lowercase: bool) -> None:
        self.kind, self.lowercase = kind, lowercase
        self._symbols = [*(NAMES[i] for i in range(4)), *symbols]
        # A text may hold the word "<pad>", so the four names are not looked up.
        self._ids = {s: i for i, s in enumerate(self._symbols) if i >= 4}

    @property
    def size(self) -> int:
        return len(self._symbols)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids = self._ids
        return [[ids.get(s, UNK) for s in split_symbols(normalize(t, self.lowercase), self.kind)] for t in texts]

    def sample(self, texts: Sequence[str], sampling: float, seed: int, first: int = 0) -> list[list[int]]:
        return self.encode(texts)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        word = self.kind is TokenizerKind.word
        shown = [*self._symbols]
        shown[UNK] = NAMES[UNK] if word else "\ufffd"
        return [(" " if word else "").join(shown[i] for i in row if i not in (PAD, BOS, EOS)) for row in rows]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._symbols[i].replace(" ", SPACE) for i in ids]

    def words(self, ids: Sequence[int], text: str | None = None) -> list[int]:
        if self.kind is TokenizerKind.word:
            # A word with a no-break space inside has been split at it, into several ids.
            parts = [1] * len(ids) if text is None else [len(word.split()) for word in split_words(text)]
            return [word for word, count in enumerate(parts) for _ in range(count)][: len(ids)]
        surfaces = [b"" if i in (PAD, BOS, EOS) else b"?" if i == UNK else self._symbols[i].encode() for i in ids]
        return word_indices(surfaces, text)

    def to_bytes(self) -> bytes:
        return json.dumps(self._symbols[4:], ensure_ascii=True, indent=0).encode()


def split_symbols(text: str, kind: TokenizerKind) -> Sequence[str]:
    """Words or characters."""
    return text.split() if kind is TokenizerKind.word else text


def escape(text: str) -> str:
    """SentencePiece reads U+2581 as a space: write it otherwise.  ``unescape`` is the inverse."""
    if SPACE not in text and ESCAPE not in text:
        return text
    return text.replace(ESCAPE, ESCAPE + "0").replace(SPACE, ESCAPE + "1")


def unescape(text: str) -> str:
    """The inverse of ``escape``."""
    return text.replace(ESCAPE + "1", SPACE).replace(ESCAPE + "0", ESCAPE)


def word_indices(surfaces: Sequence[bytes], text: str | None = None) -> list[int]:
    """Index of the word (``pharaoh.split_words``) in which each piece of UTF-8 begins; a space begins the next word.

    For ``text`` see ``Tokenizer.words``; without it, line ends are spaces, as in what is decoded and written.
    """
    first, separators = leading_words(text or ""), SEPARATORS + ("\r\n" if text is None else "")
    word, inside, at = first - 1, False, []
    for c in b"".join(surfaces).decode("utf-8", errors="surrogateescape"):
        space = c in separators
        word += not space and not inside
        inside = not space
        at += [word + space] * len(c.encode("utf-8", errors="surrogateescape"))
    begins = [0]
    for s in surfaces:
        begins.append(begins[-1] + len(s))
    last = max(word, first)  # for pieces after the last word, which hold only space or nothing
    return [min(at[b], last) if b < len(at) else last for b in begins[:-1]]
