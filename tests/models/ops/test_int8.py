"""Products with weights of 8 bits equal the same sums made by hand, one row at a time, and are used by search alone."""

import copy
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from tiny_runs import MODELS

from nmt.batch import collate
from nmt.device import Precision, has_int8
from nmt.models import build_model
from nmt.models.ops import int8
from nmt.models.ops.int8 import Int8Weight, int8_weights
from nmt.models.ops.matmul import PrepackedLinear
from nmt.models.ops.prepacked import CachesWeights, Linear, cached_weights
from nmt.search import DecodeConfig, ForcedOptions, translate_ids
from nmt.search.engine import ModelEngine
from nmt.search.scoring import force_decode

pytestmark = pytest.mark.skipif(not has_int8(), reason="this torch has no FBGEMM for this processor")

CPU = torch.device("cpu")
SOURCES = [[4, 5, 6], [7, 8], [9, 4, 5, 6]]


@pytest.fixture
def every_weight(monkeypatch):
    """Small weights have 8 bits, too."""
    monkeypatch.setattr(int8, "LEAST_ELEMENTS", 1)


def by_hand(x: list[float], weight: torch.Tensor) -> list[float]:
    """W x of one row, by a loop over Python's integers."""
    s = max(abs(value) for value in x) / 63
    q = [round(value / s) if s else 0 for value in x]
    y = []
    for row in weight.double().tolist():
        r = max(abs(value) for value in row) / 127
        y.append(s * r * sum(a * round(value / r) for a, value in zip(q, row, strict=True)) if r else 0.0)
    return y


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (7, 5), (2, 3, 5)])
def test_the_product_is_the_one_made_by_hand(shape):
    """The values are such that no quotient lies half way between two integers."""
    torch.manual_seed(0)
    x, weight, bias, term = torch.randn(shape), torch.randn(9, 5), torch.randn(9), torch.randn(*shape[:-1], 9)
    expected = torch.tensor([by_hand(row, weight) for row in x.double().flatten(0, -2).tolist()], dtype=torch.float64)
    expected, packed = expected.view(*shape[:-1], 9), Int8Weight(weight)
    before = term.clone()
    for b in (None, bias):
        for t in (None, term):
            total = expected + (0 if b is None else b) + (0 if t is None else t)
            torch.testing.assert_close(packed(x, b, t).double(), total, rtol=1e-5, atol=1e-5)
    assert torch.equal(term, before)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sums_are_not_cut_off(sign):
    """All inputs and weights as large as they can be, where pairs of products add up to the most."""
    x, weight = torch.full((3, 64), sign), torch.full((40, 64), 2.0)
    torch.testing.assert_close(Int8Weight(weight)(x, None, None), x @ weight.T)


def test_it_is_as_near_as_rounding_allows():
    """|error| <= sum_i (|x_i| r / 2 + |W_i| s / 2 + s r / 4), since each factor is off by half a step at most."""
    torch.manual_seed(0)
    x, weight = torch.randn(20, 50).double(), torch.randn(30, 50).double()
    s, r = x.abs().amax(1, keepdim=True) / 63, weight.abs().amax(1, keepdim=True) / 127
    bound = x.abs().sum(1, keepdim=True) * r.T / 2 + s / 2 * weight.abs().sum(1) + 50 * s * r.T / 4
    error = (Int8Weight(weight.float())(x.float(), None, None).double() - x @ weight.T).abs()
    assert (error <= bound * 1.0001).all()
    assert error.max() > 0


def test_a_row_does_not_know_the_others():
    """To the last bit, whatever is beside it: a row a million times as large, zeros, or numbers that are not finite."""
    torch.manual_seed(0)
    x = torch.randn(6, 33)
    x[1] *= 1e6
    x[2] = 0.0
    x[3, 4], x[4, 4] = torch.nan, torch.inf
    weight, bias = torch.randn(21, 33), torch.randn(21)
    packed = Int8Weight(weight)
    together = packed(x, bias, None)
    for i in (0, 1, 2, 5):
        assert torch.equal(together[i], packed(x[i : i + 1], bias, None)[0])
    assert torch.equal(together[2], bias)
    assert not together[3:5].isfinite().any()


def test_it_leaves_torchs_settings_alone_and_warns_of_nothing():
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Int8Weight(torch.randn(4, 3))
    assert torch.backends.quantized.engine == before


