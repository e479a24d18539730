"""What each kernel of nmt/models/ops gains over the plain torch code that it equals: time and peak memory, in turns.

    python benchmarks/ops.py                        every case, one thread
    python benchmarks/ops.py --cases dropout --threads 2 --rounds 9

Each case is forward and backward, but for products that search makes.  The two ways run in turn, round by round; the
ratio is the median of the ratios within a round.  Times are CPU time, which a busy neighbour changes little with one
thread (with two, waiting for each other counts as work).  Peaks are what torch's allocator gave out at most beyond what
was there before, in MB of a million bytes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nmt.device import has_int8, set_up
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.cross_entropy import projected_cross_entropy
from nmt.models.ops.dropout import dropout
from nmt.models.ops.int8 import Int8Weight
from nmt.models.ops.lstm_layer import LSTMLayer
from nmt.models.ops.matmul import PrepackedLinear, linear
from nmt.models.ops.mixture import MixtureOptions, mixture_cross_entropy
from nmt.models.ops.recurrent_linear import QueryLinear, RecurrentLinear
from nmt.models.ops.rows import Rows, RowWindow

Way = Callable[[], object]
B, T, H, V = 32, 25, 512, 8000


class Case(NamedTuple):
    """Two ways to the same numbers."""

    what: str
    kernel: Way
    plain: Way


def trained(way: Callable[[], Tensor], *leaves: Tensor) -> Way:
    """Forward, and backward from the sum to the leaves."""

    def run() -> object:
        return torch.autograd.grad(way().sum(), leaves)

    return run


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers that want a gradient."""
    return (torch.randn(*shape, dtype=dtype) * 0.1).requires_grad_()


def cast(way: Callable[[], Tensor], dtype: torch.dtype) -> Callable[[], Tensor]:
    """The same under autocast, where the dtype is bfloat16; the result in float32."""

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return way().float()

    return run


def called(dtype: torch.dtype) -> str:
    """The name of a dtype."""
    return str(dtype).removeprefix("torch.")


def additive(queries: int, positions: int) -> Case:
    q, k, v = leaf(B, queries, H), leaf(B, 1, positions, H), leaf(H)

    def plain() -> Tensor:
        return torch.tanh(q[:, :, None] + k) @ v

    what = f"additive score, {queries} queries, {positions} positions"
    return Case(what, trained(lambda: additive_scores(q, k, v), q, k, v), trained(plain, q, k, v))


def loss(dtype: torch.dtype) -> Case:
    x, w, y = leaf(B, T, H), leaf(V, H), torch.randint(4, V, (B, T))

    def plain() -> Tensor:
        logits = F.linear(x, w).flatten(0, 1).float()
        return F.cross_entropy(logits, y.flatten(), label_smoothing=0.1, reduction="sum")

    def kernel() -> Tensor:
        return projected_cross_entropy(x, y, w, None, 0.1).loss_sum

    what = f"projection and loss, {B * T} tokens, {called(dtype)}"
    return Case(what, trained(cast(kernel, dtype), x, w), trained(cast(plain, dtype), x, w))


def mixture(dtype: torch.dtype) -> Case:
    """As many positions a token as Shankar and Sarawagi 2019 mix."""
    K, b = 6, torch.arange(B)[:, None, None]
    q, r, scores, w = leaf(B, T, H), leaf(B, T, H), leaf(B, T, K), leaf(V, H)
    s, y = torch.randint(0, T, (B, T, K)), torch.randint(4, V, (B, T))

    def plain() -> Tensor:
        log_p = F.linear((q[:, :, None] + r[b, s]).tanh(), w).float().log_softmax(3)
        mixed = (log_p + scores.log_softmax(2)[..., None]).logsumexp(2)
        return 0.9 * F.nll_loss(mixed.flatten(0, 1), y.flatten(), reduction="sum") - 0.1 * mixed.mean(2).sum()

    def kernel() -> Tensor:
        return mixture_cross_entropy(q, r, s, scores.softmax(2), y, w, None, MixtureOptions(0.1)).loss_sum

    what = f"mixture of {K} predictions, {B * T} tokens, {called(dtype)}"
    leaves = q, r, scores, w
    return Case(what, trained(cast(kernel, dtype), *leaves), trained(cast(plain, dtype), *leaves))


