"""The limit that matrix products set to training on this machine, and the share of it that whole updates reach.

    python benchmarks/roofline.py                             one thread, CPU time
    python benchmarks/roofline.py --threads 2 --clock wall    two threads: waiting for each other would count as work
    python benchmarks/roofline.py --models C --profile        what the rest of the time is spent on

A, B and C are the models of benchmarks/peers.py, local_p is A with local-p attention; batches are random ids with
Multi30k's lengths, 64 sentences or, for C, 4,096 tokens.  Of one update (forward, backward, clipping, Adam) every
matrix product is recorded with its shapes and layouts.  Each is then timed alone, as torch makes it, by oneDNN, and by
oneDNN with a weight laid out before.  The limit of an update is the sum of its products, each in the fastest of these
ways; the share is the limit over the time of the update.  Updates and products take turns, round by round, and the
share is the median of the shares within a round.
"""

import argparse
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from common import commit, markdown, processor
from lstm_step import VOCABULARY, batches, profile
from peers import MODELS, TRAINING
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.batch import PAD, Batch
from nmt.cli import compose
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.device import Precision, seed_everything, set_up
from nmt.models import build_model
from nmt.train.distributed import Ranks
from nmt.train.step import Updater

CASES = {**MODELS, "local_p": ("model.attention=local_p", *MODELS["A"][1:])}
SENTENCES = {"C": 240}  # 4,096 tokens of the middle batch; the others 64
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LEAST_SECONDS = 0.01  # a product is repeated for so long
PACKED = "oneDNN, prepacked"
WAYS = ("torch", "oneDNN", PACKED)


class Product(NamedTuple):
    """(..., N, I) times (..., I, O) as an operator got it; strides tell which of the two is transposed."""

    dtype: torch.dtype
    left: tuple[int, ...]
    right: tuple[int, ...]
    left_strides: tuple[int, ...]
    right_strides: tuple[int, ...]

    @property
    def gflop(self) -> float:
        """Billions of multiplications and additions."""
        return 2 * math.prod(self.left) * self.right[-1] / 1e9

    @property
    def kind(self) -> str:
        """What it is in a linear layer, by the layout of its operands."""
        if len(self.left) == 3:
            return "batched"
        if self.left_strides[-1] != 1 and self.left[0] > 1:
            return "weight gradient"
        return "forward" if self.right_strides[-1] != 1 else "input gradient"

    @classmethod
    def of(cls, left: Tensor, right: Tensor) -> "Product":
        return cls(left.dtype, tuple(left.shape), tuple(right.shape), left.stride(), right.stride())

    def operands(self) -> tuple[Tensor, Tensor]:
        """Random numbers of the same shapes and layouts."""
        made = []
        for shape, strides in ((self.left, self.left_strides), (self.right, self.right_strides)):
            extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
            made.append(torch.randn(extent).to(self.dtype).as_strided(shape, strides))
        return made[0], made[1]


class Recorder(TorchDispatchMode):
    """Counts the matrix products of what runs within."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name in ("aten.mm.default", "aten.bmm.default"):
            self.found[Product.of(args[0], args[1])] += 1
        elif name in ("aten.addmm.default", "aten.baddbmm.default"):
            self.found[Product.of(args[1], args[2])] += 1
        elif name == "mkldnn._linear_pointwise.default":
            self.found[Product.of(args[0].flatten(0, -2), args[1].t())] += 1
        elif any(part in name for part in ("rnn", "scaled_dot_product", "aten.linear.", "aten.matmul.")):
            raise NotImplementedError(f"{name}: the products in it would not be counted")
        return func(*args, **(kwargs or {}))


def ways(product: Product) -> dict[str, Callable[[], Tensor]]:
    """How a product can be made; a gradient of weights has no operand that could be laid out before."""
    left, right = product.operands()
    if left.dim() == 3:
        return {"torch": lambda: torch.bmm(left, right)}
    found: dict[str, Callable[[], Tensor]] = {"torch": lambda: torch.mm(left, right)}
    if not torch.backends.mkldnn.is_available():
        return found
    one_dnn = torch.ops.mkldnn._linear_pointwise
    if left.dtype == torch.float32:
        found["oneDNN"] = lambda: one_dnn(left, right.t(), None, "none", [], "")
    if product.kind != "weight gradient":
        packed = torch.ops.mkldnn._reorder_linear_weight(right.t().contiguous())
        found[PACKED] = lambda: one_dnn(left, packed, None, "none", [], "")
    return found


def timed(product: Product, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each way, the mean of as many calls as LEAST_SECONDS hold."""
    seconds = {}
    for name, way in ways(product).items():
        way()
        began, calls = clock(), 0
        while clock() - began < LEAST_SECONDS:
            way()
            calls += 1
        seconds[name] = (clock() - began) / calls
    return seconds


