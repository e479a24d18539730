"""What local attention buys a whole LSTM and what it cannot: training and search by source length.

    python benchmarks/lengths.py                  S = 25, 100, 400, 1600; some 5 minutes, into benchmarks/results
    python benchmarks/lengths.py --quick          tiny sizes, to see that it runs

Random weights and random ids; sources fill the batch and every target has as many words, whatever the source.  Search
is forced to that length, too.  One process measures everything: each round goes through all lengths and mechanisms,
and ``of global`` is the median over the rounds of the ratio to global in the same round.  The encoder's time is apart,
because no attention changes it; what attention prepares once a batch counts as the decoder's, as do the vocabulary
projection and the loss.  A training step ends with clipping and Adam (``update``).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import torch
from attention import config_of
from common import RESULTS, commit, markdown, numbers, peak, processor
from torch import Tensor, nn
from tqdm import tqdm

from nmt.batch import Batch, collate
from nmt.device import Precision, autocast, resolve_precision, set_up
from nmt.models import LSTMConfig, build_model
from nmt.models.lstm.model import LSTM
from nmt.search import DecodeConfig, search

CPU = torch.device("cpu")
QUICK = ["--sources=5,40", "--batch=2", "--width=16", "--vocabulary=50", "--words=4", "--rounds=1"]
TRAINING = ("encoder forward", "decoder forward", "decoder backward", "encoder backward", "update")
SEARCH = ("encoder", "steps")


@dataclass
class Case:
    """One mechanism at one source length: milliseconds of a batch by part, a sample a round."""

    name: str
    source: int
    training: list[dict[str, float]] = field(default_factory=list)
    search: list[dict[str, float]] = field(default_factory=list)
    training_mb: float = 0.0  # peaks beyond weights and inputs
    search_mb: float = 0.0


class Encoder:
    """The moments at which the encoder's work begins and ends."""

    def __init__(self, encoder: nn.Module) -> None:
        self.marks: list[float] = []
        encoder.register_forward_pre_hook(lambda *_: self.mark())
        encoder.register_forward_hook(self.done)

    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    def done(self, _: nn.Module, __: Any, output: tuple[Tensor, Any]) -> None:
        self.mark()
        if output[0].requires_grad:  # complete when the decoder's backward pass is
            output[0].register_hook(lambda _: self.mark())


