"""Corpora drawn by weight: the shares of the formulas, what an epoch holds, and the order of a resumed training."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from nmt.data.batching import BatchingConfig, TrainBatches, plan_epoch
from nmt.data.encode import EncodedCorpus
from nmt.data.files import FilesConfig
from nmt.data.mixing import MixConfig, Mixture, portions
from nmt.data.prepare import prepare
from nmt.data.text import TextFiles
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind
from nmt.errors import ConfigError, DataError, RunError

COUNTS = {"a": 100, "b": 10}
ROWS = [[k % 7 + 1] * (k % 5 + 1) for k in range(110)]


def test_a_temperature_near_zero_leaves_the_largest():
    drawn = Mixture.of(MixConfig(temperature=0.001), {"small": 20, "large": 20_000}).drawn
    assert drawn == {"small": 0, "large": 20_020}


@pytest.mark.parametrize("temperature", [0.5, 1, 2, 5, 1000])
def test_shares_by_temperature(temperature):
    drawn = Mixture.of(MixConfig(temperature=temperature), COUNTS).drawn
    powers = {name: count ** (1 / temperature) for name, count in COUNTS.items()}
    for name, count in drawn.items():
        assert abs(count - 110 * powers[name] / sum(powers.values())) < 1
    assert sum(drawn.values()) == 110
    if temperature == 1:
        assert drawn == COUNTS


def test_shares_by_weight():
    assert Mixture.of(MixConfig(weights={"b": 3.0, "a": 1.0}), COUNTS).drawn == {"a": 28, "b": 82}
    assert Mixture.of(MixConfig(weights={"a": 0.0, "b": 2.0}), COUNTS).drawn == {"a": 0, "b": 110}


def test_portions_are_whole_and_lose_nothing():
    assert portions(np.array([1, 1, 1]) / 3, 10) == [4, 3, 3]
    assert portions(np.array([0.0, 1.0]), 7) == [0, 7]


def test_an_epoch_holds_whole_copies_and_a_new_part_each_time():
    mixture = Mixture.of(MixConfig(weights={"a": 1.0, "b": 3.0}), COUNTS)
    epochs = [mixture.draw(np.random.default_rng([1, epoch])) for epoch in (0, 0, 1)]
    assert np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])
    for drawn in epochs:
        times = Counter(drawn.tolist())
        assert {times[k] for k in range(100)} == {0, 1}
        assert sum(times[k] for k in range(100)) == 28
        assert {times[k] for k in range(100, 110)} == {8, 9}


@pytest.mark.parametrize("batching", [BatchingConfig(tokens=40), BatchingConfig(sentences=7)])
def test_batches_hold_what_is_drawn(batching):
    corpus, mixture = EncodedCorpus.of(ROWS, ROWS[::-1]), Mixture.of(MixConfig(temperature=3), COUNTS)
    plan = plan_epoch(corpus, batching, 1, 4, mixture)
    rows = [pair for number in range(len(plan)) for pair in plan.pairs(number).tolist()]
    rng = np.random.default_rng([1, 4])
    rng.integers(2**32)  # for the segmentation
    assert sorted(rows) == mixture.draw(rng).tolist()
    batch = plan.batch(0)
    assert batch.ids.tolist() == plan.pairs(0).tolist()
    if batching.sentences is None:
        for number in range(len(plan)):
            pairs = plan.pairs(number)
            padded = len(pairs) * max(max(len(ROWS[k]), len(ROWS[::-1][k]) + 1) for k in pairs)
            assert padded <= 40


def test_without_a_mixture_nothing_is_drawn():
    """The order of the batches of earlier versions."""
    corpus = EncodedCorpus.of(ROWS, ROWS)
    plan = plan_epoch(corpus, BatchingConfig(tokens=40), 1, 0)
    assert sorted(plan.order.tolist()) == list(range(110))


def test_a_resumed_training_goes_on_with_the_same_batches():
    corpus, config = EncodedCorpus.of(ROWS, ROWS), BatchingConfig(tokens=60)
    mixture, other = (Mixture.of(MixConfig(temperature=t), COUNTS) for t in (3, 4))
    whole = [batch.ids.tolist() for batch in islice(TrainBatches(corpus, config, 1, mixture=mixture), 30)]
    first = TrainBatches(corpus, config, 1, mixture=mixture)
    assert [batch.ids.tolist() for batch in islice(first, 17)] == whole[:17]
    state = first.state_dict()
    assert state["epoch"] >= 1
    again = TrainBatches(corpus, config, 1, mixture=mixture)
    again.load_state_dict(state)
    assert [batch.ids.tolist() for batch in islice(again, 13)] == whole[17:]
    with pytest.raises(RunError, match=r"data\.mix was {'a': 75, 'b': 35} and is {'a': 70, 'b': 40}"):
        TrainBatches(corpus, config, 1, mixture=other).load_state_dict(state)
    mixed = TrainBatches(corpus, config, 1, mixture=mixture)
    with pytest.raises(RunError, match=r"data\.mix was None and is {'a'"):
        mixed.load_state_dict(TrainBatches(corpus, config, 1).state_dict())


@pytest.fixture
def config(tmp_path):
    """Six pairs, one of which is blank, and two more."""
    texts = {"train": [f"{k} a b" for k in range(5)] + [""], "more": ["x a", "y b"], "dev": ["q"]}
    for name, lines in texts.items():
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines))

    def files(name: str) -> TextFiles:
        return TextFiles(str(tmp_path / f"{name}.en"), str(tmp_path / f"{name}.de"))

    def make(**more) -> FilesConfig:
        tokenizer = TokenizerConfig(kind=TokenizerKind.word, vocab_size=40)
        settings = {"more": {"back": files("more")}, **more}
        return FilesConfig(
            train=files("train"),
            validation=files("dev"),
            cache=str(tmp_path / "cache"),
            tokenizer=tokenizer,
            **settings,
        )

    return make


def test_more_text_is_read_after_the_corpus_and_counted_in_the_table(config):
    prepared = prepare(config(mix=MixConfig(temperature=1000)), seed=1)
    assert prepared.mixture is not None
    assert prepared.mixture.counts == {"files": 5, "back": 2}
    assert list(prepared.mixture.drawn.values()) == [4, 3]
    table = str(prepared.table)
    assert "mix           files: 5 pairs, of which an epoch has 4 (57.1% of all)\n" in table
    assert "              back: 2 pairs, of which an epoch has 3 (42.9% of all)" in table
    sources, _ = prepared.train.read(np.arange(7))
    assert prepared.tokenizers.source.decode(sources) == ["0 a b", "1 a b", "2 a b", "3 a b", "4 a b", "x a", "y b"]


def test_more_text_without_a_mixture_is_trained_on_once_an_epoch(config):
    prepared = prepare(config(), seed=1)
    assert (len(prepared.train), prepared.mixture) == (7, None)


def test_tags_stand_in_front_of_more_text_too(config):
    prepared = prepare(config(tags=True, mix=MixConfig(temperature=1)), seed=1)
    sources, _ = prepared.train.read(np.array([6]))
    assert prepared.tokenizers.source.decode(sources) == ["<2de> y b"]
    assert prepared.mixture is not None
    assert prepared.mixture.drawn == {"files": 5, "back": 2}


def test_directions_are_mixed_too(config, tmp_path):
    sides = [[str(tmp_path / f"{name}.{language}") for name in ("train", "more")] for language in ("en", "de")]
    dev = [str(tmp_path / f"dev.{language}") for language in ("en", "de")]
    made = FilesConfig(
        pairs=["en-de", "de-en"],
        tags=True,
        train=TextFiles([sides[0][0], sides[1][1]], [sides[1][0], sides[0][1]]),
        validation=TextFiles(dev, dev[::-1]),
        cache=str(tmp_path / "cache"),
        tokenizer=TokenizerConfig(kind=TokenizerKind.word, vocab_size=40),
        mix=MixConfig(weights={"en-de": 1.0, "de-en": 1.0}),
    )
    prepared = prepare(made, seed=1)
    assert prepared.mixture is not None
    assert prepared.mixture.counts == {"en-de": 5, "de-en": 2}
    assert sorted(prepared.mixture.drawn.values()) == [3, 4]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"mix": MixConfig(weights={"back": 1.0})},
            "names back, and the corpora are files, back: type a weight for eac",
        ),
        ({"more": {}, "mix": MixConfig(temperature=2)}, r"data\.mix draws from several corpora: data\.more\.NAME\.sou"),
        ({"more": {"files": TextFiles("a", "b")}}, r"data\.more\.files: files is the name of the corpus itself"),
        ({"more": {"x": TextFiles("a", "b", gold="c")}}, r"data\.more\.x\.gold does nothing"),
        ({"more": {"x": {"source": "a"}}}, r"data\.more\.x\.target is missing: type data\.more\.x\.target=FILE"),
        ({"pairs": ["en-de", "de-en"], "tags": True}, r"data\.more is for one direction, and data\.pairs names 2"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_with_the_key(config, settings, said):
    with pytest.raises(ConfigError, match=said):
        config(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"weights": {"a": -1.0}}, "weights.a must be at least 0"),
        ({"weights": {"a": 0.0}}, "weights are all 0"),
        ({"weights": {"a": 1.0}, "temperature": 2.0}, "type one"),
    ],
)
def test_weights_that_cannot_be(settings, said):
    with pytest.raises(ConfigError, match=said):
        MixConfig(**settings)


def test_a_corpus_of_which_nothing_is_left_cannot_be_drawn(config, tmp_path):
    (tmp_path / "more.en").write_text("\n\n")
    (tmp_path / "more.de").write_text("\n\n")
    with pytest.raises(ConfigError, match="no pairs are left of back, which therefore cannot be drawn"):
        prepare(config(mix=MixConfig(temperature=2)), seed=1)
    (tmp_path / "more.de").unlink()
    with pytest.raises(DataError, match=r"data\.more\.back|no file"):
        prepare(config(mix=MixConfig(temperature=2)), seed=1)