def recurrent(dtype: torch.dtype) -> Case:
    w, a = leaf(4 * H, 2 * H, dtype=dtype), leaf(T, B, 4 * H, dtype=dtype)

    def loop(step: Callable[[Tensor, Tensor], Tensor], terms: Sequence[Tensor]) -> Tensor:
        y = a.new_zeros(B, 2 * H)
        for term in terms:
            y = step(y, term)[:, : 2 * H].tanh()
        return y

    def kernel() -> Tensor:
        product = RecurrentLinear(w)
        return loop(product, product.terms(a))

    plain = trained(lambda: loop(lambda x, term: torch.addmm(term, x, w.t()), a.unbind(0)), w, a)
    return Case(f"recurrent map, {T} steps, {called(dtype)}", trained(kernel, w, a), plain)


def queries(dtype: torch.dtype) -> Case:
    projection, x = QueryLinear(H, H), leaf(T, B, 1, H)

    def loop(project: Callable[[Tensor], Tensor]) -> Tensor:
        return sum((project(x[t]).sum() for t in range(T)), torch.zeros(()))

    kernel = cast(lambda: loop(projection.for_batch(dtype)), dtype)
    plain = cast(lambda: loop(projection), dtype)
    leaves = projection.weight, x
    return Case(f"projection of queries, {T} steps, {called(dtype)}", trained(kernel, *leaves), trained(plain, *leaves))


def all_rows(positions: int) -> Case:
    rows, q = leaf(B, positions, H), leaf(T, B, 1, H)

    def loop(scores: Callable[[Tensor], Tensor], total: Callable[[Tensor], Tensor]) -> Tensor:
        return sum((total(scores(q[t]).softmax(-1)).sum() for t in range(T)), torch.zeros(()))

    def kernel() -> Tensor:
        table = Rows(rows)
        return loop(table.scores, table.weighted_sum)

    plain = trained(lambda: loop(lambda q: q @ rows.mT, lambda weights: weights @ rows), rows, q)
    return Case(f"all rows read, {T} steps, {positions} positions", trained(kernel, rows, q), plain)


def windows(positions: int) -> Case:
    rows, q = leaf(B, positions, H), leaf(T, B, 1, H)
    s = torch.randint(0, positions - 21, (T, B, 1, 1)) + torch.arange(21)
    b = torch.arange(B)[:, None, None]

    def kernel() -> Tensor:
        table, total = Rows(rows), torch.zeros(())
        for t in range(T):
            window = RowWindow(table, s[t])
            total = total + window.weighted_sum(window.scores(q[t]).softmax(-1)).sum()
        return total

    def plain() -> Tensor:
        total = torch.zeros(())
        for t in range(T):
            window = rows[b, s[t]]
            weights = (window @ q[t].unsqueeze(3)).squeeze(3).softmax(-1)
            total = total + (weights.unsqueeze(2) @ window).sum()
        return total

    what = f"windows of 21 rows read, {T} steps, {positions} positions"
    return Case(what, trained(kernel, rows, q), trained(plain, rows, q))


def layer(dtype: torch.dtype, library: bool) -> Case:
    """Against torch's own layer, or against a loop of the equations."""
    lstm, x = LSTMLayer(H, H, True), leaf(T, B, H)
    zero, leaves = torch.zeros(B, H), [*lstm.parameters(), x]

    def loop() -> Tensor:
        h = c = zero
        found = []
        for t in range(T):
            gates = F.linear(x[t], lstm.weight_ih_l0, lstm.bias_ih_l0) + F.linear(h, lstm.weight_hh_l0, lstm.bias_hh_l0)
            i, f, g, o = gates.float().chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(h)
        return torch.stack(found)

    kernel = trained(cast(lambda: lstm.states(x, zero, zero)[0], dtype), *leaves)
    plain = trained(cast((lambda: lstm(x)[0]) if library else loop, dtype), *leaves)
    what = f"LSTM layer, {T} steps, {called(dtype)}, against {'nn.LSTM' if library else 'a loop'}"
    return Case(what, kernel, plain)


def drop() -> Case:
    x = leaf(T, B, H)
    return Case("dropout", trained(lambda: dropout(x, 0.2, True), x), trained(lambda: F.dropout(x, 0.2), x))


