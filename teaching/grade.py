"""Points for an answer to teaching/local_p.py:  python teaching/grade.py FILE

The formula is compared with loops over scalars, written from the paper; what else holds of every attention is tried by
nmt.testing.  Each property is tried by itself, so that one mistake costs the points of what it breaks.
"""

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.testing import attend, sentence, what_fails

HALF_WIDTH, SIZE, WORDS, QUERIES = 2, 4, 9, 6
POINTS = {
    "shape": 3,  # scores and Gaussian: how the weights inside a window stand to one another
    "window": 2,  # which positions have weight
    "sum": 1,  # what normalizes the weights, and that nothing does so after the Gaussian
    "context": 1,
    "padding": 2,
    "batch": 1,
    "queries": 1,
    "gradients": 1,
    "autocast": 1,
    "cost": 1,
    "memory": 1,
}


class Case(NamedTuple):
    """One sentence without padding, what the answer gives for it, and what the paper says, each (queries, words)."""

    weights: Tensor
    context: Tensor  # (queries, SIZE)
    values: Tensor  # (words, SIZE)
    scores: list[list[float]]  # h_t . W_a h_s
    p: list[float]

    def inside(self, t: int) -> list[int]:
        """Positions of the window of query t."""
        return [s for s in range(WORDS) if abs(s - math.floor(self.p[t])) <= HALF_WIDTH]

    def gaussian(self, t: int, s: int) -> float:
        return math.exp(-((s - self.p[t]) ** 2) / (2 * (HALF_WIDTH / 2) ** 2))

    def weight(self, t: int, s: int) -> float:
        """a_t(s) of the paper for a position of the window."""
        return (
            math.exp(self.scores[t][s]) / sum(math.exp(self.scores[t][r]) for r in self.inside(t)) * self.gaussian(t, s)
        )


def case(module: type[Any], config: Any) -> Case:
    """Run the answer on random numbers, in float64, and the scalar formulas beside it."""
    torch.manual_seed(3)
    attention = module(config, SIZE, SIZE).double().eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
        query, values = torch.randn(1, QUERIES, SIZE).double(), torch.randn(1, WORDS, SIZE).double()
        context, weights = attend(attention, query, values, (WORDS,))
    W_a, W_p, [v_p] = (layer.weight.tolist() for layer in (attention.W_a, attention.W_p, attention.v_p))
    h, q = values[0].tolist(), query[0].tolist()
    scores = [[dot(x, [dot(row, y) for row in W_a]) for y in h] for x in q]
    energies = [dot(v_p, [math.tanh(dot(row, x)) for row in W_p]) for x in q]
    p = [WORDS / (1 + math.exp(-energy)) for energy in energies]
    return Case(weights[0], context[0], values[0], scores, p)


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def check_shape(found: Case) -> None:
    """Ratios of weights that there are inside the window: neither its ends nor a sum over it matter."""
    for t in range(QUERIES):
        near = max(found.inside(t), key=lambda s: found.weights[t, s])
        assert found.weights[t, near] > 0, f"with p_t = {found.p[t]:.2f} no position of the window has weight"
        for s in [s for s in found.inside(t) if found.weights[t, s] != 0]:
            ratio = float(found.weights[t, s] / found.weights[t, near])
            wanted = found.weight(t, s) / found.weight(t, near)
            assert math.isclose(ratio, wanted, rel_tol=1e-6), (
                f"with p_t = {found.p[t]:.2f} the weight at {s} is {ratio:.6g} times that at {near}, and should be "
                f"{wanted:.6g} times: look at the score, at p_t and at sigma = D/2"
            )


def check_window(found: Case) -> None:
    """The positions that have weight."""
    for t in range(QUERIES):
        seen = found.weights[t].nonzero().flatten().tolist()
        assert seen == found.inside(t), (
            f"with p_t = {found.p[t]:.2f} and D = {HALF_WIDTH} the positions {seen} have weight, and should be "
            f"{found.inside(t)}"
        )


def check_sum(found: Case) -> None:
    """Of each row, divided by its Gaussian."""
    for t in range(QUERIES):
        total = sum(float(found.weights[t, s]) / found.gaussian(t, s) for s in found.inside(t))
        assert math.isclose(total, 1, rel_tol=1e-6), (
            f"divided by their Gaussian the weights of the window sum to {total:.9g}, and should to 1: the softmax is "
            "over the window, and nothing is normalized after the Gaussian"
        )


def check_context(found: Case) -> None:
    """The sum of the encoder states by the answer's own weights."""
    wanted = found.weights @ found.values
    assert torch.allclose(found.context, wanted, rtol=0, atol=1e-9), "the context is not sum_s a_t(s) h_s"


FORMULA: dict[str, Callable[[Case], None]] = {
    "shape": check_shape,
    "window": check_window,
    "sum": check_sum,
    "context": check_context,
}


def grade(module: type[Any], config: Any) -> dict[str, str]:
    """For each property of POINTS a sentence on what is wrong, "" where it holds."""
    found = {}
    for name, check in FORMULA.items():
        try:
            check(case(module, config))
            found[name] = ""
        except (Exception, SystemExit) as error:
            found[name] = sentence(error)
    return found | what_fails(module, config)


def answer(path: Path) -> ModuleType:
    """The module of a file."""
    spec = importlib.util.spec_from_file_location("answer", path)
    if spec is None or spec.loader is None or not path.is_file():
        sys.exit(f"error: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answer"] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.exit(f"error: {path} cannot be read: {type(error).__name__}: {error}")
    missing = [name for name in ("MyLocalP", "MyLocalPConfig") if not hasattr(module, name)]
    if missing:
        sys.exit(f"error: {path} has no {' and no '.join(missing)}; the names of teaching/local_p.py have to stay")
    return module


def report(found: dict[str, str]) -> str:
    """A line for each property, and the sum."""
    lines = [
        f"{0 if wrong else POINTS[name]} of {POINTS[name]}  {name:10} {wrong}".rstrip() for name, wrong in found.items()
    ]
    total = sum(POINTS[name] for name, wrong in found.items() if not wrong)
    return "\n".join([*lines, f"{total} of {sum(POINTS.values())} points"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the answer")
    path = parser.parse_args().file
    module = answer(path)
    try:
        config = module.MyLocalPConfig(half_width=HALF_WIDTH)
    except Exception as error:
        sys.exit(f"error: {path}: MyLocalPConfig(half_width={HALF_WIDTH}): {type(error).__name__}: {error}")
    print(report(grade(module.MyLocalP, config)))


if __name__ == "__main__":
    main()
