"""Learning, saving and loading the two tokenizers of a language pair."""

import hashlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sentencepiece as spm

from nmt.atomic import whole_file
from nmt.batch import BOS, EOS, PAD, UNK
from nmt.checksum import json_with_checksum, parse_json, sha256
from nmt.data.pieces import (
    SUBWORDS,
    SubwordTokenizer,
    SymbolTokenizer,
    Tokenizer,
    TokenizerKind,
    escape,
    normalize,
    split_symbols,
)
from nmt.errors import ConfigError, DataError, RunError
from nmt.settings import check_ranges, setting

# SentencePiece keeps this character for itself and skips every line of training text that has one.  It is learnt as a
# space; in a text that is encoded it is three bytes.
RESERVED = "\u2585"


@dataclass
class TokenizerConfig:
    """How text becomes pieces (data.tokenizer.*)."""

    kind: TokenizerKind = setting(TokenizerKind.bpe, "unigram, bpe, word or char")
    vocab_size: int = setting(8000, "at most so many pieces, on each side unless joint", least=5, most=10_000_000)
    joint: bool = setting(True, "one vocabulary for both languages")
    lowercase: bool = setting(False, "lower-case all text before encoding")
    sampling: float = setting(
        0.0,
        "subword regularization in training: unigram's alpha (0.2), BPE-dropout's p (0.1); 0 is off",
        least=0,
        below=1,
    )
    sample_sentences: int = setting(100_000, "learn the pieces from a random sample of so many pairs", least=1)

    def __post_init__(self) -> None:
        check_ranges(self, "data.tokenizer")


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of the source and of the target language, which are the same object if ``joint``."""

    source: Tokenizer
    target: Tokenizer
    joint: bool

    @property
    def sides(self) -> dict[str, Tokenizer]:
        """Both by the names of the sides of a corpus."""
        return {"source": self.source, "target": self.target}

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and a .model (SentencePiece) or .json (a list of strings) for each tokenizer."""
        directory.mkdir(parents=True, exist_ok=True)
        sides = {}
        for name, tokenizer in self._files().items():
            data = tokenizer.to_bytes()
            with whole_file(directory / f"{name}{suffix(tokenizer.kind)}", "wb") as file:
                file.write(data)
            sides[name] = {"kind": tokenizer.kind.value, "lowercase": tokenizer.lowercase, "sha256": sha256(data)}
        with whole_file(directory / "tokenizer.json") as file:
            file.write(json_with_checksum(sides))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What ``save`` wrote; executes nothing.  Raises RunError if something is missing or broken."""
        try:
            sides = parse_json((directory / "tokenizer.json").read_text(encoding="utf-8"))
            # These names alone: any other could lead out of the folder.
            names = ("joint",) if "joint" in sides else ("source", "target")
            found = [read_tokenizer(directory, name, **sides[name]) for name in names]
            return cls(found[0], found[-1], joint=len(found) == 1)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise RunError(f"{directory} holds no tokenizer that can be read: {error}") from None

    def digest(self) -> str:
        """Two tokenizers with the same digest give the same ids."""
        h = hashlib.sha256()
        for name, tokenizer in self._files().items():
            h.update(f"{name} {tokenizer.kind.value} {tokenizer.lowercase} ".encode())
            h.update(hashlib.sha256(tokenizer.to_bytes()).digest())
        return h.hexdigest()

    def _files(self) -> dict[str, Tokenizer]:
        return {"joint": self.source} if self.joint else {"source": self.source, "target": self.target}


def suffix(kind: TokenizerKind) -> str:
    """The suffix of the file of a tokenizer of this kind."""
    return ".model" if kind in SUBWORDS else ".json"


def read_tokenizer(directory: Path, name: str, kind: str, lowercase: bool, **more: str) -> Tokenizer:
    """One of the tokenizers that ``Tokenizers.save`` wrote; earlier versions wrote no checksum."""
    of = TokenizerKind(kind)
    path = directory / f"{name}{suffix(of)}"
    data = path.read_bytes()
    if more.get("sha256", sha256(data)) != sha256(data):
        raise RunError(f"{path.name} is damaged: it does not fit its checksum in tokenizer.json")
    if suffix(of) == ".model":
        return SubwordTokenizer(data, of, lowercase)
    return SymbolTokenizer(json.loads(data), of, lowercase)


def train_tokenizers(
    config: TokenizerConfig,
    source_texts: Iterable[str],
    target_texts: Iterable[str],
    seed: int,
    symbols: Sequence[str] = (),
) -> Tokenizers:
    """Learn the vocabularies.  ``seed`` draws the sample if there are more than ``config.sample_sentences`` pairs.

    A corpus too small for ``config.vocab_size`` gives fewer pieces.  ``symbols`` of the source text are pieces that are
    never split.  Raises ConfigError if they are too few for the
    bytes and characters, DataError if there is no text.
    """
    source = reservoir_sample(source_texts, config.sample_sentences, seed)
    target = reservoir_sample(target_texts, config.sample_sentences, seed)
    if config.joint:
        both = train_tokenizer(config, source + target, symbols)
        return Tokenizers(both, both, joint=True)
    return Tokenizers(train_tokenizer(config, source, symbols), train_tokenizer(config, target), joint=False)


def train_tokenizer(config: TokenizerConfig, texts: Sequence[str], symbols: Sequence[str] = ()) -> Tokenizer:
    """One tokenizer, learnt from all of ``texts``; subwords never split ``symbols``."""
    normal = [n for t in texts if (n := normalize(t, config.lowercase))]
    if not normal:
        raise DataError("there is no text to learn a vocabulary from")
    if config.kind in SUBWORDS:
        return SubwordTokenizer(train_subwords(config, normal, symbols), config.kind, config.lowercase)
    counts = Counter(symbol for text in normal for symbol in split_symbols(text, config.kind))
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    return SymbolTokenizer(ranked[: config.vocab_size - 4], config.kind, config.lowercase)


def train_subwords(config: TokenizerConfig, normal: Sequence[str], symbols: Sequence[str]) -> bytes:
    """A SentencePiece model, of which ``symbols`` are pieces.

    All characters become pieces where that leaves most of the vocabulary to longer ones; of a rich character set, as
    in Japanese, all but 0.05% of the text, which SentencePiece's documentation advises; bytes are for the rest.
    """
    few = len(set().union(*normal)) <= config.vocab_size // 4
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=(escape(text).replace(RESERVED, " ") for text in normal),
            model_writer=model,
            model_type=config.kind.value,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,  # a small corpus gives what pieces it can
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            byte_fallback=True,
            user_defined_symbols=[*symbols],
            character_coverage=1.0 if few else 0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 16,  # bytes; longer sentences are silently left out
            num_threads=4,  # the default too is a constant: what is learnt does not depend on the machine
            minloglevel=2,
        )
    except RuntimeError as error:
        needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
        if needed is None:
            raise DataError(f"SentencePiece cannot learn a vocabulary from this text: {error}") from None
        raise ConfigError(
            f"data.tokenizer.vocab_size must be at least {needed[1]} for this text (256 bytes, its characters and 4 "
            f"special ids), got {config.vocab_size}"
        ) from None
    return model.getvalue()


def reservoir_sample(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """At most ``size`` of the texts, each with the same chance, in one pass (Vitter 1985, algorithm R).

    Of parallel texts, drawn with the same seed, parallel sentences are drawn.
    """
    rng, sample = random.Random(seed), []
    for i, text in enumerate(texts):
        if i < size:
            sample.append(text)
        elif (k := int(rng.random() * (i + 1))) < size:
            sample[k] = text
    return sample