def test_only_large_weights_of_float32_within_the_context():
    large = torch.randn(512, 512)
    assert PrepackedLinear(large).int8 is None
    with int8_weights():
        assert PrepackedLinear(large).int8 is not None
        assert PrepackedLinear(large[:-1]).int8 is None
        assert PrepackedLinear(large.bfloat16()).int8 is None
        with int8_weights(False):
            assert PrepackedLinear(large).int8 is None
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(int8.in_int8).result() is False
    assert not int8.in_int8()


def test_searches_in_int8_and_in_fp32_do_not_share_weights(every_weight):
    """Neither at the same time, in two threads, nor one within the other."""
    torch.manual_seed(0)
    linear, x, together = Linear(30, 20), torch.randn(4, 30), threading.Barrier(2, timeout=20)
    exact = linear(x).detach()

    def product(on: bool) -> torch.Tensor:
        with int8_weights(on), cached_weights(linear), torch.no_grad():
            together.wait()
            linear(x)
            together.wait()
            return linear(x)

    with ThreadPoolExecutor(2) as pool:
        rounded, plain = pool.map(product, [True, False])
    torch.testing.assert_close(plain, exact)
    assert not torch.allclose(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_search_computes_in_int8_as_decode_precision_says(name, every_weight, monkeypatch):
    """The output projection above all; what is forbidden, ranked and returned is as in fp32."""
    torch.manual_seed(0)
    model = build_model(MODELS[name], 12, 12, joint=True)
    made = []
    monkeypatch.setattr(
        Int8Weight, "__init__", lambda self, w, init=Int8Weight.__init__: made.append(w) or init(self, w)
    )

    def found(precision: Precision):
        config = DecodeConfig(beam_size=3, max_length=8, precision=precision)
        return [h[0] for h in translate_ids(model, SOURCES, config, CPU)]

    exact = found(Precision.fp32)
    assert not made
    rounded = found(Precision.int8)
    assert any(w.size(0) == 12 for w in made)
    assert not int8.in_int8()
    assert [h.log_prob for h in rounded] != [h.log_prob for h in exact]
    for one in rounded:  # log P of what was found is near that of fp32 for the same words
        pair = force_decode(model.eval(), SOURCES, [one.ids] * len(SOURCES), ForcedOptions(CPU, Precision.fp32))
        scores = {i: forced.log_prob for i, forced in pair}
        assert one.log_prob == pytest.approx(scores[rounded.index(one)], abs=0.3)


def test_given_translations_are_read_in_fp32(every_weight):
    torch.manual_seed(0)
    model = build_model(MODELS["transformer"], 12, 12, joint=True).eval()

    def read(precision: Precision) -> list[float]:
        options = ForcedOptions(CPU, precision)
        return [forced.log_prob for _, forced in force_decode(model, SOURCES, SOURCES, options)]

    assert read(Precision.int8) == read(Precision.fp32)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_keeps_them_until_a_weight_changes(name, every_weight, monkeypatch):
    """Between searches; whether it is trained on or gets other weights, the next search knows.  Copies are whole."""
    torch.manual_seed(0)
    model = build_model(MODELS[name], 12, 12, joint=True)
    engine, config = ModelEngine(model, CPU), DecodeConfig(beam_size=3, max_length=8, precision=Precision.int8)
    made = []
    monkeypatch.setattr(
        Int8Weight, "__init__", lambda self, w, init=Int8Weight.__init__: made.append(w) or init(self, w)
    )

    def found(of: ModelEngine) -> list[Any]:
        return [h[0] for h in of.translate_ids(SOURCES, config)]

    first, count = found(engine), len(made)
    assert count
    assert found(engine) == first
    assert len(made) == count
    other = build_model(MODELS[name], 12, 12, joint=True)
    assert found(ModelEngine(copy.deepcopy(model), CPU)) == first
    model.load_state_dict(other.state_dict())
    assert found(engine) == found(ModelEngine(other, CPU)) != first
    loss = model.train()(collate(SOURCES, SOURCES, [0, 1, 2])).loss_sum
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    assert found(engine) == found(ModelEngine(copy.deepcopy(model), CPU))
    with cached_weights(model):
        pass
    before = len(made)
    assert found(engine)
    assert len(made) == before


def test_a_search_in_int8_leaves_nothing_for_searches_in_fp32():
    """What those make of weights is forgotten when they end, because nobody looks whether it is out of date."""
    model = build_model(MODELS["transformer"], 12, 12, joint=True)
    engine = ModelEngine(model, CPU)
    engine.translate_ids(SOURCES, DecodeConfig(beam_size=2, max_length=4, precision=Precision.int8))
    module = next(m for m in model.modules() if isinstance(m, CachesWeights))
    for value in (1, 2):
        with cached_weights(model):
            assert module.cached("of fp32", lambda value=value: value) == value
