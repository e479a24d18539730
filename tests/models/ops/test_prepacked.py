"""What search makes of weights is made once within ``cached_weights``, and anew when they may have changed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import BahdanauConfig, GlobalConfig, LocalPConfig
from nmt.models.ops.matmul import PrepackedLinear
from nmt.models.ops.prepacked import CachesWeights, Linear, cached_weights
from nmt.models.ops.recurrent_linear import QueryLinear
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.search import DecodeConfig, Ensemble, translate_ids

SOURCES = [[4, 5, 6], [7, 8], [9, 4, 5, 6]]
CPU = torch.device("cpu")


CONFIGS = [
    LSTMConfig(hidden_size=8, attention=GlobalConfig()),
    LSTMConfig(hidden_size=8, attention=BahdanauConfig()),
    LSTMConfig(hidden_size=8, attention=LocalPConfig(half_width=1)),
    TransformerConfig(hidden_size=8, ffn_size=16, heads=2, num_layers=1, self_attention=GlobalSelfAttentionConfig()),
]


@pytest.fixture(params=CONFIGS, ids=["lstm", "bahdanau", "local_p", "transformer"])
def model(request):
    return build(request.param)


def build(config) -> Any:
    torch.manual_seed(0)
    return build_model(config, 12, 12, joint=True)


def found(model):
    config = DecodeConfig(beam_size=3, max_length=8)
    return [h[0] for h in translate_ids(model, SOURCES, config, CPU)]


def test_changed_weights_are_seen(model):
    """A second search knows what training, or another checkpoint, has done to the weights in between."""
    before = found(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    after = found(model)
    assert [h.log_prob for h in after] != pytest.approx([h.log_prob for h in before])
    state = model.state_dict()
    fresh = build(model.config)
    fresh.load_state_dict(state)
    assert after == found(fresh)


@pytest.mark.parametrize("threads", [1, 2])
def test_made_once_for_all_batches(model, monkeypatch, threads):
    """Of two threads each searches batches of its own, with the weights of both."""
    before, made = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    cached = CachesWeights.cached

    def counted(self, key, make):
        return cached(self, key, lambda: made.append((self, key)) or make())

    monkeypatch.setattr(CachesWeights, "cached", counted)
    try:
        translate_ids(model, SOURCES, DecodeConfig(beam_size=3, max_length=8, batch_size=2), CPU)
    finally:
        torch.set_num_threads(before)
    assert made
    assert len(made) == len(set(made))


def test_the_outermost_context_decides():
    """An ensemble's members have a cache, too; a context inside another ends nothing; an error ends its own."""
    lstm, transformer = build(CONFIGS[0]), build(CONFIGS[-1])

    def stop():
        with cached_weights(Ensemble([lstm, transformer])):
            assert transformer.projection.weight_cache == {}
            raise ValueError("stop")

    with cached_weights(lstm):
        with pytest.raises(ValueError, match="stop"):
            stop()
        assert lstm.weight_cache == {}
        assert transformer.projection.weight_cache is None
    assert lstm.weight_cache is None


def test_with_gradients_nothing_is_cached():
    linear, x = Linear(3, 2), torch.randn(4, 3)
    with cached_weights(linear):
        y = linear(x)
        assert y.requires_grad
        assert linear.weight_cache == {}
        with torch.no_grad():
            torch.testing.assert_close(linear(x), y)
            with torch.autocast("cpu", torch.bfloat16):
                assert linear(x).dtype == torch.bfloat16
        assert linear.weight_cache is not None
        assert set(linear.weight_cache) == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("transposed", [False, True])
def test_what_queries_are_multiplied_by_is_the_same_when_cached(transposed):
    """W of general, by which windows' queries go backwards, is square: a shape would not tell."""
    linear, x = QueryLinear(6, 6), torch.randn(2, 3, 6)
    expected = x @ (linear.weight if transposed else linear.weight.t())
    with cached_weights(linear), torch.no_grad():
        cached = linear.for_batch(torch.float32, transposed)
        assert isinstance(cached, PrepackedLinear)
        torch.testing.assert_close(cached(x), expected.detach())
    torch.testing.assert_close(linear.for_batch(torch.float32, transposed)(x), expected)


def test_made_once_by_threads_that_ask_together():
    linear, made, together = Linear(3, 2), [], threading.Barrier(2, timeout=20)

    def make():
        made.append(None)
        time.sleep(0.05)  # so that another would begin meanwhile
        return object()

    def ask(_):
        with cached_weights(linear):
            together.wait()
            return linear.cached(torch.float32, make)

    with cached_weights(linear), ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first is second
    assert len(made) == 1


def test_a_thread_does_not_see_that_another_searches():
    """Its products would be rounded otherwise, by chance."""
    linear = Linear(3, 2)
    with cached_weights(linear), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: linear.weight_cache).result() is None
        assert linear.weight_cache == {}


def test_the_first_thread_to_end_leaves_the_others_what_was_made():
    linear, entered, leave = Linear(3, 2), threading.Event(), threading.Event()

    def search():
        with cached_weights(linear):
            made = linear.cached(torch.float32, object)
            entered.set()
            assert leave.wait(20)
            return linear.weight_cache == {torch.float32: made}

    with ThreadPoolExecutor(1) as pool:
        with cached_weights(linear):
            found = pool.submit(search)
            assert entered.wait(20)
        leave.set()
        assert found.result()
    with cached_weights(linear):
        assert linear.weight_cache == {}


def test_a_transposed_request_after_a_plain_one_gets_its_own_matrix():
    linear, x = QueryLinear(6, 6), torch.randn(2, 3, 6)
    with cached_weights(linear), torch.no_grad():
        plain, transposed = linear.for_batch(torch.float32), linear.for_batch(torch.float32, transposed=True)
        torch.testing.assert_close(plain(x), x @ linear.weight.t())
        torch.testing.assert_close(transposed(x), x @ linear.weight)
        assert linear.for_batch(torch.float32) is plain
        assert linear.for_batch(torch.float32, transposed=True) is transposed
