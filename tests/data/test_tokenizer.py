"""Tokenizers: decoding gives back the encoded text, and random segmentations depend on the seed alone."""

import json
import os
import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.data.pieces import SPACE, SUBWORDS, normalize, word_indices
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind, Tokenizers, reservoir_sample, train_tokenizers
from nmt.errors import ConfigError, DataError, RunError

ENGLISH = [
    f"The {a} {b} runs over {n} green hills."
    for a in ("old", "young", "tall")
    for b in ["dog", "cat", "horse"]
    for n in range(9)
]
GERMAN = [
    f"{n} grüne Hügel sieht der {a} {b}."
    for a in ("alte", "große")
    for b in ("Hund", "Vogel", "Müller")
    for n in range(14)
]
# Everything a line can hold: any code point but surrogates and line feeds, with the troublesome ones often.
ODD = [SPACE, "\ufdd0", " ", "\u00a0", "\u200b", "\ufeff", "\u2028", "\u0301", "e", "0", "1", "\t", "\0", "İ", "ß", "▅"]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")
STRINGS = st.sampled_from([*ODD, "<s>", "</s>", "<pad>", "<unk>", "<0x41>", "dog", " der"])
LINES = st.lists(CHARACTERS | STRINGS).map("".join)


def learn(kind, **changes):
    return train_tokenizers(TokenizerConfig(**{"kind": kind, "vocab_size": 400, **changes}), ENGLISH, GERMAN, seed=1)


@pytest.fixture(scope="module", params=TokenizerKind, ids=lambda k: k.name)
def tokenizers(request):
    return learn(request.param)


@pytest.fixture(scope="module")
def subwords():
    return {(kind, lower): learn(kind, lowercase=lower).source for kind in SUBWORDS for lower in (False, True)}


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(LINES, max_size=4), lower=st.booleans())
def test_subwords_lose_nothing(subwords, texts, lower):
    """Every text comes back up to NFC, strip and the lower-casing asked for, in ordinary and in drawn pieces."""
    expected = [unicodedata.normalize("NFC", t.lower() if lower else t).strip() for t in texts]
    for kind in SUBWORDS:
        tokenizer = subwords[kind, lower]
        rows = tokenizer.encode(texts)
        assert tokenizer.decode(rows) == expected
        assert tokenizer.decode(tokenizer.sample(texts, 0.3, 7)) == expected
        assert all(EOS < i < tokenizer.size for row in rows for i in row)


@settings(max_examples=200, deadline=None)
@given(text=LINES)
def test_words_are_those_of_split(subwords, text):
    """Where words stand a space apart, the pieces of word k spell text.split()[k], in drawn pieces too."""
    words = normalize(text, False).split()
    for kind in SUBWORDS:
        tokenizer = subwords[kind, False]
        for row in [*tokenizer.encode([" ".join(words)]), *tokenizer.sample([" ".join(words)], 0.3, 7)]:
            indices = tokenizer.words(row)
            assert indices == sorted(indices)
            spelt = [[i for i, w in zip(row, indices, strict=True) if w == k] for k in range(len(words))]
            assert [t.strip() for t in tokenizer.decode(spelt)] == words


SPACED = ["the 10\u00a0000 houses", " \u3000 a\u202fb\u2009c  d\te\u00a0", "\u00a0", "", "a\u2003 b", "x \u00a0"]


@pytest.fixture(scope="module")
def of_every_kind():
    """Tokenizers that know every word and character of SPACED."""
    configs = [TokenizerConfig(kind=kind, vocab_size=320) for kind in TokenizerKind]
    return [train_tokenizers(config, [*SPACED, *ENGLISH], GERMAN, seed=1).source for config in configs]


@pytest.mark.parametrize("text", SPACED)
def test_a_space_that_is_none_for_aligners_ends_no_word(of_every_kind, text):
    """The ids of each word spell what is visible of it."""
    words = [word for word in re.split(r"[ \t]+", text) if word]
    for tokenizer in of_every_kind:
        (row,) = tokenizer.encode([text])
        indices = tokenizer.words(row, text)
        spelt = [[i for i, k in zip(row, indices, strict=True) if k == number] for number in range(len(words))]
        assert ["".join(t.split()) for t in tokenizer.decode(spelt)] == ["".join(word.split()) for word in words]


