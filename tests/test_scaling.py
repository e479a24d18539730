"""benchmarks/scaling.py: the arithmetic of its simulation, by what has to hold."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("scaling")


def model(scaling: ModuleType, whole: list[float], fixed: float = 0.2):
    """A million parameters; ``fixed`` of an update's time does not shrink with the batch."""
    quarter = [seconds * (fixed + (1 - fixed) / 4) for seconds in whole]
    return scaling.Measured("A", 1_000_000, 500, whole, quarter, whole)


def ring(size: float, ranks: int, link) -> float:
    """Seconds of a ring all-reduce, message by message: each chunk goes round to be summed and round to be told."""
    seconds = 0.0
    for _ in ("sum", "tell"):
        for _ in range(ranks - 1):
            seconds += link.latency + (size / ranks) / link.bandwidth
    return seconds


@pytest.mark.parametrize("ranks", [1, 2, 8, 512])
def test_an_all_reduce_is_a_ring_and_its_line_is_found_again(scaling, ranks):
    link = scaling.Link(1e-4, 2e9)
    assert link.all_reduce(4e6, ranks) == pytest.approx(ring(4e6, ranks, link))
    if ranks == 1:
        return
    found = scaling.Link.fitted({x: ring(x, ranks, link) for x in (1e6, 5e6, 2e7)}, ranks)
    assert (found.latency, found.bandwidth) == pytest.approx((link.latency, link.bandwidth))


def test_one_rank_is_what_was_measured(scaling):
    link = scaling.Link(1.0, 1.0)
    assert scaling.replay(model(scaling, [0.5]), 1, link) == pytest.approx(0.5)
    assert scaling.efficiency(model(scaling, [0.5]), 1, link, shared=True) == pytest.approx(1)


def test_the_slowest_of_all_ranks_is_waited_for(scaling):
    """Updates of 1 and of 2 seconds, equally often: the slowest of three takes 2 but for one case in eight."""
    free = scaling.Link(0.0, 1e30)
    found = scaling.replay(model(scaling, [1.0, 2.0]), 3, free, updates=5000)
    assert found == pytest.approx(2 - 1 / 8, abs=0.03)


@pytest.mark.parametrize("fixed", [0.0, 0.2, 1.0])
def test_without_a_link_and_noise_it_is_amdahls_law(scaling, fixed):
    free, one = scaling.Link(0.0, 1e30), model(scaling, [0.5], fixed)
    assert one.fixed == pytest.approx(fixed)
    for n in (2, 8, 64):
        assert scaling.efficiency(one, n, free, shared=False) == pytest.approx(1)
        assert scaling.efficiency(one, n, free, shared=True) == pytest.approx(1 / (n * fixed + 1 - fixed))


def test_more_ranks_and_slower_links_never_help_a_rank(scaling):
    noisy = model(scaling, [0.4, 0.5, 0.6])
    for shared in (False, True):
        rows = [
            [scaling.efficiency(noisy, n, scaling.Link(1e-5, b), shared) for n in (1, 2, 8, 64, 512)]
            for b in (1e10, 1e8)
        ]
        assert all(row == sorted(row, reverse=True) for row in rows)
        assert all(fast >= slow for fast, slow in zip(*rows, strict=True))
        assert 0 < rows[1][-1] < rows[0][0] == 1


def test_where_it_stops_paying(scaling):
    steady = model(scaling, [0.5])
    free, none = scaling.Link(0.0, 1e30), scaling.Link(10.0, 1e30)
    assert scaling.pays_until(steady, free, shared=False) == 512
    assert scaling.pays_until(steady, none, shared=False) == 1
    # Amdahl: 0.2 of the time stays, so that 4 ranks are 2.5 times as fast and 8 are 3.33, 16 are 4, which is 1.2 of it.
    assert scaling.pays_until(steady, free, shared=True) == 8
    assert scaling.pays_until(replace(steady, quarter=[0.125]), free, shared=True) == 512


def test_memory_by_hand(scaling):
    """A million parameters: weights, gradients and Adam's two averages of 4 bytes; shares, and one part whole."""
    assert scaling.memory(1_000_000, 8, 250_000, ema=False) == pytest.approx((16, 2 + 2))
    assert scaling.memory(1_000_000, 8, 250_000, ema=True) == pytest.approx((20, 2.5 + 2))
    assert scaling.link_of("10:50") == scaling.Link(50e-6, 1.25e9)


def test_the_parts_of_a_model_are_those_of_fsdp(scaling):
    """Of the Transformer C the largest is what no sublayer holds: two embeddings and 11 norms."""
    assert scaling.largest_part("C") == 2 * 8000 * 256 + 11 * 2 * 256