def product(rows: int, dtype: torch.dtype) -> Case:
    """``linear``, which chooses between two libraries."""
    w, x = torch.randn(V, H, dtype=dtype), torch.randn(rows, H, dtype=dtype)
    return Case(f"product of {rows} rows, {called(dtype)}", lambda: linear(x, w), lambda: F.linear(x, w))


def prepacked(rows: int, dtype: torch.dtype) -> Case:
    w, x = torch.randn(V, H, dtype=dtype), torch.randn(rows, H, dtype=dtype)
    packed = PrepackedLinear(w)
    return Case(f"prepacked product of {rows} rows, {called(dtype)}", lambda: packed(x), lambda: F.linear(x, w))


def with_int8(rows: int, inputs: int, outputs: int) -> Case:
    """Weights of 8 bits, whose product is not quite that of the weights."""
    w, x = torch.randn(outputs, inputs), torch.randn(rows, inputs)
    packed = Int8Weight(w)
    what = f"int8 product of {rows} rows, {inputs} to {outputs:,} features, float32"
    return Case(what, lambda: packed(x, None, None), lambda: F.linear(x, w))


FLOAT, HALF = torch.float32, torch.bfloat16
# nn.LSTM in bfloat16 is oneDNN's, which refuses it on a processor without AVX-512.
NN_LSTM = (FLOAT, HALF) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (FLOAT,)
SIZES = ((256, 256), (256, 1024), (1024, 256), (512, 2048), (1024, 2048), (256, 8000), (512, 8000))  # of a search
CASES: dict[str, list[Callable[[], Case]]] = {
    "additive": [partial(additive, *sizes) for sizes in ((1, 25), (1, 100), (5, 100))],
    "cross_entropy": [partial(loss, FLOAT), partial(loss, HALF)],
    "mixture": [partial(mixture, FLOAT), partial(mixture, HALF)],
    "recurrent": [partial(recurrent, FLOAT), partial(recurrent, HALF)],
    "queries": [partial(queries, FLOAT), partial(queries, HALF)],
    "rows": [*(partial(all_rows, S) for S in (25, 100)), *(partial(windows, S) for S in (100, 1600))],
    "lstm": [
        *(partial(layer, dtype, False) for dtype in (FLOAT, HALF)),
        *(partial(layer, dtype, True) for dtype in NN_LSTM),
    ],
    "dropout": [drop],
    "matmul": [partial(product, rows, FLOAT) for rows in (5, 160, 800)],
    "prepacked": [partial(prepacked, rows, dtype) for rows in (5, 160) for dtype in (FLOAT, HALF)],
    "int8": [partial(with_int8, rows, *sizes) for sizes in SIZES for rows in (5, 32, 160)] if has_int8() else [],
}
WITHOUT_GRADIENTS = ("matmul", "prepacked", "int8")


def seconds(way: Way) -> float:
    """CPU time of one call."""
    began = time.process_time()
    way()
    return time.process_time() - began


def peak(way: Way) -> float:
    """MB that the way allocated at most beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        way()
    assert found.profiler is not None
    allocated = most = 0
    events: Any = found.profiler.kineto_results
    for event in events.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            most = max(most, allocated)
    return most / 1e6


def measured(case: Case, rounds: int) -> str:
    """A row of the table."""
    case.kernel()
    case.plain()
    found = [(seconds(case.kernel), seconds(case.plain)) for _ in range(rounds)]
    kernel, plain = (statistics.median(side) * 1e3 for side in zip(*found, strict=True))
    ratio = statistics.median(p / k for k, p in found)
    memory = [f"{peak(way):.1f}" for way in (case.kernel, case.plain)]
    return f"| {case.what} | {kernel:.2f} | {plain:.2f} | {ratio:.2f} | {' | '.join(memory)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    set_up(args.threads, deterministic=False)
    torch.manual_seed(1)
    print("| what | kernel ms | plain ms | plain over kernel | kernel MB | plain MB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in args.cases:
        for make in CASES[name]:
            with torch.set_grad_enabled(name not in WITHOUT_GRADIENTS):
                print(measured(make(), args.rounds), flush=True)


if __name__ == "__main__":
    main()