@pytest.mark.parametrize("text", ["", " ", "a", " a  b ", "10\u00a0000 x", "é日本 \u3000語"])
def test_word_indices_one_byte_at_a_time(text):
    """The slow way: cut the text at every byte; each begins in the word that the text from there on completes."""
    pieces = [bytes([b]) for b in text.encode()]
    words, at = re.split("[ \t]+", text.strip(" \t")) if text.strip(" \t") else [], []
    for i, c in enumerate(text):
        before = text[: i + 1].lstrip(" \t").rstrip(" \t")
        word = (len(re.split("[ \t]+", before)) if before else 0) - (0 if c in " \t" else 1)
        at += [min(word, max(len(words) - 1, 0))] * len(c.encode())
    assert word_indices(pieces) == at


def test_pieces_show_words(tokenizers):
    """There is one piece and one word for each id; a known word's pieces spell it."""
    tokenizer = tokenizers.source
    row = tokenizer.encode(["The old dog"])[0]
    pieces = tokenizer.pieces(row)
    assert len(pieces) == len(tokenizer.words(row)) == len(row)
    joined = (" " if tokenizer.kind is TokenizerKind.word else "").join(pieces)
    assert joined.replace(SPACE, " ").strip() == "The old dog"
    assert tokenizer.words(row)[0] == 0
    assert tokenizer.words(row)[-1] == 2
    assert tokenizer.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert len(tokenizer.words([*row, EOS])) == len(row) + 1


@pytest.mark.parametrize("kind", SUBWORDS)
def test_lines_with_the_character_that_sentencepiece_reserves_are_learnt_from(kind):
    """All that stands beside U+2585 is, and the character comes back."""
    config = TokenizerConfig(kind=kind, vocab_size=320)
    marked, spaced = (
        train_tokenizers(config, [text.replace(" over", over) for text in ENGLISH], GERMAN, seed=1).source
        for over in ("\u2585over", " over")
    )
    assert marked.to_bytes() == spaced.to_bytes()
    assert marked.decode(marked.encode(["dog \u2585 runs\u2585"])) == ["dog \u2585 runs\u2585"]


def test_known_text_comes_back(tokenizers):
    """Training text is encoded without UNK and decoded as it was; special ids are skipped."""
    for tokenizer, texts in ((tokenizers.source, ENGLISH), (tokenizers.target, GERMAN)):
        rows = tokenizer.encode(texts)
        assert not any(UNK in row for row in rows)
        assert tokenizer.decode([[BOS, *row, EOS, PAD] for row in rows]) == texts
    assert tokenizers.source.decode([]) == []
    assert tokenizers.source.encode([]) == []
    assert tokenizers.source.decode([[], [EOS]]) == ["", ""]


def test_save_and_load(tokenizers, tmp_path):
    """A loaded tokenizer gives the same ids and has the same digest; its files are a model and JSON."""
    tokenizers.save(tmp_path)
    again = Tokenizers.load(tmp_path)
    assert again.joint == tokenizers.joint
    assert again.digest() == tokenizers.digest()
    assert again.source.encode(ENGLISH) == tokenizers.source.encode(ENGLISH)
    assert again.source is again.target
    for file in tmp_path.iterdir():
        assert file.suffix == ".model" or json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", TokenizerKind, ids=lambda k: k.name)
def test_learning_is_deterministic(kind):
    """The same text gives the same tokenizer, other text another one."""
    assert learn(kind).digest() == learn(kind).digest()
    other = train_tokenizers(TokenizerConfig(kind=kind, vocab_size=400), GERMAN, GERMAN, seed=1)
    assert other.digest() != learn(kind).digest()


def test_separate_vocabularies(tmp_path):
    """joint=False learns each side from its own text."""
    tokenizers = learn(TokenizerKind.word, joint=False)
    tokenizers.save(tmp_path)
    for t in (tokenizers, Tokenizers.load(tmp_path)):
        assert t.source.encode(["dog Hund"])[0][1] == UNK
        assert t.target.encode(["dog Hund"])[0][0] == UNK
        assert not t.joint


