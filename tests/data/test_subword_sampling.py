"""Random segmentations: SentencePiece's own without randomness, the right probabilities, the same in every process."""

import hashlib
import io
import itertools
import math
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st
from real_corpora import real_file

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.data import counter_random, subword_sampling
from nmt.data.pieces import SPACE, SUBWORDS, SubwordTokenizer, TokenizerKind, normalize
from nmt.data.spans import PieceTable
from nmt.data.tokenizer import TokenizerConfig, train_tokenizer

TEXTS = [
    f"The {a} {b} runs{mark} over {n} green hills; ein {c} Hügel sieht {n}0 {b}s."
    for a in ("old", "younger", "tallest")
    for b in ("dog", "cat", "horse")
    for c in ("grüner", "größerer")
    for n, mark in ((1, ""), (12, ","), (300, " "), (4567, "!"))
]
CERTAIN = 1e4  # unigram's alpha at which the best segmentation has all the probability
ODD = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r") | st.sampled_from(
    [SPACE, " ", "\ufdd0", "the", "grün", "<s>", "<0x41>", "@@", "<tag>", "e\u0301", "\u3000", "ｶﾞ", "日本", "\0"]
)


@cache
def tokenizer(kind: TokenizerKind) -> SubwordTokenizer:
    found = train_tokenizer(TokenizerConfig(kind=kind, vocab_size=420), TEXTS)
    assert isinstance(found, SubwordTokenizer)
    return found


OPTIONS = {
    "as trained here": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "normalized": {"normalization_rule_name": "nmt_nfkc_cf"},
    "user-defined symbols": {"user_defined_symbols": ["<tag>", "@@", "@", "00"], "vocab_size": 460},
    "pieces over spaces": {"split_by_whitespace": False, "vocab_size": 500},
    "spaces at the ends of words": {"treat_whitespace_as_suffix": True},
    "no byte fallback": {"byte_fallback": False, "vocab_size": 150},
    "no space before the text": {"add_dummy_prefix": False},
}


IDS = {"pad_id": PAD, "unk_id": UNK, "bos_id": BOS, "eos_id": EOS}


@cache
def model(kind: TokenizerKind, options: str) -> bytes:
    """A model with other settings than the project's, one of OPTIONS."""
    written = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=written,
        model_type=kind.name,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 420, **IDS, "byte_fallback": True, **OPTIONS[options]},
    )
    return written.getvalue()


def draws(kind: TokenizerKind, data: bytes, texts: list[str], sampling: float, seed: int = 1) -> list[list[int]]:
    return subword_sampling.sample(PieceTable(data), texts, kind is TokenizerKind.unigram, sampling, seed, 0)


def certain(kind: TokenizerKind) -> float:
    """What leaves nothing to chance."""
    return CERTAIN if kind is TokenizerKind.unigram else 0.0


def same_or_as_probable(data: bytes, kind: TokenizerKind, texts: list[str]) -> None:
    """Ours without chance is SentencePiece's encoding, or in unigram another one of the same probability."""
    processor = spm.SentencePieceProcessor(model_proto=data)
    expected = processor.encode(texts)
    for text, theirs, ours in zip(texts, expected, draws(kind, data, texts, certain(kind)), strict=True):
        if theirs != ours:
            assert kind is TokenizerKind.unigram, text
            assert processor.decode(ours) == processor.decode(theirs)
            scores = [sum(map(processor.get_score, ids)) for ids in (ours, theirs)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4), text


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
@pytest.mark.parametrize(
    "name",
    ["multi30k/val.de", "multi30k/val.en", "hansards_enfr/dev.fr", "news_ende/newstest2013.de"],
)
def test_without_chance_real_text_is_encoded_as_by_sentencepiece(kind, name):
    texts = [normalize(text, False) for text in real_file(name).read_text(encoding="utf-8").split("\n")]
    data = train_tokenizer(TokenizerConfig(kind=kind, vocab_size=2000), texts[:1000]).to_bytes()
    same_or_as_probable(data, kind, texts)


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
@pytest.mark.parametrize("options", OPTIONS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(ODD | st.sampled_from(TEXTS), max_size=8).map("".join), min_size=1, max_size=4))
def test_without_chance_every_model_encodes_as_by_sentencepiece(kind, options, texts):
    """Its normalization, byte fallback and user-defined symbols included."""
    same_or_as_probable(model(kind, options), kind, texts)


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
def test_user_defined_symbols_are_never_split(kind):
    data = model(kind, "user-defined symbols")
    processor = spm.SentencePieceProcessor(model_proto=data)
    text = "old <tag>dog@@ @ 3000 cats<tag>"
    symbols = [processor.piece_to_id(piece) for piece in ("<tag>", "@@", "@", "00")]
    plain = [i for i in processor.encode(text) if i in symbols]
    assert len(plain) == 5
    rows = draws(kind, data, [text] * 50, 0.5)
    assert all([i for i in row if i in symbols] == plain for row in rows)
    assert len({tuple(row) for row in rows}) > 1


