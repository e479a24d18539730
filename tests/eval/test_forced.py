"""Attention between the words of given translations."""

import numpy as np
import pytest
import torch
from eval_fakes import FakeModel, thirds

from nmt.device import Precision
from nmt.eval.alignment import AlignConfig, Pool, word_weights
from nmt.eval.forced import NoAttentionError, align
from nmt.search import DecodeConfig, ForcedOptions, force_decode, score_ids

OPTIONS = ForcedOptions(torch.device("cpu"), Precision.fp32)
SOURCE = ["ant badger fox", "elephants", "dolphin ant cat cat fox", "fox badger"]
TARGET = ["badger", "ant dolphin elephants", "cat fox", "fox fox ant cat dolphin"]
TOKENIZERS = thirds(SOURCE, TARGET)


def fake(**options) -> FakeModel:
    return FakeModel(TOKENIZERS.source.size, **options).eval()


@pytest.mark.parametrize("source_eos", [False, True])
def test_alignments_are_the_chosen_map_between_words(source_eos):
    """Read pair by pair, without end-of-sentence of either side."""
    model, config = fake(source_eos=source_eos), AlignConfig(layer=2, head=-1, shift=1, pool=Pool.max)
    found = list(align(model, TOKENIZERS, SOURCE, TARGET, OPTIONS, config))
    for source, target, words in zip(SOURCE, TARGET, found, strict=True):
        ids = TOKENIZERS.source.encode([source]), TOKENIZERS.target.encode([target])
        ((_, forced),) = force_decode(model, *ids, OPTIONS, want_maps=True)
        assert forced.maps is not None
        chosen = forced.maps.weights[1, 2, :, : len(ids[0][0])].numpy()
        of_words = TOKENIZERS.source.words(ids[0][0]), TOKENIZERS.target.words(ids[1][0])
        np.testing.assert_allclose(words, word_weights(chosen, *of_words, 1, Pool.max), rtol=1e-5)


def test_alignments_come_in_the_order_of_the_pairs(monkeypatch):
    """However many are read at once; blank sides have no weights."""
    sources, targets = [*SOURCE, "", "ant"], [*TARGET, "cat fox", ""]
    whole = list(align(fake(), TOKENIZERS, sources, targets, OPTIONS))
    monkeypatch.setattr("nmt.eval.forced.ALIGNED_AT_ONCE", 2)
    parts = list(align(fake(), TOKENIZERS, sources, targets, OPTIONS))
    shapes = [(len(t.split()), len(s.split())) for s, t in zip(sources, targets, strict=True)]
    assert [w.shape for w in whole] == [w.shape for w in parts] == shapes
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(whole[1].sum(1), 1, rtol=1e-5)


def test_a_model_without_attention_is_refused():
    with pytest.raises(NoAttentionError, match="no attention"):
        next(align(fake(attention=False), TOKENIZERS, SOURCE, TARGET, OPTIONS))


def test_the_alignment_of_a_latent_one_is_its_posterior():
    """Which the fake makes of the maps by another order of the layers."""
    latent, plain = fake(latent=True), fake()
    for layer in (1, 2):
        found = align(latent, TOKENIZERS, SOURCE, TARGET, OPTIONS, AlignConfig(layer=layer))
        expected = align(plain, TOKENIZERS, SOURCE, TARGET, OPTIONS, AlignConfig(layer=3 - layer))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_coverage_scores_a_latent_alignment_by_its_prior():
    """As search does, which does not know the word: both fakes score alike."""
    ids = TOKENIZERS.source.encode(SOURCE), [[ids] for ids in TOKENIZERS.target.encode(TARGET)]
    config = DecodeConfig(coverage=0.5)
    scores = [
        score_ids(fake(latent=latent), *ids, config, OPTIONS.device, OPTIONS.precision) for latent in (False, True)
    ]
    assert scores[0] == scores[1]
