"""From what one and two processes take to what 8, 64 and 512 would: where data parallelism stops paying.

    python benchmarks/scaling.py measure --out measured.json     one process, two processes, gloo's all-reduce
    python benchmarks/scaling.py simulate measured.json          tables of speed and memory by number of processes

``measure`` times updates of models A and C of benchmarks/peers.py on random ids, with a whole batch and with a quarter
of it, by one process; the same with two processes (DistributedDataParallel, gloo); and all-reduces of several sizes.
``simulate`` replays the times of one process: in each update every rank draws one of them, the slowest is waited for,
and a ring all-reduce follows,

    t(n) = max_r t_r + 2 (n - 1) (latency + bytes / (n bandwidth))

without the overlap of the two that there may be, so that it errs on the slow side.  --clock cpu measures processor time
of each process, for a machine that others use; then nobody's waiting is in the figures.  That of two ranks stands
beside what two processes took.  Links of clusters are assumed (--links), not measured.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from common import commit, markdown, processor
from lstm_step import VOCABULARY
from roofline import CASES, CLOCKS, built

from nmt.batch import Batch
from nmt.cli import compose
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.device import Precision, set_up
from nmt.models import build_model
from nmt.train.distributed import Ranks

FLOAT = 4  # bytes of a gradient, a weight, each of Adam's two averages
MEGABYTES = (1, 4, 16, 64)  # all-reduces that are timed


@dataclass(frozen=True)
class Link:
    """What a message between two neighbours of a ring takes: latency + bytes / bandwidth."""

    latency: float  # seconds
    bandwidth: float  # bytes a second

    def all_reduce(self, size: float, ranks: int) -> float:
        """Seconds in which n ranks sum ``size`` bytes: 2 (n - 1) messages of size / n."""
        return 2 * (ranks - 1) * (self.latency + size / ranks / self.bandwidth)

    @classmethod
    def fitted(cls, seconds: Mapping[float, float], ranks: int) -> "Link":
        """The line through all-reduces of several sizes in bytes, by least squares; latency is at least 0."""
        x, y = list(seconds), list(seconds.values())
        slope, intercept = statistics.linear_regression(x, y)
        messages = 2 * (ranks - 1)
        return cls(max(intercept, 0.0) / messages, messages / ranks / slope)


@dataclass(frozen=True)
class Measured:
    """Updates of a model by one process: seconds of each with a whole batch and with a quarter of it."""

    name: str
    parameters: int
    tokens: int  # target tokens of the whole batch
    whole: list[float]
    quarter: list[float]
    by_two: list[float]  # seconds of the updates of two processes, a whole batch each

    @property
    def gradients(self) -> int:
        """Bytes that an update sends."""
        return FLOAT * self.parameters

    @property
    def fixed(self) -> float:
        """Share of an update's time that does not shrink with the batch: the optimizer, what is done once a step."""
        whole, quarter = statistics.median(self.whole), statistics.median(self.quarter)
        return min(1.0, max(0.0, (4 * quarter - whole) / (3 * whole)))


def replay(model: Measured, ranks: int, link: Link, part: float = 1.0, updates: int = 200, seed: int = 1) -> float:
    """Mean seconds of an update of n ranks, each with ``part`` of the measured batch."""
    rng = random.Random(seed)
    shrunk = model.fixed + (1 - model.fixed) * part
    slowest = [max(rng.choices(model.whole, k=ranks)) for _ in range(updates)]
    return statistics.mean(slowest) * shrunk + link.all_reduce(model.gradients, ranks)


def efficiency(model: Measured, ranks: int, link: Link, shared: bool) -> float:
    """Speed over n times that of one rank.  ``shared``: the measured batch is divided among the ranks; else each rank
    has one of its own, and the update grows."""
    one = replay(model, 1, link)
    found = replay(model, ranks, link, 1 / ranks if shared else 1.0)
    return one / (ranks * found) if shared else one / found


def pays_until(model: Measured, link: Link, shared: bool, most: int = 512) -> int:
    """The most ranks, a power of two, up to which twice as many make training a quarter faster or more."""
    ranks = 1
    while ranks < most:
        speeds = [n * efficiency(model, n, link, shared) for n in (ranks, 2 * ranks)]
        if speeds[1] < 1.25 * speeds[0]:
            break
        ranks *= 2
    return ranks


def memory(parameters: int, ranks: int, largest_part: int, ema: bool) -> tuple[float, float]:
    """MB a rank for weights, gradients, Adam's averages and EMA: each rank whole, and with trainer.strategy=fsdp.

    With fsdp a rank has 1/n of all and, while it computes, one part's weights and gradients whole.
    """
    whole = FLOAT * parameters * (5 if ema else 4) / 1e6
    return whole, whole / ranks + 2 * FLOAT * largest_part / 1e6


def tables(models: Sequence[Measured], links: Mapping[str, Link], counts: Sequence[int]) -> str:
    """Every model over every link."""
    rows = []
    for model in models:
        for name, link in links.items():
            for shared in (False, True):
                cells = [f"{efficiency(model, n, link, shared):.0%}" for n in counts]
                how = "one update divided" if shared else "a batch a rank"
                rows.append([f"{model.name}, {name}, {how}", *cells, str(pays_until(model, link, shared))])
    head = ["model, link, what a rank has", *(f"{n} ranks" for n in counts), "pays until"]
    return markdown(head, rows)