def bpe_probabilities(word: str, processor: spm.SentencePieceProcessor, p: float) -> dict[tuple[str, ...], float]:
    """Every outcome of BPE-dropout, by trying both: the best merge is dropped for good or made."""

    @cache
    def outcomes(symbols: tuple[str, ...], dropped: frozenset) -> dict[tuple[str, ...], float]:
        merges = []
        begin = 0
        for left, right in itertools.pairwise(symbols):
            number = processor.piece_to_id(left + right)
            merge = begin, begin + len(left), begin + len(left) + len(right)
            if number != processor.unk_id() and merge not in dropped:
                merges.append((-processor.get_score(number), merge[0], merge))
            begin += len(left)
        if not merges:
            return {symbols: 1.0}
        merge = min(merges)[2]
        i = [sum(map(len, symbols[:k])) for k in range(len(symbols))].index(merge[0])
        merged = (*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :])
        found: dict[tuple[str, ...], float] = {}
        for share, rest in ((p, outcomes(symbols, dropped | {merge})), (1 - p, outcomes(merged, dropped))):
            for segmentation, probability in rest.items():
                found[segmentation] = found.get(segmentation, 0.0) + share * probability
        return found

    return outcomes(tuple(word), frozenset())


def unigram_probabilities(
    word: str, processor: spm.SentencePieceProcessor, alpha: float
) -> dict[tuple[str, ...], float]:
    """p(segmentation)^alpha / Z of all segmentations, which are fewer than the best that SentencePiece is asked for."""
    rows = processor.nbest_encode(word.lstrip(SPACE), nbest_size=500)
    assert 1 < len(rows) < 500
    weights = [math.exp(alpha * sum(map(processor.get_score, row))) for row in rows]
    pieces = [tuple(processor.id_to_piece(i) for i in row) for row in rows]
    return {p: w / sum(weights) for p, w in zip(pieces, weights, strict=True)}


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
@pytest.mark.parametrize("sampling", [0.1, 0.5])
@pytest.mark.parametrize("word", ["younger", "größerer"])
def test_segmentations_have_their_probabilities(kind, sampling, word):
    """Pearson's chi-square over all segmentations; those expected less than five times are counted together."""
    processor = spm.SentencePieceProcessor(model_proto=tokenizer(kind).to_bytes())
    exact = bpe_probabilities if kind is TokenizerKind.bpe else unigram_probabilities
    expected = exact(SPACE + word, processor, sampling)
    assert sum(expected.values()) == pytest.approx(1)
    count = 20_000
    # Some occurrences alone, some in the middle of a sentence, after others of the same word.
    rows = tokenizer(kind).sample([word] * (count // 2) + [" ".join([word] * 10)] * (count // 20), sampling, seed=3)
    words = [tokenizer(kind).words(row) for row in rows]
    drawn: Counter = Counter()
    for row, index in zip(rows, words, strict=True):
        pieces = tokenizer(kind).pieces(row)
        for _, group in itertools.groupby(zip(index, pieces, strict=True), key=lambda pair: pair[0]):
            drawn[tuple(piece for _, piece in group)] += 1
    assert drawn.keys() <= expected.keys()
    assert drawn.total() == count
    cells = [(drawn[s], count * q) for s, q in expected.items() if count * q >= 5]
    rare = count - sum(e for _, e in cells)
    cells += [(count - sum(n for n, _ in cells), rare)] * (rare >= 5)
    chi_square, freedom = sum((n - e) ** 2 / e for n, e in cells), len(cells) - 1
    assert freedom >= 3
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)  # five standard deviations


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
def test_what_is_drawn_depends_on_the_number_of_the_text_and_the_seed(kind, monkeypatch):
    """Not on the texts around it, nor on how many are segmented together, nor on what was drawn before."""
    whole = tokenizer(kind).sample(TEXTS, 0.3, 5)
    assert tokenizer(kind).sample(TEXTS[20:], 0.3, 5, first=20) == whole[20:]
    monkeypatch.setattr(subword_sampling, "CHARACTERS", 300)
    monkeypatch.setattr(subword_sampling, "CELLS", 100)
    assert SubwordTokenizer(tokenizer(kind).to_bytes(), kind, False).sample(TEXTS, 0.3, 5) == whole
    other, later = tokenizer(kind).sample(TEXTS, 0.3, 6), tokenizer(kind).sample(TEXTS, 0.3, 5, first=1)
    for drawn in (other, later):
        assert np.mean([a != b for a, b in zip(whole, drawn, strict=True)]) > 0.9
    repeated = tokenizer(kind).sample([TEXTS[0]] * 50, 0.3, 5)
    assert len({tuple(row) for row in repeated}) > 40
    assert tokenizer(kind).sample([], 0.3, 5) == []
    assert tokenizer(kind).sample(["", " "], 0.3, 5) == [[], []]


DIGEST = """
import hashlib, sys
from nmt.data.pieces import SubwordTokenizer, TokenizerKind
lines = sys.stdin.buffer.read().decode().split("\\n")
kind, data = TokenizerKind[lines[0]], bytes.fromhex(lines[1])
print(hashlib.sha256(repr(SubwordTokenizer(data, kind, False).sample(lines[2:], 0.2, 9, 4)).encode()).hexdigest())
"""


def test_another_process_draws_the_same():
    """SentencePiece 0.2.3 does not, whatever it is seeded with."""
    for seed, kind in enumerate(SUBWORDS):
        data = "\n".join([kind.name, tokenizer(kind).to_bytes().hex(), *TEXTS])
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": str(seed + 1)}
        environment["PYTHONPATH"] = str(Path(subword_sampling.__file__).parents[2])
        command = [sys.executable, "-c", DIGEST]
        found = subprocess.run(command, input=data.encode(), env=environment, capture_output=True, check=True)
        here = hashlib.sha256(repr(tokenizer(kind).sample(TEXTS, 0.2, 9, 4)).encode()).hexdigest()
        assert found.stdout.decode().strip() == here


def test_numbers_are_those_of_splitmix64():
    """The first numbers after the key 1234567, as its authors' reference code in C gives them."""
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    drawn = counter_random.draw(np.full(4, 1234567, np.uint64), np.arange(4))
    assert drawn.tolist() == [number >> 11 for number in reference]


def test_keys_differ_in_every_bit():
    """Of texts in a row, and of seeds in a row; draws of different keys with the same number are spread evenly."""
    keys = np.concatenate([counter_random.keys(seed, np.arange(5000)) for seed in range(4)])
    assert len(np.unique(keys)) == len(keys)
    bits = (keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.all(np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / math.sqrt(len(keys)))
    tenths = np.bincount(counter_random.draw(keys, np.full(len(keys), 7)) * 10 >> 53, minlength=10)
    assert np.all(np.abs(tenths - len(keys) / 10) < 5 * math.sqrt(len(keys) / 10))
