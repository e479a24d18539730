"""scripts/padding_fault.py: each of its models has the fault that it is named after, and no other."""

import sys

import numpy as np
import pytest
import torch
from script_modules import load_script

from nmt.batch import collate
from nmt.models import MODELS
from nmt.models.attention import GlobalConfig

SHORT, LONG, TARGET = [5, 6, 7], [8, 9, 5, 6, 7, 8, 9, 4], [4, 5]


@pytest.fixture(scope="module")
def script():
    module = load_script("padding_fault")
    yield module
    del MODELS[module.PaddedConfig], sys.modules["padding_fault"]


def built(script, fault):
    torch.manual_seed(1)
    config = script.PaddedConfig(fault=script.Fault(fault), hidden_size=8, init_range=0.9, attention=GlobalConfig())
    return config.build(12, 12, joint=True)


def loss_of_short(model, alone):
    """-log p of the first pair's target, alone or beside a longer pair."""
    pairs = [(SHORT, TARGET)] if alone else [(SHORT, TARGET), (LONG, [*TARGET, 6, 7, 8])]
    with torch.no_grad():
        return model(collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))).nll[0, :3]


@pytest.mark.parametrize(("fault", "leaks"), [("none", False), ("attention", True), ("encoder", True), ("loss", False)])
def test_who_shares_the_batch_matters_where_states_leak(script, fault, leaks):
    model = built(script, fault).eval()
    alone, among = loss_of_short(model, True), loss_of_short(model, False)
    assert torch.allclose(alone, among, atol=1e-6) is not leaks


def test_a_sentence_without_padding_is_read_alike_by_all(script):
    first, *others = (loss_of_short(built(script, fault).eval(), True) for fault in ("none", "attention", "encoder"))
    for other in others:
        assert torch.equal(first, other)


def test_only_the_loss_of_training_counts_padding(script):
    """It is the mean over all positions, times the number of real ones, by which training divides it."""
    batch = collate([SHORT, LONG], [TARGET, [*TARGET, 6, 7, 8]], [0, 1])
    right, wrong = (built(script, fault).train() for fault in ("none", "loss"))
    for model in (right, wrong):
        model.decoder.dropout = model.encoder.dropout = model.config.dropout = 0.0
    encoded, words = wrong.encode(batch.source, batch.source_lengths), wrong.target_embedding(batch.target_in.t())
    vectors, _ = wrong.decoder(words, encoded.start, encoded.memory, False)
    nll = -wrong.projection(vectors).log_softmax(2).transpose(0, 1).gather(2, batch.target_out[..., None])
    assert float(wrong(batch).loss_sum.detach()) == pytest.approx(float(nll.mean().detach()) * 9, rel=1e-5)
    assert float(right(batch).loss_sum.detach()) != pytest.approx(float(wrong(batch).loss_sum.detach()), rel=1e-3)


def test_random_order_is_an_order(script):
    lengths = np.array([[3, 1, 2, 9], [1, 1, 4, 4]])
    assert sorted(script.in_random_order(lengths, 2, np.random.default_rng(0))) == [0, 1, 2, 3]
