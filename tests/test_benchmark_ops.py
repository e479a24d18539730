"""benchmarks/ops.py compares each kernel with plain code: both give the same numbers, or the times mean nothing."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# By what the products of a case are made in.
TOLERANCE = {"int8": 0.03, "bfloat16": 0.1, "float32": 1e-4}


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, at tiny sizes."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("ops")
    for name, size in {"B": 3, "T": 4, "H": 16, "V": 50}.items():
        monkeypatch.setattr(module, name, size)
    torch.manual_seed(1)
    return module


@pytest.mark.parametrize(
    "name",
    ["additive", "cross_entropy", "mixture", "recurrent", "queries", "rows", "lstm", "matmul", "prepacked", "int8"],
)
def test_both_ways_are_the_same(ops: ModuleType, name: str):
    """All gradients, or the product where no gradient is made.  Dropout, which draws, has tests of its own."""
    for make in ops.CASES[name]:
        case = make()
        with torch.set_grad_enabled(name not in ops.WITHOUT_GRADIENTS):
            found, wanted = case.kernel(), case.plain()
        if isinstance(found, Tensor):
            found, wanted = (found,), (wanted,)
        tolerance = next(value for name, value in TOLERANCE.items() if name in f"{case.what}, float32")
        for a, b in zip(found, wanted, strict=True):
            assert (a.float() - b.float()).norm() <= tolerance * b.float().norm(), case.what


def test_a_case_is_a_row(ops: ModuleType):
    """Of the table, with a ratio and two peaks that are not nothing."""
    what, *figures = ops.measured(ops.additive(2, 5), rounds=1).strip("| ").split(" | ")
    assert what == "additive score, 2 queries, 5 positions"
    assert len(figures) == 5
    assert all(float(figure) >= 0 for figure in figures)


def test_a_peak_counts_what_lives_at_the_same_time(ops: ModuleType):
    """Two tensors of a million bytes, of which one is gone before the other is made, are one million."""

    def one_after_the_other() -> None:
        for _ in range(2):
            torch.empty(250_000)

    def together() -> list[Tensor]:
        return [torch.empty(250_000), torch.empty(250_000)]

    assert ops.peak(one_after_the_other) == pytest.approx(1.0, abs=0.01)
    assert ops.peak(together) == pytest.approx(2.0, abs=0.01)
