"""Batches in both directions hold each pair and the pair that the other direction's text has of it."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from nmt.batch import PAD, collate
from nmt.data.batching import BatchingConfig, TrainBatches, plan_epoch
from nmt.data.both_directions import BothDirections
from nmt.data.directions import tags_of
from nmt.data.encode import EncodedCorpus
from nmt.data.phrases import PhrasesConfig
from nmt.data.pieces import SUBWORDS, TokenizerKind
from nmt.data.prepare import prepare
from nmt.data.tokenizer import TokenizerConfig, train_tokenizers
from nmt.errors import ConfigError

TAGS = ([4, 5], [4, 6])
BOTH = BothDirections(TAGS)


def random_corpus(pairs: int = 200) -> EncodedCorpus:
    """Of two directions, with sources far from as long as their targets."""
    rng = np.random.default_rng(0)
    sources, targets = ([rng.integers(7, 50, n).tolist() for n in rng.integers(0, 20, pairs)] for _ in range(2))
    return EncodedCorpus.of([TAGS[k % 2] + source for k, source in enumerate(sources)], targets)


@pytest.mark.parametrize("sampling", [0.0, 0.3])
@pytest.mark.parametrize("kind", [*SUBWORDS, TokenizerKind.word])
def test_a_pair_turned_round_is_that_of_the_other_direction(tmp_path, kind, sampling):
    """The corpus has all pairs of one direction and then, in the same order, those of the other."""
    config = PhrasesConfig(train_size=60, validation_size=4, test_size=3, pairs=["en-de", "de-en"], tags=True)
    config = replace(config, cache=str(tmp_path), tokenizer=TokenizerConfig(kind=kind, vocab_size=400))
    config.tokenizer.sampling = sampling
    data = prepare(config, 1)
    both = BothDirections.of(data.tokenizers.source, tags_of(config))
    half, odd = divmod(len(data.train), 2)
    assert not odd
    sources, targets = data.train.read(np.arange(2 * half))
    turned = [both.turned(source, target) for source, target in zip(sources, targets, strict=True)]
    assert turned[:half] == [*zip(sources[half:], targets[half:], strict=True)]
    assert turned[half:] == [*zip(sources[:half], targets[:half], strict=True)]
    drawn = data.train.resegmented(3)  # whose tags are whole, and which is turned back into itself
    for source, target in zip(*drawn.read(np.arange(2 * half)), strict=True):
        assert both.turned(*both.turned(source, target)) == (source, target)


def test_a_batch_is_that_of_the_pairs_and_of_the_pairs_turned_round():
    sources, targets = [[4, 5, 7, 8, 9], [4, 6, 7], [4, 6]], [[10], [11, 12, 13], []]
    found = BOTH.collate(sources, targets, [8, 3, 5])
    again, back = [[4, 6, 10], [4, 5, 11, 12, 13], [4, 5]], [[7, 8, 9], [7], []]
    expected = collate(sources + again, targets + back, [8, 3, 5, 8, 3, 5])
    assert found.tags is not None
    assert found.tags.tolist() == [2] * 6
    for name in ("source", "source_lengths", "target_in", "target_out", "ids"):
        assert getattr(found, name).equal(getattr(expected, name)), name
    assert collate(sources, targets, [8, 3, 5]).tags is None


@pytest.mark.parametrize("config", [BatchingConfig(tokens=100), BatchingConfig(sentences=6)], ids=["tokens", "count"])
def test_the_batches_are_those_of_one_direction_with_the_other(config):
    """The order is the same; the padding that is said and the longest batch are those of what is made."""
    corpus = random_corpus()
    plain, both = (TrainBatches(corpus, config, 1, both=b) for b in (None, BOTH))
    made = list(islice(both, both.batches_per_epoch))
    for one, two in zip(islice(plain, 300), made, strict=False):
        assert two.ids.tolist() == one.ids.tolist() * 2
    sides = [side for batch in made for side in (batch.source, batch.target_out)]
    share = sum(int((side == PAD).sum()) for side in sides) / sum(side.numel() for side in sides)
    plan = plan_epoch(corpus, config, 1, 0, both=BOTH)
    assert plan.padding() == pytest.approx(share, abs=1e-12)
    longest = plan.batch(plan.longest())
    most = max(batch.source.numel() + batch.target_out.numel() for batch in made)
    assert longest.source.numel() + longest.target_out.numel() >= 0.9 * most


@pytest.mark.parametrize(("kind", "size"), [(TokenizerKind.char, 100), (TokenizerKind.word, 5)])
def test_tags_that_are_no_pieces_are_refused(kind, size):
    """Letters spell them, and of so few words one is all that the vocabulary holds."""
    config = TokenizerConfig(kind=kind, vocab_size=size)
    texts = ["<2de> a dog", "<2en> ein Hund"], ["a"] * 9
    tokenizer = train_tokenizers(config, *texts, seed=1, symbols=["<2de>", "<2en>"]).source
    with pytest.raises(ConfigError, match=r"trainer\.agreement .* <2de> is no piece .* data\.tokenizer\.kind=bpe"):
        BothDirections.of(tokenizer, ["<2de>", "<2en>"])
