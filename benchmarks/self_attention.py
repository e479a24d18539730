"""Ways for positions to talk to one another: milliseconds and peak memory by length.

    python benchmarks/self_attention.py               64, 128, ... 8192 positions, into benchmarks/results
    python benchmarks/self_attention.py --quick       tiny sizes, to see that it runs

Self-attention, global and local, beside a convolution and one full matrix over positions.  One process measures
everything: memory first, then round by round all lengths and ways, so that what else the machine does meets them all
alike.  The batch is the same at every length.  benchmarks/self_attention_report.py says what the ways are and what is
made of the samples, and draws them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from common import RESULTS, numbers, peak, settings
from self_attention_report import COLOURS, Case, write_report
from torch import Tensor, nn
from tqdm import tqdm

from nmt.device import set_up
from nmt.models.transformer.config import (
    GlobalSelfAttentionConfig,
    HardCodedSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    LocalSelfAttentionConfig,
    SelfAttentionConfig,
    Sinks,
    TransformerConfig,
)
from nmt.models.transformer.multi_head import Attend, SelfAttention, Weigh, plain_attention
from nmt.models.transformer.self_attention import BandedAttention, FullAttention

QUICK = ["--lengths=5,80,160", "--width=16", "--heads=2", "--rounds=2"]
POSITIONS = 2048  # of a sample: so many calls that they make this many, one at least

MakeAttend = Callable[[Tensor, Tensor | None], Attend]  # inputs (B, L, D), lengths (B,) or None: causal


class Heads(nn.Module):
    """Self-attention of the Transformer."""

    def __init__(self, config: TransformerConfig, make: MakeAttend, causal: bool) -> None:
        super().__init__()
        self.attention, self.make, self.causal = SelfAttention(config, 1, causal), make, causal

    def forward(self, x: Tensor) -> Tensor:
        lengths = None if self.causal else torch.full(x.shape[:1], x.size(1))
        return self.attention(x, self.make(x, lengths), None)


def by_plain_products(x: Tensor, lengths: Tensor | None) -> Attend:
    """``FullAttention`` without torch's fused kernel, for sentences without padding."""

    def attend(q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return plain_attention(q, k, v, None, lengths is None, 0.0).transpose(1, 2)

    return attend


class Convolution(nn.Module):
    """y_t = sum over s of M_s x_{t+s}, s from -W to W or, causal, to 0."""

    def __init__(self, width: int, reach: int, causal: bool) -> None:
        super().__init__()
        self.taps = nn.Conv1d(width, width, reach + 1 if causal else 2 * reach + 1, padding=reach)

    def forward(self, x: Tensor) -> Tensor:
        return self.taps(x.mT)[..., : x.size(1)].mT


class FullyConnected(nn.Module):
    """y_t = sum over s of m_ts x_s, s up to L or, causal, to t."""

    def __init__(self, length: int, causal: bool) -> None:
        super().__init__()
        self.weight, self.causal = nn.Parameter(torch.rand(length, length) / length), causal

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight.tril() if self.causal else self.weight) @ x


def build(case: Case, options: argparse.Namespace) -> nn.Module:
    """The module of a case, (B, L, D) -> (B, L, D)."""
    if case.name == "convolution":
        return Convolution(options.width, options.half_width, case.causal)
    if case.name == "fully_connected":
        return FullyConnected(case.length, case.causal)
    fixed, sinks = HardCodedSelfAttentionConfig(), Sinks.self_attention if case.name == "sinks" else Sinks.none
    kinds: dict[str, tuple[SelfAttentionConfig, MakeAttend]] = {
        "global": (GlobalSelfAttentionConfig(), FullAttention),
        "global/products": (GlobalSelfAttentionConfig(), by_plain_products),
        "local": (
            LocalSelfAttentionConfig(half_width=options.half_width),
            partial(BandedAttention, options.half_width),
        ),
        "sinks": (GlobalSelfAttentionConfig(), FullAttention),
        "localness": (LocalnessSelfAttentionConfig(), FullAttention),
        "hard_coded": (fixed, partial(BandedAttention, fixed.reach)),
    }
    kind, make = kinds[case.name]
    config = TransformerConfig(hidden_size=options.width, heads=options.heads, self_attention=kind, sinks=sinks)
    return Heads(config, make, case.causal)


def predicted(case: Case, options: argparse.Namespace) -> float:
    """MB of the L x L matrices that a case holds at its peak in training, its weights among them."""
    heads = options.batch * options.heads
    matrices = {
        "global/products": 3 * heads + 1,
        "fully_connected": 3 if case.causal else 2,
        "sinks": 7 * heads,
        "localness": 10 * heads,
    }
    return 4 * matrices.get(case.name, 0) * case.length**2 / 1e6


class Bench:
    """A case's module and inputs."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        shape = options.batch, case.length, options.width
        self.module = build(case, options)
        self.x, self.gradient = torch.randn(shape, requires_grad=True), torch.randn(shape)
        self.clock = time.perf_counter if options.clock == "wall" else time.process_time

    def forget(self) -> None:
        """Drop the gradients of the call before."""
        self.module.zero_grad()
        self.x.grad = None

    def forward(self) -> None:
        with torch.no_grad():
            self.module(self.x)

    def training(self) -> None:
        torch.autograd.backward(self.module(self.x), self.gradient)

    def milliseconds(self, run: Callable[[], None]) -> float:
        """Of one call, the median of several where sequences are short."""
        found = []
        for _ in range(max(1, POSITIONS // self.x.size(1))):
            self.forget()
            start = self.clock()
            run()
            found.append(1e3 * (self.clock() - start))
        return statistics.median(found)


def measure(options: argparse.Namespace) -> list[Case]:
    """Every case; those that would need more memory than there may be only with what they would need."""
    parts = product(options.lengths, (False, True), options.names)
    cases = [Case(name, causal, length) for length, causal, name in parts]
    for case in cases:
        size = predicted(case, options)
        case.skipped_mb = size if size > options.limit else 0.0
    measured = [case for case in cases if not case.skipped_mb]
    with tqdm(total=len(measured) * (options.rounds + 1), desc="self_attention", unit=" cases", disable=None) as bar:
        for turn, case in product(range(options.rounds + 1), measured):
            bench = Bench(case, options)
            if turn == 0:  # apart, because the profiler takes time
                case.forward_mb, case.training_mb = peak(bench.forward), peak(bench.training)
            else:
                case.forward.append(bench.milliseconds(bench.forward))
                case.training.append(bench.milliseconds(bench.training))
            bar.update()
    return cases


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{' '.join(QUICK)}, and nothing is written without --out")
    parser.add_argument("--names", type=lambda t: t.split(","), default=list(COLOURS), help=f"of {','.join(COLOURS)}")
    parser.add_argument("--lengths", type=numbers, default=[64 << i for i in range(8)], help="default 64,128,...,8192")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--half-width", type=int, default=16, help="W of local and of the convolution")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    skip = "MB of L x L matrices beyond which a case is skipped; the process may keep twice as much"
    parser.add_argument("--limit", type=float, default=4000, help=skip)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: where the machine is shared")
    parser.add_argument("--out", type=Path, help="folder of self_attention.json, .md, .png, .svg (benchmarks/results)")
    options = parser.parse_args([*QUICK, *words] if "--quick" in words else words)
    set_up(options.threads, deterministic=False)
    facts = settings(options, "batch", "width", "heads", "half_width", "threads", "rounds")
    out = options.out or (None if options.quick else RESULTS)
    print(write_report(facts, measure(options), out))


if __name__ == "__main__":
    main()
