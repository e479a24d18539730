"""benchmarks/roofline.py: which products it finds in an update, and what it makes of their times."""

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from model_cases import batch_of, build
from torch.utils.flop_counter import FlopCounterMode

from nmt.device import Precision
from nmt.models.ops import matmul


@pytest.fixture
def roofline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    module = importlib.import_module("roofline")
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)
    return module


def recorded(roofline: ModuleType, name: str) -> dict:
    model = build(name).float()
    with roofline.Recorder() as recorder:
        model(batch_of()).loss_sum.backward()
    return recorder.found


def test_a_linear_layer_has_three_products_of_one_size(roofline):
    x, w = torch.randn(7, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    with roofline.Recorder() as recorder:
        torch.nn.functional.linear(x, w).backward(torch.randn(7, 3))
        matmul.linear(torch.randn(7, 5), torch.randn(3, 5))
    kinds = [product.kind for product in recorder.found.elements()]
    assert sorted(kinds) == ["forward", "forward", "input gradient", "weight gradient"]
    assert [product.gflop for product in recorder.found] == pytest.approx([2 * 7 * 5 * 3 / 1e9] * len(recorder.found))


@pytest.mark.parametrize("name", ["lstm: global", "lstm: local_p"])
def test_no_product_of_an_update_is_missed(roofline, name, monkeypatch):
    """torch's own counter of operations finds as many, whichever library makes them."""
    model = build(name).float()
    monkeypatch.setattr(matmul, "_ONEDNN", None)
    with FlopCounterMode(display=False) as counter:
        model(batch_of()).loss_sum.backward()
    for library in (None, matmul._ONEDNN_LINEAR):
        monkeypatch.setattr(matmul, "_ONEDNN", library)
        found = recorded(roofline, name)
        assert sum(n * p.gflop for p, n in found.items()) == pytest.approx(counter.get_total_flops() / 1e9), library


def test_a_product_that_cannot_be_counted_is_refused(roofline):
    q = torch.randn(1, 2, 3, 4)
    with roofline.Recorder(), pytest.raises(NotImplementedError, match="scaled_dot_product"):
        torch.nn.functional.scaled_dot_product_attention(q, q, q)


def test_all_ways_make_the_same_product(roofline):
    torch.manual_seed(0)
    for product in recorded(roofline, "lstm: global"):
        torch.manual_seed(1)
        left, right = product.operands()
        assert (left.shape, right.shape) == (product.left, product.right)
        assert (left.stride(), right.stride()) == (product.left_strides, product.right_strides)
        torch.manual_seed(1)
        for name, way in roofline.ways(product).items():
            torch.testing.assert_close(way(), left @ right, rtol=1e-4, atol=1e-4, msg=f"{product} {name}")


def test_limit_and_share_are_of_one_round(roofline):
    """On a machine that is ten times slower in the second round; two products, each in the faster of two ways."""
    one, two = (roofline.Product(torch.float32, (n, 5), (5, 3), (5, 1), (3, 1)) for n in (100, 200))
    batch = SimpleNamespace(target_out=torch.ones(4, 5, dtype=torch.int64))
    update = roofline.Update("A", Precision.fp32, None, batch, {one: 3, two: 1})
    slow = [1.0, 10.0, 1.0]
    update.updater = SimpleNamespace(step=lambda *args, **kwargs: None)
    now, ticks = 0.0, iter([x for s in slow for x in (0.0, 0.4 * s)])

    def clock() -> float:
        nonlocal now
        now += next(ticks)
        return now

    times = {one: {"torch": 0.02, "oneDNN": 0.01}, two: {"torch": 0.03, "oneDNN": 0.05}}
    turn = iter([s for s in slow for _ in (one, two)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            roofline,
            "timed",
            lambda product, clock: (s := next(turn)) and {way: s * seconds for way, seconds in times[product].items()},
        )
        roofline.measure([update], 3, clock)
    assert update.limits == pytest.approx([s * (3 * 0.01 + 0.03) for s in slow])
    assert update.seconds == pytest.approx([0.2 * s for s in slow])
    name, _, ms, tokens, limit, *_, share = roofline.summary(update)
    assert (name, ms, tokens, limit, share) == ("A fp32", "200", "100", "60", "30%")
    rows = list(roofline.largest(update, least=0.5))
    assert [row[:3] for row in rows] == [
        ["A fp32: input gradient 100 x 5 x 3", "3", "50%"],
        ["A fp32: input gradient 200 x 5 x 3", "1", "50%"],
    ]