@dataclass
class Update:
    """A model's whole updates in one precision, and what was measured of them, a figure a round."""

    name: str
    precision: Precision
    updater: Updater
    batch: Batch
    products: Counter[Product] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of the whole update
    limits: list[float] = field(default_factory=list)  # seconds of its products, each in its fastest way
    times: dict[Product, list[dict[str, float]]] = field(default_factory=dict)
    number: int = 0

    def run(self) -> None:
        self.number += 1
        self.updater.step([self.batch], self.number, epoch=0.0)

    def twice(self) -> None:
        self.run()
        self.run()

    @property
    def gflop(self) -> float:
        return sum(count * product.gflop for product, count in self.products.items())


def built(name: str, precision: Precision, ranks: Ranks = Ranks()) -> Update:  # noqa: B008  # immutable
    """A model as benchmarks/peers.py configures it, its products recorded in its third update."""
    config = cast(Config, compose.configs(COMMAND, [*CASES[name], *TRAINING]))
    seed_everything(1)
    model = build_model(config.model, VOCABULARY, VOCABULARY, True, config.trainer.label_smoothing).train()
    device = torch.device("cpu")
    updater = Updater(model, config.trainer, config.optim, precision, device, ranks)
    [batch] = batches(1, SENTENCES.get(name, 64))
    update = Update(name, precision, updater, batch)
    update.run()
    update.run()
    with Recorder() as recorder:
        update.run()
    update.products = recorder.found
    return update


def measure(updates: list[Update], rounds: int, clock: Callable[[], float]) -> None:
    """In every round two updates of each model, and then its products in all of their ways."""
    for _ in range(rounds):
        for update in updates:
            began = clock()
            update.twice()
            update.seconds.append((clock() - began) / 2)
            times = {product: timed(product, clock) for product in update.products}
            update.limits.append(sum(n * min(times[product].values()) for product, n in update.products.items()))
            for product, found in times.items():
                update.times.setdefault(product, []).append(found)


def summary(update: Update) -> list[str]:
    """The row of a model in one precision."""
    seconds, limit = statistics.median(update.seconds), statistics.median(update.limits)
    share = statistics.median(a / b for a, b in zip(update.limits, update.seconds, strict=True))
    tokens = int((update.batch.target_out != PAD).sum())
    return [
        f"{update.name} {update.precision.name}",
        f"{update.gflop:.1f}",
        f"{seconds * 1e3:.0f}",
        f"{tokens / seconds:,.0f}",
        f"{limit * 1e3:.0f}",
        f"{update.gflop / limit:,.0f}",
        f"{update.gflop / seconds:,.0f}",
        f"{share:.0%}",
    ]


SUMMARY = ("model", "GFLOP", "update ms", "tokens/s", "limit ms", "limit GFLOP/s", "reached GFLOP/s", "share of limit")


def largest(update: Update, least: float) -> Iterator[list[str]]:
    """A row for each product that takes at least this share of the update's limit, with GFLOP/s of each way."""
    seconds = {
        product: {way: statistics.median(found[way] for found in rounds) for way in rounds[0]}
        for product, rounds in update.times.items()
    }
    cost = {product: n * min(seconds[product].values()) for product, n in update.products.items()}
    for product in sorted(cost, key=lambda product: -cost[product]):
        share = cost[product] / sum(cost.values())
        if share < least:
            return
        sizes = " x ".join(map(str, [*product.left, product.right[-1]]))
        rates = [f"{product.gflop / found:,.0f}" if (found := seconds[product].get(w)) else "" for w in WAYS]
        name = f"{update.name} {update.precision.name}: {product.kind} {sizes}"
        yield [name, str(update.products[product]), f"{share:.0%}", *rates]


def square(dtype: torch.dtype, clock: Callable[[], float]) -> str:
    """What a large square product reaches."""
    size = (2048, 2048)
    product = Product(dtype, size, size, (2048, 1), (2048, 1))
    return f"{str(dtype).removeprefix('torch.')} {product.gflop / min(timed(product, clock).values()):,.0f} GFLOP/s"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--least", type=float, default=0.05, help="share of the limit from which a product is listed")
    parser.add_argument("--profile", action="store_true", help="time by operator of two updates, too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    clock = CLOCKS[args.clock]
    compose.register(COMMAND)
    set_up(args.threads, deterministic=False)
    print(f"{processor()}, torch {torch.__version__}, commit {commit()}")
    print(f"{args.threads} threads, {args.clock} clock, {args.rounds} rounds")
    print("2,048 x 2,048 x 2,048:", ", ".join(square(dtype, clock) for dtype in (torch.float32, torch.bfloat16)))
    updates = [built(name, Precision[precision]) for name in args.models for precision in args.precisions]
    measure(updates, args.rounds, clock)
    print("\n" + markdown(SUMMARY, [summary(update) for update in updates]))
    head = ("product", "times", "share of limit", *(f"{way}, GFLOP/s" for way in WAYS))
    print("\n" + markdown(head, [row for update in updates for row in largest(update, args.least)]))
    for update in updates if args.profile else []:
        print(f"\n{update.name} {update.precision.name}: {profile(update.twice)}")


if __name__ == "__main__":
    main()
