"""How fast a trained run translates by each engine: this project's search in torch, CTranslate2 and ONNX.

    python benchmarks/engines.py runs/NAME --test test_2016_flickr --threads 1,2

For each number of threads, all engines take turns in every round, so that a machine that changes its speed changes it
for all; each runs in a process of its own, because the threads of several in one process disturb one another.  One
Markdown row for each engine and number of threads: target tokens (end-of-sentence included) a second with
batches of 1 and of 32, the median of the rounds, and the median ratio to torch in fp32 in the same round; the time of
one sentence from Python with a warm model, the median and the 99th percentile; and BLEU of the set.  From text to text,
without loading.

--clock cpu counts the processor time of the engine's process, for a machine that others use; for one thread alone.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from common import commit, markdown, numbers, processor

from nmt.data.prepare import load_tests
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.eval.metrics import score_corpus
from nmt.export import Quantization
from nmt.export.engines import EngineKind, open_engine
from nmt.runs.directory import Run
from nmt.translate.translator import Translator

CPU = torch.device("cpu")
FIRST = "torch fp32"  # what the others are compared with
# Engine, precision of the search, type of the weights.
ENGINES: dict[str, tuple[EngineKind, Precision, Quantization | None]] = {
    FIRST: (EngineKind.torch, Precision.fp32, None),
    "torch auto": (EngineKind.torch, Precision.auto, None),
    "torch int8": (EngineKind.torch, Precision.int8, None),
    "ctranslate2 fp32": (EngineKind.ctranslate2, Precision.fp32, None),
    "ctranslate2 int8": (EngineKind.ctranslate2, Precision.fp32, Quantization.int8),
    "onnx fp32": (EngineKind.onnx, Precision.fp32, None),
    "onnx int8": (EngineKind.onnx, Precision.fp32, Quantization.int8),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COLUMNS = (
    "engine",
    "threads",
    "batch 1, tokens/s",
    "ratio",
    "batch 32, tokens/s",
    "ratio",
    "one sentence, median ms",
    "99th",
    "BLEU",
)


@dataclass
class Samples:
    """What was measured of one engine with one number of threads, a figure a round."""

    speed: dict[int, list[float]] = field(default_factory=lambda: {1: [], 32: []})  # tokens a second, by batch size
    seconds: list[float] = field(default_factory=list)  # of single sentences, all rounds
    bleu: float = 0.0


class Timed(Protocol):
    """An engine that can be timed."""

    def batches(self) -> float:
        """Tokens a second of all sentences in batches of 32."""
        ...

    def one_by_one(self) -> tuple[float, list[float]]:
        """Tokens a second of a tenth of the sentences, each alone, and the seconds of each."""
        ...


@dataclass
class TimedEngine:
    """An engine of this process."""

    translator: Translator
    sources: Sequence[str]
    clock: Callable[[], float]

    def batches(self) -> float:
        self.translator.decode.batch_size = 32
        start = self.clock()
        found = self.translator.hypotheses(list(self.sources))
        return tokens(found) / (self.clock() - start)

    def one_by_one(self) -> tuple[float, list[float]]:
        self.translator.decode.batch_size = 1
        times, count = [], 0
        for source in self.sources[: max(1, len(self.sources) // 10)]:
            start = self.clock()
            found = self.translator.hypotheses(source)
            times.append(self.clock() - start)
            count += tokens([found])
        return count / sum(times), times


class EngineProcess:
    """An engine in a process of its own, which sleeps between its turns."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def batches(self) -> float:
        return self.pool.submit(_batches).result()

    def one_by_one(self) -> tuple[float, list[float]]:
        return self.pool.submit(_one_by_one).result()


def main() -> None:
    args = arguments()
    run = Run.open(args.run)
    text = load_tests(run.config.data, None if args.test is None else [args.test])[0]
    sources, references = text.source[: args.sentences], text.target[: args.sentences]
    print(f"{args.run}: {len(sources)} sentences of {text.name}, beam of {args.beam}")
    print(f"{args.rounds} rounds, {args.clock} clock")
    print(f"{processor()}, torch {torch.__version__}, commit {commit()}\n", flush=True)
    rows = []
    for threads in args.threads:
        with ExitStack() as processes:
            engines, samples = {}, {}
            for name in args.engines:
                pool = processes.enter_context(
                    ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), torch.set_num_threads, (threads,))
                )
                found = pool.submit(_open, args.run, name, args.beam, sources, references, args.clock).result()
                if isinstance(found, str):
                    print(f"{name}: {found}\n")
                else:
                    engines[name], samples[name] = EngineProcess(pool), Samples(bleu=found)
            for _ in range(args.rounds):
                measure(engines, samples)
        rows += [row(name, threads, samples[name], samples.get(FIRST)) for name in engines]
    print(markdown(COLUMNS, rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--test", help="name of a test set of the run's data (default: the first)")
    parser.add_argument("--sentences", type=int, default=1000, help="at most so many; a tenth of it one by one")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads != [1]:
        parser.error("--clock cpu is for --threads 1")
    return args


_opened: list[TimedEngine] = []  # in an engine's own process: the one that ``_open`` has made there


def _open(
    directory: str, name: str, beam: int, sources: Sequence[str], references: Sequence[str], clock: str
) -> float | str:
    """Make one of ENGINES and let it translate everything once, which chooses kernels and allocates: returns BLEU.

    A text that says why, where the run cannot have that engine.
    """
    run = Run.open(directory)
    kind, precision, quantization = ENGINES[name]
    decode = replace(run.config.decode, beam_size=beam, n_best=1, batch_size=32, precision=precision)
    try:
        engine = open_engine(kind, run, "best", CPU, decode, quantization, print)
    except ConfigError as error:
        return str(error)
    translator = Translator(run, decode, CPU, engine=engine)
    _opened.append(TimedEngine(translator, sources, CLOCKS[clock]))
    found = translator.translate(list(sources))
    return score_corpus(["bleu"], found, references, run.config.data.target)["bleu"].value


def _batches() -> float:
    return _opened[0].batches()


def _one_by_one() -> tuple[float, list[float]]:
    return _opened[0].one_by_one()


def measure(engines: Mapping[str, Timed], samples: dict[str, Samples]) -> None:
    """One round: every engine with batches of 32, then every engine sentence by sentence."""
    for name, engine in engines.items():
        samples[name].speed[32].append(engine.batches())
    for name, engine in engines.items():
        speed, times = engine.one_by_one()
        samples[name].speed[1].append(speed)
        samples[name].seconds += times


def tokens(found: Sequence[Sequence[object]]) -> int:
    """Target tokens of the best translations, with end-of-sentence."""
    return sum(len(getattr(row[0], "tokens", ())) for row in found if row)


def row(name: str, threads: int, samples: Samples, first: Samples | None) -> list[str]:
    """The cells of one engine."""
    speeds: list[str] = []
    for batch in (1, 32):
        own = samples.speed[batch]
        ratios = [] if first is None else [a / b for a, b in zip(own, first.speed[batch], strict=True)]
        speeds += [f"{statistics.median(own):,.0f}", f"{statistics.median(ratios):.2f}" if ratios else ""]
    times = sorted(1000 * seconds for seconds in samples.seconds)
    worst = times[min(len(times) - 1, round(0.99 * (len(times) - 1)))]
    return [name, str(threads), *speeds, f"{statistics.median(times):.1f}", f"{worst:.1f}", f"{samples.bleu:.1f}"]


if __name__ == "__main__":
    main()
