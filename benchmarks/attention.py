"""Cost of attention: milliseconds and peak memory per decoder step, by mechanism, source length and queries.

    python benchmarks/attention.py                                       everything, about half an hour
    python benchmarks/attention.py --sources 25,100 --threads 1 --out bench
    python benchmarks/attention.py --names local_p,local_p/dense,local_p/windows --sources 25,50,75,100,150

A name is MECHANISM[:SCORE][/PATH]; PATH forces one of local attention's two ways, from which the rule
that chooses between them was derived.  All names are measured in one process, interleaved, so that what
else the machine does meets them all alike; the table shows medians over the rounds, and the JSON file
beside it every sample.  Sources fill the batch, queries are random, and local_p's centres lie anywhere.

Columns, in milliseconds (a step is N queries for each of the B sentences):
    prepare    once a batch: padding, keys, and the node that hands the gradient on
    step       forward without gradients, as in search
    fwd+bwd    forward and backward of a step in training
    zero       once a batch: making the zeroed gradient buffers that windows add to
    hand-over  once a batch: the memory's gradient from what the steps left, and back through prepare
    batch/step everything of a training batch, by its number of steps
and in MB, from torch's allocator: ``step MB`` is the peak of a step in search, ``train MB`` what a training
batch holds at its peak beyond its inputs, by its number of steps.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from nmt.models.attention import ATTENTIONS, Attention, Memory, Score, build_attention
from nmt.models.attention_config import ScoredConfig
from nmt.models.local_attention import LocalAttention
from nmt.models.lstm_config import LSTMConfig
from nmt.models.lstm_decoder import LSTMDecoder
from nmt.models.lstm_layer import LSTMState

NAMES = "bahdanau,global,hard,local_m,local_p"


@dataclass
class Times:
    """One sample, in milliseconds; the fields are explained above."""

    prepare: float
    step: float
    both: float
    zero: float
    hand_over: float
    batch: float


@dataclass
class Case:
    """What is measured."""

    name: str
    source: int
    queries: int
    threads: int


def build(name: str, width: int) -> Attention:
    """The module that a name asks for, with centres spread over the source."""
    mechanism, _, path = name.partition("/")
    mechanism, _, score = mechanism.partition(":")
    config = next(c for c in ATTENTIONS if c.name == mechanism)
    torch.manual_seed(0)
    asked = config()
    if score:
        assert isinstance(asked, ScoredConfig)
        asked = replace(asked, score=Score[score])
    module = build_attention(asked, width, width)
    assert module is not None
    if isinstance(module, LocalAttention):
        if path:
            module.forced = {"dense": False, "windows": True}[path]
        if module.predict is not None:
            nn.init.normal_(module.predict.energy.weight, std=0.5)
    return module


class Bench:
    """Inputs of one batch size, one width and one number of steps."""

    def __init__(self, batch: int, width: int, steps: int, clock: Callable[[], float]) -> None:
        self.batch, self.width, self.steps, self.clock = batch, width, steps, clock

    def inputs(self, case: Case, grad: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        values = torch.randn(self.batch, case.source, self.width, requires_grad=grad)
        lengths = torch.full((self.batch,), case.source)
        queries = [torch.randn(self.batch, case.queries, self.width, requires_grad=grad) for _ in range(self.steps)]
        return values, lengths, queries

    def contexts(self, module: Attention, memory: Memory, queries: list[Tensor]) -> list[Tensor]:
        """Step by step; local_m walks from word to word."""
        N = queries[0].size(1)
        return [module(q, memory, torch.full((N,), t)).context for t, q in enumerate(queries)]

    def search(self, module: Attention, case: Case) -> float:
        """Seconds of a step without gradients."""
        values, lengths, queries = self.inputs(case, grad=False)
        with torch.no_grad():
            memory = module.prepare(values, lengths, self.steps * case.queries)
            start = self.clock()
            self.contexts(module, memory, queries)
            return (self.clock() - start) / self.steps

    def sample(self, module: Attention, case: Case) -> Times:
        """One batch in search and one in training.

        The first step back also makes the gradient buffers, so that the steps are timed from the second on.
        """
        forward = self.search(module, case)
        values, lengths, queries = self.inputs(case, grad=True)
        marks = [self.clock()]
        memory = module.prepare(values, lengths, self.steps * case.queries)
        marks.append(self.clock())
        contexts = self.contexts(module, memory, queries)
        marks.append(self.clock())
        second: list[float] = []
        arrived: list[float] = []
        contexts[-2].register_hook(lambda _: second.append(self.clock()))
        for rows in (memory.values, memory.keys):
            assert rows.grad_fn is not None
            rows.grad_fn.register_prehook(lambda _: arrived.append(self.clock()))
        torch.autograd.backward(contexts, [torch.ones_like(c) for c in contexts])
        marks.append(self.clock())
        backward = (min(arrived) - second[0]) / (self.steps - 1)
        both = (marks[2] - marks[1]) / self.steps + backward
        zero = self.clock()
        torch.zeros_like(values)
        zero = self.clock() - zero
        times = (marks[1] - marks[0], forward, both, zero, marks[3] - min(arrived), (marks[3] - marks[0]) / self.steps)
        return Times(*(1e3 * t for t in times))

    def memory(self, module: Attention, case: Case) -> tuple[float, float]:
        """Peak MB of a step in search, and of a training batch by its steps."""
        values, lengths, queries = self.inputs(case, grad=False)
        with torch.no_grad():
            memory = module.prepare(values, lengths, self.steps * case.queries)
            step = peak(lambda: self.contexts(module, memory, queries[:1]))
        values, lengths, queries = self.inputs(case, grad=True)

        def train() -> None:
            contexts = self.contexts(module, module.prepare(values, lengths, self.steps * case.queries), queries)
            torch.autograd.backward(contexts, [torch.ones_like(c) for c in contexts])

        return step, peak(train) / self.steps


def decoder_steps(options: argparse.Namespace, source: int) -> str:
    """A whole decoder step (LSTM, attention, attentional vector), by mechanism: medians, and ratios to global."""
    width, steps, B = options.width, source, options.batch
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    names = ["none", "bahdanau", "global", "local_m", "local_p"]
    decoders = {}
    for name in names:
        config = LSTMConfig(hidden_size=width, dropout=0.0, attention=next(c for c in ATTENTIONS if c.name == name)())
        decoders[name] = LSTMDecoder(config)
    lines = [f"A whole decoder step at S={source}, {steps} steps (search: forward; training: forward and backward):"]
    for threads in options.threads:
        torch.set_num_threads(threads)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(3 * options.repeats):
            for name, decoder in decoders.items():
                words, values = (torch.randn(n, B, width, requires_grad=True) for n in (steps, source))
                start = [LSTMState(torch.zeros(B, width), torch.zeros(B, width))]
                lengths, values = torch.full((B,), source), values.transpose(0, 1)
                marks = [clock()]
                for grad in (False, True):
                    with torch.set_grad_enabled(grad):
                        memory = decoder.attention.prepare(values, lengths, steps) if decoder.attention else None
                        vectors, _ = decoder(words, start, memory, False)
                        if grad:
                            vectors.sum().backward()
                    marks.append(clock())
                times[name].append((1e3 * (marks[1] - marks[0]) / steps, 1e3 * (marks[2] - marks[1]) / steps))
        middles = {n: [statistics.median(t) for t in zip(*times[n], strict=True)] for n in names}
        for name, (search, train) in middles.items():
            ratio = [mine / other for mine, other in zip(middles[name], middles["global"], strict=True)]
            lines.append(
                f"  {name:10} threads={threads}: search {search:.3g} ms ({ratio[0]:.2f} of global), "
                f"training {train:.3g} ms ({ratio[1]:.2f})"
            )
    return "\n".join(lines)


def peak(run: Callable[[], object]) -> float:
    """Most MB that tensors made by ``run`` held at once."""
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        run()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        most = max(most, held)
    return most / 1e6


def measure(options: argparse.Namespace) -> Iterator[dict]:
    """One row a case: its samples, interleaved over names, and its memory."""
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    modules = {name: build(name, options.width) for name in options.names}
    for threads, source, queries in product(options.threads, options.sources, options.queries):
        torch.set_num_threads(threads)
        # Fewer steps where a global step takes a second; the figures are per step.
        steps = options.steps if source * queries <= 2000 else max(4, options.steps // 5)
        bench = Bench(options.batch, options.width, steps, clock)
        cases = [Case(name, source, queries, threads) for name in options.names]
        samples: dict[str, list[Times]] = {case.name: [] for case in cases}
        for _ in range(options.repeats):
            for case in cases:
                samples[case.name].append(bench.sample(modules[case.name], case))
        for case in cases:
            step_mb, train_mb = bench.memory(modules[case.name], case)
            rows = [asdict(s) for s in samples[case.name]]
            yield {**asdict(case), "steps": steps, "step_mb": step_mb, "train_mb": train_mb, "samples": rows}


def middle(row: dict, field: str) -> float:
    return statistics.median(sample[field] for sample in row["samples"])


def table(rows: list[dict]) -> str:
    """Markdown."""
    head = ["mechanism", "S", "N", "threads", "prepare", "step", "fwd+bwd", "zero", "hand-over", "batch/step"]
    head += ["step MB", "train MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for row in rows:
        times = [f"{middle(row, f.name):.3g}" for f in fields(Times)]
        cells = [row["name"], *(str(row[k]) for k in ("source", "queries", "threads")), *times]
        cells += [f"{row['step_mb']:.3g}", f"{row['train_mb']:.3g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def growth(rows: list[dict]) -> str:
    """How a step at the longest source compares with one at S=100 (or the shortest), mechanism by mechanism."""
    sources = sorted({row["source"] for row in rows})
    low, high = (100 if 100 in sources else sources[0]), sources[-1]
    lines = [f"A step at S={high} over one at S={low} (step, fwd+bwd):"]
    for row in rows:
        if row["source"] != high:
            continue
        same = ("name", "queries", "threads")
        base = next(r for r in rows if r["source"] == low and all(r[k] == row[k] for k in same))
        ratios = [middle(row, f) / middle(base, f) for f in ("step", "both")]
        lines.append(
            f"  {row['name']:12} N={row['queries']} threads={row['threads']}: {ratios[0]:.2f}, {ratios[1]:.2f}"
        )
    return "\n".join(lines)


def plot(rows: list[dict], path: Path) -> None:
    """Milliseconds of a step against source length, N=1, fewest threads."""
    from matplotlib.figure import Figure

    queries, threads = min(r["queries"] for r in rows), min(r["threads"] for r in rows)
    shown = [r for r in rows if r["queries"] == queries and r["threads"] == threads]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    titles = {"step": "search: one step forward", "both": "training: one step forward and backward"}
    for axes, (field, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for name in dict.fromkeys(r["name"] for r in shown):
            points = [(r["source"], middle(r, field)) for r in shown if r["name"] == name]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", xlabel="source positions", title=title)
        axes.set_xticks(sorted({r["source"] for r in shown}), sorted({r["source"] for r in shown}))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.set_ylabel("milliseconds")
    figure.savefig(path, dpi=150)


def numbers(text: str) -> list[int]:
    return [int(x) for x in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of attention per decoder step.")
    parser.add_argument("--names", type=lambda t: t.split(","), default=NAMES.split(","), help=f"default {NAMES}")
    parser.add_argument("--sources", type=numbers, default=[25, 100, 400, 1600, 6400], help="source lengths")
    parser.add_argument("--queries", type=numbers, default=[1, 5], help="queries a sentence in one step")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50, help="decoder steps a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: where the machine is shared")
    parser.add_argument("--out", type=Path, help="folder for attention.json, attention.md and attention.png")
    options = parser.parse_args()
    rows = list(measure(options))
    what = f"B={options.batch}, width {options.width}, {options.steps} steps, median of {options.repeats}"
    where = f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {options.clock} clock"
    whole = decoder_steps(options, source=25)
    text = f"{what}; {where}\n\n{table(rows)}\n\n```\n{growth(rows)}\n\n{whole}\n```\n"
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "attention.json").write_text(json.dumps(rows, indent=1))
        (options.out / "attention.md").write_text(text)
        plot(rows, options.out / "attention.png")


if __name__ == "__main__":
    main()
