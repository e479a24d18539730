"""Batches that are searched at once on a CPU are searched as one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from table_model import TableModel

from nmt.batch import UNK
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import LocalPConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.search import DecodeConfig, Method, translate_ids
from nmt.search.batches import in_batches

CPU = torch.device("cpu")
SOURCES = [[4, 5, 6], [7, 8], [], [9, 4, 5, 6, 7, 8], [5], [6, 6, 6, 6], [8, 9]]
MODELS = {
    "lstm": LSTMConfig(hidden_size=8, attention=LocalPConfig(half_width=1)),
    "transformer": TransformerConfig(
        hidden_size=8, ffn_size=16, heads=2, num_layers=1, self_attention=GlobalSelfAttentionConfig()
    ),
}


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    with ThreadPoolExecutor(1) as pool:  # what a search leaves to this thread, and to new ones
        assert torch.get_num_threads() == request.param == pool.submit(torch.get_num_threads).result()
    torch.set_num_threads(before)


@pytest.mark.parametrize("method", [Method.beam, Method.sample])
@pytest.mark.parametrize("name", MODELS)
def test_translations_do_not_depend_on_threads(name, method, threads):
    """Each is that of its sentence alone, in its place; progress counts every sentence once."""
    torch.manual_seed(0)
    model = build_model(MODELS[name], 12, 12, joint=True).double()
    config = DecodeConfig(method=method, beam_size=3, samples=3, max_length=8, batch_size=2)
    seen = []
    found = translate_ids(model, SOURCES, config, CPU, Precision.fp32, progress=seen.append)
    assert sum(seen) == len(SOURCES)
    for i, source in enumerate(SOURCES):
        (alone,) = translate_ids(model, [source], config, CPU, Precision.fp32, first=i)
        assert [h.ids for h in found[i]] == [h.ids for h in alone]
        assert [h.score for h in found[i]] == pytest.approx([h.score for h in alone], abs=1e-10)


def batches(work, size: int, precision: Precision = Precision.fp32) -> list:
    return in_batches(work, TableModel(), SOURCES, DecodeConfig(batch_size=size), CPU, precision, None)


def test_as_many_are_under_way_as_there_are_threads(threads):
    """Up to four; none passes the barrier alone.  Single sentences come one after the other."""
    workers = min(threads, 4)
    barrier = threading.Barrier(workers, timeout=20)
    inside = []

    def work(chosen, source, lengths):
        barrier.wait()
        inside.append((threading.get_ident(), torch.get_num_threads()))
        return chosen

    assert batches(work, 2) == list(range(len(SOURCES)))  # four batches
    assert len({thread for thread, _ in inside}) == workers
    assert {share for _, share in inside} == {threads // workers}
    barrier = threading.Barrier(1)
    inside.clear()
    batches(work, 1)
    assert set(inside) == {(threading.get_ident(), threads)}


def test_each_batch_is_complete(threads):
    """Its sentences longest first, UNK for nothing, autocast as asked."""

    def work(chosen, source, lengths):
        assert lengths.tolist() == [max(len(SOURCES[i]), 1) for i in chosen]
        rows = [row[:n] for row, n in zip(source.tolist(), lengths.tolist(), strict=True)]
        assert rows == [SOURCES[i] or [UNK] for i in chosen]
        return [torch.is_autocast_enabled("cpu")] * len(chosen)

    assert not any(batches(work, 3))
    assert all(batches(work, 3, Precision.bf16))


def test_an_error_in_one_batch_is_the_callers(threads):
    def work(chosen, source, lengths):
        if 4 in chosen:
            raise ValueError("the fifth")
        return chosen

    with pytest.raises(ValueError, match="the fifth"):
        batches(work, 2)


def test_memory_that_runs_out_names_the_key():
    def work(chosen, source, lengths):
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = DecodeConfig(batch_size=3)
    with pytest.raises(ConfigError, match=r"3 sentences of up to 6 source pieces; lower decode\.batch_size=3"):
        in_batches(work, TableModel(), SOURCES, config, CPU, Precision.fp32, None)
