"""What words remember in the encoder lstmn, and what a decoder looks at of what it has written."""

import math

import pytest
import torch
from closeness import assert_close
from lstm_cases import PAIRS, batch_of, build
from lstm_reference import encode, remember

from nmt.errors import ConfigError
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig, NoneConfig
from nmt.models.lstm.config import Fusion, Mixture
from nmt.models.lstm.intra_attention import IntraDecoderAttention
from nmt.models.lstm.lstmn import LSTMNLayer

MAPS = 1e-6  # maps are float32


@pytest.mark.parametrize("name", ["lstmn", "lstmn deep reversed", "lstmn uni"])
def test_the_maps_are_what_the_equations_remember(name):
    """Row s of the forward direction has the words read before s, row s of the backward direction those after it."""
    model, batch = build(name), batch_of()
    found, decoder = model.self_maps(batch)
    assert decoder is None
    backward, reverse = model.config.bidirectional, model.config.reverse_source
    assert found.shape == (3, model.config.num_layers, 1 + backward, *[batch.source.size(1)] * 2)
    for b, (source, _) in enumerate(PAIRS):
        read = []
        encode(model, source, read)
        order = list(range(len(source)))[:: -1 if reverse else 1]
        for i, rows in enumerate(read):
            layer, direction = divmod(i, 1 + backward)
            path = order[::-1] if direction else order
            assert not found[b, layer, direction, path[0]].any()
            for t, row in enumerate(rows, 1):
                expected = torch.zeros(batch.source.size(1), dtype=torch.float64)
                expected[path[:t]] = row.detach()
                assert_close(found[b, layer, direction, path[t]].detach(), expected.float(), MAPS)


def test_a_layer_has_the_slopes_that_it_says():
    torch.manual_seed(0)
    layer = LSTMNLayer(3, 4, bias=True).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = list(layer.parameters())

    def states(x, *_):
        read = layer(x)
        return read.h, read.c

    assert torch.autograd.gradcheck(states, (x, *parameters), fast_mode=True)


def test_gates_are_as_wide_as_they_say_under_bfloat16():
    layer = LSTMNLayer(3, 4, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        read = layer(torch.randn(5, 2, 3))
    assert read.h.dtype == torch.bfloat16
    assert read.c.dtype == read.maps().dtype == torch.float32


@pytest.mark.parametrize("name", ["intra unfed", "intra temporal", "intra bahdanau"])
def test_what_the_decoder_looks_at(name):
    """softmax_{r<t}(h_t . W h_r) of the top states: each row sums to 1 over those before it, the first sees nothing."""
    model, batch = build(name), batch_of()
    encoder, found = model.self_maps(batch)
    assert encoder is None
    assert found.shape == (3, 1, 1, *[batch.target_in.size(1)] * 2)
    assert not found.triu().any()
    for b, (_, target) in enumerate(PAIRS):
        real = found[b, 0, 0, 1 : len(target) + 1]
        assert_close(real.sum(1), torch.ones_like(real.sum(1)), MAPS)


def test_others_have_no_maps():
    assert build("global").self_maps(batch_of()) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTMConfig(attention=NoneConfig(), intra_attention=True), "does not apply to model.attention=none"),
        (lambda: LSTMConfig(attention=GlobalConfig(), fusion=Fusion.deep), "it needs model.encoder=lstmn"),
        (
            lambda: LSTMConfig(attention=GlobalConfig(), intra_attention=True, mixture=Mixture.predictions),
            "model.intra_attention=true does not apply to model.mixture=predictions",
        ),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_layer_remembers_by_the_formulas():
    """To 1e-12: outputs, memories and what is remembered, of each sentence alone."""
    torch.manual_seed(0)
    layer = LSTMNLayer(3, 4, bias=True).double()
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    read = layer(x)
    for b in range(2):
        weights = []
        hidden, (_, c) = remember(layer, list(x[:, b]), weights)
        assert_close(read.h[:, b], torch.stack(hidden), 1e-12)
        assert_close(read.c[-1, b], c, 1e-12)
        for found, expected in zip(read.weights, weights, strict=True):
            assert_close(found[b], expected, 1e-12)


def test_the_decoder_looks_back_by_the_formulas():
    """To 1e-12, all positions at once and step by step."""
    torch.manual_seed(0)
    attention = IntraDecoderAttention(4).double()
    h = torch.randn(2, 5, 4, dtype=torch.float64)
    contexts, weights = attention.all_positions(h)
    written, project = h.new_zeros(2, 0, 4), attention.for_batch(h.dtype)
    for t in range(5):
        context, written = attention.step(h[:, t], written, project)
        assert torch.equal(written, h[:, : t + 1])
        for b in range(2):
            scores = [(h[b, t] @ attention.project.weight @ h[b, r]).item() for r in range(t)]
            total = sum(math.exp(e) for e in scores)
            expected = torch.zeros(4, dtype=torch.float64)
            for r, e in enumerate(scores):
                assert weights[b, t, r].item() == pytest.approx(math.exp(e) / total, abs=1e-12)
                expected += math.exp(e) / total * h[b, r]
            assert_close(context[b], expected, 1e-12)
            assert_close(contexts[b, t], expected, 1e-12)