def test_words_are_sorted_by_frequency_and_cut_at_vocab_size():
    """The most frequent words have the smallest ids, and the rest are UNK."""
    config = TokenizerConfig(kind=TokenizerKind.word, vocab_size=6)
    tokenizer = train_tokenizers(config, ["b b b a a c"], [], seed=1).source
    assert tokenizer.encode(["b a c d"]) == [[4, 5, UNK, UNK]]
    assert tokenizer.decode([[4, UNK]]) == ["b <unk>"]


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
def test_sampling(kind):
    """Drawn segmentations depend on the seed and nothing else, differ between seeds, and are off at 0."""
    tokenizer = learn(kind).source
    draws = [tokenizer.sample(ENGLISH, 0.3, seed) for seed in range(3)]
    tokenizer.encode(GERMAN)
    assert draws == [learn(kind).source.sample(ENGLISH, 0.3, seed) for seed in range(3)]
    assert draws[0] != draws[1] != draws[2]
    assert draws[0] != tokenizer.encode(ENGLISH)
    assert tokenizer.sample(ENGLISH, 0.0, 1) == tokenizer.encode(ENGLISH)


@pytest.mark.parametrize("kind", [TokenizerKind.word, TokenizerKind.char], ids=lambda k: k.name)
def test_sampling_leaves_symbols_alone(kind):
    tokenizer = learn(kind).source
    assert tokenizer.sample(ENGLISH, 0.3, 1) == tokenizer.encode(ENGLISH)


@pytest.mark.parametrize("kind", SUBWORDS, ids=lambda k: k.name)
def test_vocabulary_size(kind):
    """Enough text gives the size asked for, too little what it has; too small a size names the least possible."""
    draw = random.Random(0)
    rich = ["".join(draw.choices("abcdefgh ", k=60)) for _ in range(200)]
    assert train_tokenizers(TokenizerConfig(kind=kind, vocab_size=400), rich, rich, seed=1).source.size == 400
    small = learn(kind, vocab_size=8000).source.size
    assert 256 + 4 < small < 8000
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.vocab_size must be at least \d+"):
        learn(kind, vocab_size=100)
    with pytest.raises(DataError):
        train_tokenizers(TokenizerConfig(kind=kind), [" "], [], seed=1)


@pytest.mark.parametrize(
    "changes", [{"vocab_size": 4}, {"sampling": 1.0}, {"sampling": -0.1}, {"sample_sentences": 0}], ids=str
)
def test_impossible_config(changes):
    with pytest.raises(ConfigError, match=rf"data\.tokenizer\.{next(iter(changes))} must be"):
        TokenizerConfig(**changes)


def test_broken_files_are_explained(tmp_path):
    """A missing or damaged tokenizer is a RunError that names the folder."""
    with pytest.raises(RunError, match=str(tmp_path.name)):
        Tokenizers.load(tmp_path)
    learn(TokenizerKind.bpe).save(tmp_path)
    (tmp_path / "joint.model").write_bytes(b"not a model")
    with pytest.raises(RunError, match=str(tmp_path.name)):
        Tokenizers.load(tmp_path)


def test_reservoir_is_fair():
    """Every text has the same chance, sides drawn with one seed stay parallel, small corpora are taken whole."""
    texts = [str(i) for i in range(40)]
    assert reservoir_sample(texts, 40, seed=3) == texts
    hits = [0] * 40
    for seed in range(2000):
        drawn = reservoir_sample(iter(texts), 10, seed)
        assert len(set(drawn)) == 10
        for t in drawn:
            hits[int(t)] += 1
    assert all(abs(h - 500) < 100 for h in hits)  # five standard deviations
    assert [f"x{t}" for t in reservoir_sample(texts, 10, 5)] == reservoir_sample([f"x{t}" for t in texts], 10, 5)


def test_files_name_no_path_outside(tmp_path):
    """Whatever tokenizer.json says, only joint, source and target are looked for in its folder."""
    learn(TokenizerKind.char).save(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text('{"../a/joint": {"kind": "char", "lowercase": false}}')
    with pytest.raises(RunError):
        Tokenizers.load(Path(tmp_path / "a"))


def test_a_failure_while_saving_leaves_what_can_still_be_loaded(tmp_path, monkeypatch):
    """A resumed run saves its tokenizers again: a full disk must not damage them."""
    tokenizers = train_tokenizers(TokenizerConfig(vocab_size=300), ["one two three"], ["eins zwei drei"], seed=1)
    tokenizers.save(tmp_path)

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            tokenizers.save(tmp_path)
    assert Tokenizers.load(tmp_path).digest() == tokenizers.digest()