class Subject:
    """A model to be measured, with all that a training step needs."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        config = LSTMConfig(hidden_size=options.width, dropout=0.0, attention=config_of(name))
        model = build_model(config, options.vocabulary, options.vocabulary, joint=True)
        assert isinstance(model, LSTM)
        self.model, self.encoder = model, Encoder(model.encoder)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
        self.precision = resolve_precision(Precision(options.precision), CPU)
        words = options.words
        self.decode = DecodeConfig(beam_size=options.beam, min_length=words, max_length=words, max_ratio=None)

    def train(self, batch: Batch) -> dict[str, float]:
        """One update; milliseconds of its parts."""
        self.model.train()
        self.encoder.marks.clear()
        start = time.perf_counter()
        with autocast(self.precision, CPU):
            output = self.model(batch)
        forward = time.perf_counter()
        (output.loss_sum / output.tokens).backward()
        backward = time.perf_counter()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        end = time.perf_counter()
        began, encoded, returned = self.encoder.marks
        rest = forward - start - (encoded - began)
        parts = (encoded - began, rest, returned - forward, backward - returned, end - backward)
        return {name: 1e3 * seconds for name, seconds in zip(TRAINING, parts, strict=True)}

    def find(self, batch: Batch) -> dict[str, float]:
        """Search for translations of a whole batch; milliseconds of its parts."""
        self.model.eval()
        self.encoder.marks.clear()
        start = time.perf_counter()
        with autocast(self.precision, CPU):
            search(self.model, batch.source, batch.source_lengths, self.decode)
        whole = time.perf_counter() - start
        began, encoded = self.encoder.marks
        return {"encoder": 1e3 * (encoded - began), "steps": 1e3 * (whole - (encoded - began))}


def random_batch(source: int, options: argparse.Namespace) -> Batch:
    """Sentences of equal length."""
    generator = torch.Generator().manual_seed(source)

    def rows(length: int) -> list[list[int]]:
        return torch.randint(4, options.vocabulary, (options.batch, length), generator=generator).tolist()

    return collate(rows(source), rows(options.words), list(range(options.batch)))


def measure(options: argparse.Namespace) -> list[Case]:
    """Round by round, all mechanisms at all lengths."""
    subjects = {name: Subject(name, options) for name in options.names}
    batches = {source: random_batch(source, options) for source in options.sources}
    cases = [Case(name, source) for source, name in product(options.sources, options.names)]
    shortest = batches[min(batches)]
    for subject in subjects.values():  # the first call chooses kernels
        subject.train(shortest)
        subject.find(shortest)
    with tqdm(total=len(cases) * (options.rounds + 1), desc="lengths", unit=" cases", disable=None) as bar:
        for turn in range(options.rounds + 1):
            for case in cases:
                subject, batch = subjects[case.name], batches[case.source]
                if turn == options.rounds:  # apart, because the profiler takes time
                    case.training_mb = peak(lambda s=subject, b=batch: s.train(b))
                    case.search_mb = peak(lambda s=subject, b=batch: s.find(b))
                else:
                    case.training.append(subject.train(batch))
                    case.search.append(subject.find(batch))
                bar.update()
    return cases


def median(samples: Sequence[dict[str, float]], parts: Sequence[str]) -> float:
    """Milliseconds of some parts together."""
    return statistics.median(sum(sample[part] for part in parts) for sample in samples)


def of_global(case: Case, cases: Sequence[Case], kind: str) -> str:
    """The whole of training or search over global's, in the middle one of the rounds."""
    other = next((c for c in cases if c.name == "global" and c.source == case.source), None)
    if other is None:
        return ""
    pairs = zip(getattr(case, kind), getattr(other, kind), strict=True)
    return f"{statistics.median(sum(mine.values()) / sum(theirs.values()) for mine, theirs in pairs):.2f}"


def report(cases: Sequence[Case], options: argparse.Namespace) -> str:
    """Two tables."""
    per_second = 1e3 * options.batch  # times words, over milliseconds
    head = ["mechanism", "S"]
    training, found = [], []
    for case in cases:
        label = [case.name, str(case.source)]
        speed = per_second * (options.words + 1) / median(case.training, TRAINING)
        parts = [f"{median(case.training, [part]):.3g}" for part in TRAINING]
        training.append(
            [*label, *parts, f"{speed:,.0f}", of_global(case, cases, "training"), f"{case.training_mb:,.0f}"]
        )
        speed = per_second * options.words / median(case.search, SEARCH)
        parts = [f"{median(case.search, [part]):.3g}" for part in SEARCH]
        found.append([*label, *parts, f"{speed:,.0f}", of_global(case, cases, "search"), f"{case.search_mb:,.0f}"])
    facts = {
        "command": " ".join(["python", "benchmarks/lengths.py", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": f"{processor()}, torch {torch.__version__}",
        "sizes": f"batch {options.batch}, hidden {options.width}, vocabulary {options.vocabulary}, "
        f"{options.words} target words, beam {options.beam}, {options.threads} threads, "
        f"{resolve_precision(Precision(options.precision), CPU).name}, median of {options.rounds} rounds",
    }
    rest = ["target tokens/s", "of global", "peak MB"]
    parts = [
        "# A whole LSTM by source length",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "Training, milliseconds a batch:",
        markdown([*head, *TRAINING, *rest], training),
        "Search, milliseconds a batch:",
        markdown([*head, *SEARCH, *rest], found),
    ]
    return "\n\n".join(parts) + "\n"


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{' '.join(QUICK)}, and nothing is written without --out")
    parser.add_argument("--names", type=lambda t: t.split(","), default=["global", "local_m", "local_p"])
    parser.add_argument("--sources", type=numbers, default=[25, 100, 400, 1600], help="source lengths")
    parser.add_argument("--words", type=int, default=50, help="target length")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=[p.name for p in Precision], default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of lengths.md (benchmarks/results)")
    options = parser.parse_args([*QUICK, *words] if "--quick" in words else words)
    set_up(options.threads, deterministic=False)
    text = report(measure(options), options)
    print(text)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "lengths.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