def checked(models: Sequence[Measured], link: Link) -> str:
    """The replay of one and of two ranks beside what was measured."""
    rows = []
    for model in models:
        two = statistics.mean(model.by_two)
        found = [replay(model, n, link) for n in (1, 2)]
        ms = [statistics.mean(model.whole), found[0], two, found[1]]
        rows.append([model.name, *(f"{1e3 * x:.0f}" for x in ms), f"{found[1] / two:.2f}"])
    return markdown(["model", "one rank, ms", "replayed", "two ranks, ms", "replayed", "replayed over measured"], rows)


def batch_part(batch: Batch, part: int) -> Batch:
    """The first 1/part of a batch's sentences."""
    size = max(1, len(batch.ids) // part)
    return batch._each(lambda x: x[:size])


def updates_of(
    name: str, count: int, ranks: Ranks, clock: Callable[[], float]
) -> tuple[int, int, list[float], list[float]]:
    """Parameters, tokens, and seconds of ``count`` updates with a whole batch and a quarter of it."""
    update = built(name, Precision.bf16, ranks)
    whole, found = update.batch, []
    for part in (1, 4):
        update.batch = batch_part(whole, part)
        update.run()
        seconds = []
        for _ in range(count):
            began = clock()
            update.run()
            seconds.append(clock() - began)
        found.append(seconds)
    parameters = sum(p.numel() for p in update.updater.parameters)
    return parameters, int((whole.target_out != 0).sum()), found[0], found[1]


def one_of_two(rank: int, folder: str, names: Sequence[str], count: int, clock: str) -> None:
    """A process of two: all-reduces, and updates of each model; rank 0 writes what it found."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    set_up(1, deterministic=False)
    compose.register(COMMAND)
    seconds: dict[int, float] = {}
    for size in MEGABYTES:
        tensor = torch.ones(size * 1_000_000 // FLOAT)
        samples = []
        for _ in range(count + 1):
            dist.barrier()
            began = CLOCKS[clock]()
            dist.all_reduce(tensor)
            samples.append(CLOCKS[clock]() - began)
        seconds[size * 1_000_000] = statistics.median(samples[1:])
    updates = {name: updates_of(name, count, Ranks(rank, 2), CLOCKS[clock])[2] for name in names}
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps({"all_reduce": seconds, "updates": updates}), encoding="utf-8")
    dist.destroy_process_group()


def measure(args: argparse.Namespace) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    set_up(1, deterministic=False)
    compose.register(COMMAND)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(one_of_two, (folder, args.models, args.updates, args.clock), nprocs=2)
        two = json.loads(Path(folder, "found.json").read_text(encoding="utf-8"))
    models = [
        Measured(name, *updates_of(name, args.updates, Ranks(), CLOCKS[args.clock]), two["updates"][name])
        for name in args.models
    ]
    found = {
        "machine": processor(),
        "torch": torch.__version__,
        "commit": commit(),
        "clock": args.clock,
        "all_reduce": two["all_reduce"],
    }
    args.out.write_text(json.dumps(found | {"models": [asdict(m) for m in models]}, indent=1) + "\n", encoding="utf-8")


def simulate(args: argparse.Namespace) -> None:
    found = json.loads(args.measured.read_text(encoding="utf-8"))
    models = [Measured(**model) for model in found["models"]]
    local = Link.fitted({float(size): seconds for size, seconds in found["all_reduce"].items()}, ranks=2)
    links = {"gloo on one machine": local, **{text: link_of(text) for text in args.links}}
    print(f"{found['machine']}, torch {found['torch']}, commit {found['commit']}, {found['clock']} clock")
    print(f"gloo on one machine: {local.latency * 1e6:.0f} us a message, {local.bandwidth / 1e9:.2f} GB/s\n")
    print(checked(models, local), "\n")
    print(tables(models, links, args.ranks), "\n")
    rows = []
    for model in models:
        part = largest_part(model.name)
        for n in args.ranks:
            cells = memory(model.parameters, n, part, ema=False)
            rows.append([f"{model.name}, {n} ranks", *(f"{mb:,.0f}" for mb in cells)])
    print(markdown(["weights, gradients, Adam", "each rank whole, MB", "fsdp, MB"], rows))


def largest_part(name: str) -> int:
    """Parameters of the largest part that trainer.strategy=fsdp gathers at a time: a layer, or all that is in none."""
    compose.register(COMMAND)
    config = cast(Config, compose.configs(COMMAND, CASES[name]))
    with torch.device("meta"):
        model = build_model(config.model, VOCABULARY, VOCABULARY, True)
    parts = [sum(p.numel() for p in part.parameters()) for part in model.shared_parts()]
    return max([*parts, sum(p.numel() for p in model.parameters()) - sum(parts)])


def link_of(text: str) -> Link:
    """GBITS:MICROSECONDS, as 25:20."""
    gbits, micros = map(float, text.split(":"))
    return Link(micros / 1e6, gbits * 1e9 / 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True)
    first = actions.add_parser("measure")
    first.add_argument("--models", nargs="+", choices=list(CASES), default=["A", "C"])
    first.add_argument("--updates", type=int, default=10)
    first.add_argument("--clock", choices=CLOCKS, default="wall")
    first.add_argument("--out", type=Path, required=True)
    first.set_defaults(act=measure)
    second = actions.add_parser("simulate")
    second.add_argument("measured", type=Path)
    second.add_argument("--ranks", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 8, 64, 512])
    second.add_argument("--links", nargs="*", default=["10:50", "100:10"], help="GBITS:MICROSECONDS of a message")
    second.set_defaults(act=simulate)
    args = parser.parse_args(sys.argv[1:])
    args.act(args)


if __name__ == "__main__":
    main()
