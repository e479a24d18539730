"""Target tokens a second of training steps of the LSTM model: forward, backward, clipping and Adam.

    python benchmarks/lstm_step.py                        every case, one process, rounds interleaved
    python benchmarks/lstm_step.py --cases fed --precisions bf16 --threads 2 --profile

``fed`` is one bidirectional encoder layer and one decoder layer, hidden and embedding 512, global attention with
general score, input feeding, dropout 0.2, joint vocabulary of 8,000, 64 sentences a batch.  Batches are random ids
with Multi30k's lengths (en 15.8 +- 4.5 and de 15.9 +- 5.0 pieces with end-of-sentence, sorted into buckets).
The machine may be shared: the best round of each case is printed beside the median, and tokens per second of CPU
time, which a busy neighbour changes little with one thread (with two, waiting for each other counts as work).
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable

import torch

from nmt.batch import Batch, collate
from nmt.device import Precision, autocast, set_up
from nmt.models import LSTMConfig, build_model
from nmt.models.attention import BahdanauConfig, GlobalConfig, LocalPConfig, NoneConfig
from nmt.models.seq2seq import Seq2Seq

VOCABULARY = 8000
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise")
PRODUCTS += ("aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward")  # whole layers of oneDNN's
CASES = {
    "fed": LSTMConfig(attention=GlobalConfig()),
    "unfed": LSTMConfig(attention=GlobalConfig(), input_feeding=False),
    "local_p": LSTMConfig(attention=LocalPConfig()),
    "bahdanau": LSTMConfig(attention=BahdanauConfig()),
    "none": LSTMConfig(attention=NoneConfig()),
    "small": LSTMConfig(attention=LocalPConfig(), hidden_size=256),
}


def batches(count: int, sentences: int, seed: int = 1) -> list[Batch]:
    """Random pairs, ``sentences`` a batch, bucketed by length as a loader with a corpus to choose from would do it."""
    rng = random.Random(seed)
    sources = [max(3, round(rng.gauss(14.8, 4.5))) for _ in range(100 * sentences)]
    pairs = sorted((max(3, round(rng.gauss(s, 2.0))), s) for s in sources)

    def ids(length: int) -> list[int]:
        return [rng.randrange(4, VOCABULARY) for _ in range(length)]

    made = []
    for number in range(count):  # evenly from short to long
        start = (2 * number + 1) * 50 // count * sentences
        part = pairs[start : start + sentences]
        made.append(collate([ids(s) for _, s in part], [ids(t) for t, _ in part], [0] * len(part)))
    return made


def train_step(model: Seq2Seq, optimizer: torch.optim.Optimizer, batch: Batch, precision: Precision) -> int:
    device = next(model.parameters()).device
    with autocast(precision, device):
        output = model(batch)
    optimizer.zero_grad()
    (output.loss_sum / output.tokens).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return int(output.tokens)


def profile(step: Callable[[], None]) -> str:
    """Share of self time by operator, and of matrix products in all."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        step()
    rows = sorted(recorded.key_averages(), key=lambda r: -r.self_cpu_time_total)
    total = sum(r.self_cpu_time_total for r in rows)
    products = sum(r.self_cpu_time_total for r in rows if r.key in PRODUCTS)
    lines = [f"matrix products {products / total:6.1%} of {total / 1e3:.0f} ms"]
    lines += [f"  {r.key:42} {r.self_cpu_time_total / total:6.1%}  {r.count:5} calls" for r in rows[:22]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["fed", "unfed"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(1)
    models = {c: build_model(CASES[c], VOCABULARY, VOCABULARY, True).to(args.device) for c in args.cases}
    optimizers = {c: torch.optim.Adam(m.parameters(), lr=1e-3, fused=True) for c, m in models.items()}
    work = [b.to(torch.device(args.device)) for b in batches(args.steps, args.sentences)]
    cases = list(itertools.product(args.cases, args.precisions, args.threads))
    speeds: dict[tuple[str, str, int], list[tuple[float, float]]] = {case: [] for case in cases}
    for round_ in range(args.rounds + 1):
        for case in cases:
            name, precision, threads = case
            set_up(threads, deterministic=False)
            began, cpu, tokens = time.perf_counter(), time.process_time(), 0
            for batch in work[: 2 if round_ == 0 else None]:  # round 0 warms up
                tokens += train_step(models[name], optimizers[name], batch, Precision(precision))
            if round_:
                speeds[case].append((tokens / (time.perf_counter() - began), tokens / (time.process_time() - cpu)))
    print(f"torch {torch.__version__}, {args.sentences} sentences a batch, {args.steps} steps a round, tokens/s")
    for (name, precision, threads), s in speeds.items():
        wall, cpu = zip(*s, strict=True)
        line = f"{name:10} {precision}  {threads} threads  best {max(wall):6.0f}  median {statistics.median(wall):6.0f}"
        print(line + f"  per second of CPU time {max(cpu):6.0f}, median {statistics.median(cpu):6.0f}")
    for name, precision, threads in cases if args.profile else []:
        set_up(threads, deterministic=False)

        def step(name: str = name, precision: str = precision) -> None:
            for batch in work[:4]:
                train_step(models[name], optimizers[name], batch, Precision(precision))

        print(f"\n{name} {precision} {threads} threads\n{profile(step)}")


if __name__ == "__main__":
    main()
