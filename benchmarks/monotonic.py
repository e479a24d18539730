"""What a monotonic walk saves in search: milliseconds a target word, walking, and scoring every position each time.

    python benchmarks/monotonic.py            S = 25, 100, 400, 1600, and as many target words; under a minute
    python benchmarks/monotonic.py --quick    tiny sizes, to see that it runs

One sentence with five hypotheses; random weights, with queries so small that every word finds its stop near by.  CPU
time of one thread: of each length both ways in turn, and of the attention alone, keys included.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from common import markdown, numbers, processor
from torch import Tensor

from nmt.models.attention import Memory, MonotonicConfig, monotonic_attention
from nmt.models.attention.monotonic_attention import MonotonicAttention

HYPOTHESES = 5


class ScoresAll(MonotonicAttention):
    """The same, but every position is scored for every target word, as in training."""

    def start(self, values: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            return super().start(values)


def translate(module: MonotonicAttention, queries: Tensor, values: Tensor) -> float:
    """Seconds of CPU time that attention takes for a whole translation: queries (1, T, K, Q), values (1, S, M)."""
    start = time.process_time()
    memory: Memory = module.prepare(values, torch.tensor([values.size(1)]))
    for t in range(queries.size(1)):
        memory = memory.after(module(queries[:, t], memory, torch.tensor([t]).expand(HYPOTHESES)))
    return time.process_time() - start


def measure(chunk: int, length: int, width: int, rounds: int) -> tuple[float, float]:
    """Milliseconds a word of walking and of scoring all: medians."""
    torch.manual_seed(0)
    config = MonotonicConfig(hidden_size=width // 2, chunk=chunk)
    kinds: list[Callable[[MonotonicConfig, int, int], MonotonicAttention]] = [MonotonicAttention, ScoresAll]
    modules = [kind(config, width, width).eval() for kind in kinds]
    modules[1].load_state_dict(modules[0].state_dict())
    values, queries = torch.randn(1, length, width), 0.01 * torch.randn(1, length, HYPOTHESES, width)
    times = [[translate(module, queries, values) for module in modules] for _ in range(rounds)]
    walking, scoring = (1e3 / length * statistics.median(x) for x in zip(*times, strict=True))
    return walking, scoring


@torch.no_grad()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=numbers, default=[25, 100, 400, 1600], help="lengths, as 25,100")
    parser.add_argument("--width", type=int, default=512, help="of the model (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    given = parser.parse_args()
    if given.quick:
        given.sources, given.width, given.rounds = [5, 20], 16, 1
    torch.set_num_threads(1)
    monotonic_attention.WALKED_FROM = 0
    print(f"{' '.join(sys.argv)}; {processor()}, torch {torch.__version__}\n")
    rows = []
    for chunk in (1, 4):
        for length in given.sources:
            walking, scoring = measure(chunk, length, given.width, given.rounds)
            rows.append([f"chunk={chunk}, {length}", f"{walking:.3f}", f"{scoring:.3f}", f"{scoring / walking:.1f}"])
    print(markdown(["source and target words", "walking, ms a word", "scoring all", "ratio"], rows))


if __name__ == "__main__":
    main()
