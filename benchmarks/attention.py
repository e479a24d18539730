"""Cost of attention: milliseconds and peak memory per decoder step, by mechanism, source length and queries.

    python benchmarks/attention.py                    everything, some 11 minutes on two cores, into benchmarks/results
    python benchmarks/attention.py --quick            tiny sizes, to see that it runs
    python benchmarks/attention.py --names local_p,local_p/dense,local_p/windows --sources 25,50,75,100,150 --out .

A name is MECHANISM[:SCORE][+KEY=VALUE][/PATH], with any key of model.attention; PATH forces one of local attention's
two ways, for the rule that chooses between them is judged by the better of the two.  One process measures everything:
each round goes through all sources and all names, so that what else the machine does meets them all alike, and ratios
are taken within a round.  Sources fill the batch, queries are random, and local_p's centres lie anywhere.  A step is N
queries for each of B sentences; benchmarks/attention_report.py says what is made of the samples, and draws them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import cast

import torch
from attention_report import Case, write_report
from common import RESULTS, numbers, peak, settings
from omegaconf import OmegaConf
from torch import Tensor, nn
from tqdm import tqdm

from nmt.batch import UNK, collate
from nmt.device import set_up
from nmt.models import build_model
from nmt.models.attention import ATTENTIONS, Attention, AttentionConfig, Memory, build_attention
from nmt.models.attention.local_attention import LocalAttention
from nmt.models.lstm.config import EncoderKind, LSTMConfig, Mixture
from nmt.models.lstm.decoder import LSTMDecoder
from nmt.models.ops.lstm_layer import LSTMState
from nmt.models.seq2seq import Seq2Seq

NAMES = (
    "bahdanau,global,hard,local_m,local_p,local_p/dense,local_p/windows,"
    "global+normalizer=sparsemax,global+normalizer=entmax15,local_p+gaussian=bias+centre=diagonal,"
    "global+heads=4,local_p+heads=4,fixed_memory,coverage,coverage+max_fertility=2,location_aware,structural,temporal,gmm,monotonic,monotonic+chunk=5"
)
DECODERS = ("none", "bahdanau", "global", "local_m", "local_p")
# MECHANISM[/predictions[/K]], MECHANISM/lexical: model.mixture, and model.mixture_top_k;
# /intra: model.intra_attention; /lstmn: model.encoder.
MIXTURES = (
    *("global", "global/predictions", "global/predictions/5", "local_m/predictions", "local_p/predictions"),
    *("global/lexical", "global/intra", "global/lstmn"),
)
QUICK = ["--sources=5,40", "--threads=1", "--batch=2", "--width=16", "--steps=4", "--rounds=2", "--words=50"]
LONG = 1600  # sources beyond this take seconds: a forced way is measured there in the first round alone


@dataclass
class Times:
    """One sample in milliseconds."""

    prepare: float  # once a batch: padding, keys, and the node that hands the gradient on
    search: float  # a step forward without gradients
    training: float  # a step forward and backward
    zero: float  # once a batch: making the zeroed buffer that windows add their gradient to, if they do
    gradient: float  # once a batch: the memory's gradient from what the steps left, and back through prepare
    batch: float  # all of a training batch


def config_of(name: str) -> AttentionConfig:
    """The configuration that MECHANISM[:SCORE][+KEY=VALUE] asks for."""
    mechanism, *keys = name.split("+")
    mechanism, _, score = mechanism.partition(":")
    schema = OmegaConf.structured(next(c for c in ATTENTIONS if c.name == mechanism))
    typed = [*keys, *([f"score={score}"] if score else [])]
    return cast(AttentionConfig, OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.from_dotlist(typed))))


def build(name: str, width: int) -> Attention:
    """The module that a name asks for, with centres spread over the source."""
    name, _, path = name.partition("/")
    torch.manual_seed(0)
    module = build_attention(config_of(name), width, width)
    assert module is not None
    if isinstance(module, LocalAttention):
        if path:
            module.always_gather = {"dense": False, "windows": True}[path]
        if module.predict is not None:
            nn.init.normal_(module.predict.energy.weight, std=0.5)
    return module


class Bench:
    """The inputs of every case, which all names share."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        B, width = options.batch, options.width
        self.clock: Callable[[], float] = time.perf_counter if options.clock == "wall" else time.process_time
        self.most, self.lengths = options.steps, {s: torch.full((B,), s) for s in options.sources}
        self.values = {s: torch.randn(B, s, width, requires_grad=True) for s in options.sources}
        self.queries = {
            n: [torch.randn(B, n, width, requires_grad=True) for _ in range(options.steps)] for n in options.queries
        }

    def steps(self, case: Case) -> int:
        """How many steps a sample has: fewer where a step reads all of a long source."""
        windows = case.name.startswith("local") and not case.name.endswith("/dense")
        return self.most if windows else max(4, min(self.most, 5000 // case.source))

    def prepare(self, module: Attention, case: Case) -> Memory:
        values, lengths = self.values[case.source], self.lengths[case.source]
        return module.prepare(values, lengths, self.most * case.queries, case.queries)

    def contexts(self, module: Attention, memory: Memory, case: Case, steps: int) -> list[Tensor]:
        """Step by step; local_m walks from word to word."""
        N, contexts = case.queries, []
        for t, q in enumerate(self.queries[N][:steps]):
            attended = module(q, memory, torch.full((N,), t))
            memory = memory.after(attended)
            contexts.append(attended.context)
        return contexts

    def forget(self, module: Attention) -> None:
        """Drop the gradients of the sample before."""
        module.zero_grad()
        for x in (*self.values.values(), *(q for queries in self.queries.values() for q in queries)):
            x.grad = None

    def sample(self, module: Attention, case: Case) -> Times:
        """One batch in training and one in search.

        The first step back also makes the gradient buffer, so that steps back are timed from the second on.
        """
        self.forget(module)
        clock, steps, values = self.clock, self.steps(case), self.values[case.source]
        marks = [clock()]
        memory = self.prepare(module.train(), case)
        marks.append(clock())
        contexts = self.contexts(module, memory, case, steps)
        marks.append(clock())
        second: list[float] = []
        arrived: list[float] = []
        contexts[-2].register_hook(lambda _: second.append(clock()))
        for rows in (memory.values, memory.keys):
            assert rows.grad_fn is not None
            rows.grad_fn.register_prehook(lambda _: arrived.append(clock()))
        torch.autograd.backward(contexts, [torch.ones_like(c) for c in contexts])
        marks.append(clock())
        training = (marks[2] - marks[1]) / steps + (min(arrived) - second[0]) / (steps - 1)
        zero = clock()
        if isinstance(module, LocalAttention) and module.gathers(values, case.queries):
            torch.zeros_like(values)
        zero = clock() - zero
        del contexts
        search = self.search(module, memory, case, steps)
        times = (marks[1] - marks[0], search, training, zero, marks[3] - min(arrived), marks[3] - marks[0])
        return Times(*(1e3 * t for t in times))

    def search(self, module: Attention, memory: Memory, case: Case, steps: int) -> float:
        """Seconds of a step without gradients.  A training batch's memory serves, but where local attention may choose
        its other way."""
        module.eval()
        with torch.no_grad():
            if isinstance(module, LocalAttention):
                memory = self.prepare(module, case)
            start = self.clock()
            self.contexts(module, memory, case, steps)
            return (self.clock() - start) / steps

    def memory(self, module: Attention, case: Case) -> dict[str, float]:
        """Peaks in MB from torch's allocator: of a step in search; of a training batch, what it holds in any case and
        what each step adds."""
        with torch.no_grad():
            held = [self.prepare(module.eval(), case)]
            search = peak(lambda: self.contexts(module, held[0], case, 1))
            held.clear()
        module.train()

        def train(steps: int) -> None:
            contexts = self.contexts(module, self.prepare(module, case), case, steps)
            torch.autograd.backward(contexts, [torch.ones_like(c) for c in contexts])

        def peak_of(steps: int) -> float:
            self.forget(module)  # not within: what is freed there would count as room
            return peak(lambda: train(steps))

        # From 4 steps on: the products of fewer may need other temporaries.
        four, eight = peak_of(4), peak_of(8)
        step = (eight - four) / 4
        return {"search_mb": search, "batch_mb": four - 4 * step, "step_mb": step}


def attention_cases(options: argparse.Namespace) -> list[Case]:
    """Every case with its samples and, but for forced ways, its memory."""
    bench, modules = Bench(options), {name: build(name, options.width) for name in options.names}
    found = [Case(*parts) for parts in product(options.names, options.sources, options.queries, options.threads)]
    with tqdm(total=len(found) * options.rounds, desc="attention", unit=" cases", disable=None) as bar:
        for threads, queries, turn in product(options.threads, options.queries, range(options.rounds)):
            torch.set_num_threads(threads)
            here = [c for c in found if (c.threads, c.queries) == (threads, queries)]
            for source in options.sources:
                at = [c for c in here if c.source == source and not (turn and source > LONG and "/" in c.name)]
                for _ in range(max(1, min(4, 800 // source))):
                    for case in at:
                        sample = asdict(bench.sample(modules[case.name], case))
                        case.samples.append({"round": turn, **sample})
                bar.update(len(at))
    for case in found:
        case.steps = bench.steps(case)
        if case.threads == options.threads[-1] and "/" not in case.name:
            case.memory = bench.memory(modules[case.name], case)
    return found


def decoder_cases(options: argparse.Namespace, source: int) -> list[Case]:
    """A whole decoder step (LSTM, attention, attentional vector), by mechanism, with as many words as the source."""
    B, width = options.batch, options.width
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    decoders = {n: LSTMDecoder(LSTMConfig(hidden_size=width, dropout=0.0, attention=config_of(n))) for n in DECODERS}
    found = [Case(name, source, 1, threads, steps=source) for threads in options.threads for name in decoders]
    for threads, turn in product(options.threads, range(3 * options.rounds)):
        torch.set_num_threads(threads)
        for case in (c for c in found if c.threads == threads):
            decoder = decoders[case.name]
            words, memory = (torch.randn(source, B, width, requires_grad=True) for _ in range(2))
            sample: dict[str, float] = {"round": turn}
            for kind, context in (("search", torch.no_grad()), ("training", nullcontext())):
                start = clock()
                with context:
                    decode(decoder, words, memory.transpose(0, 1), backward=kind == "training")
                sample[kind] = 1e3 * (clock() - start) / source
            case.samples.append(sample)
    return found


def decode(decoder: LSTMDecoder, words: Tensor, values: Tensor, backward: bool) -> None:
    """All steps of a batch: words (T, B, E), values (B, S, M)."""
    steps, B, width = words.shape
    lengths = torch.full((B,), values.size(1))
    start = [LSTMState(torch.zeros(B, width), torch.zeros(B, width))]
    memory = decoder.attention.prepare(values, lengths, steps) if decoder.attention else None
    vectors, _ = decoder(words, start, memory, False)
    if backward:
        vectors.sum().backward()


def mixture_cases(options: argparse.Namespace, source: int) -> list[Case]:
    """A target position of a whole LSTM, encoder, projection and loss included."""
    B, V = options.batch, options.words
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    models = {name: mixture_model(name, options.width, V) for name in options.models}
    found = [Case(name, source, 1, threads, steps=source) for threads in options.threads for name in models]
    for threads, turn in product(options.threads, range(options.rounds)):
        torch.set_num_threads(threads)
        for case in (c for c in found if c.threads == threads):
            model = models[case.name]
            sources, targets = torch.randint(UNK + 1, V, (2, B, source)).tolist()
            batch = collate(sources, targets, list(range(B)))
            sample: dict[str, float] = {"round": turn}
            start = clock()
            model(batch).loss_sum.backward()
            sample["training"] = 1e3 * (clock() - start) / source
            start = clock()
            with torch.no_grad():
                state = model.start(model.encode(batch.source, batch.source_lengths))
                for t in range(source):
                    _, state, _ = model.step(batch.target_in[:, t : t + 1], state)
            sample["search"] = 1e3 * (clock() - start) / source
            case.samples.append(sample)
    return found


def mixture_model(name: str, width: int, words: int) -> Seq2Seq:
    """The model that a name as those of MIXTURES stands for."""
    mechanism, _, mixture = name.partition("/")
    kind, _, k = mixture.partition("/")
    config = LSTMConfig(
        hidden_size=width,
        dropout=0.0,
        attention=config_of(mechanism),
        encoder=EncoderKind.lstmn if kind == "lstmn" else EncoderKind.lstm,
        intra_attention=kind == "intra",
        mixture=Mixture[kind] if kind in ("predictions", "lexical") else Mixture.contexts,
        mixture_top_k=int(k) if k else None,
    )
    torch.manual_seed(0)
    return build_model(config, words, words, joint=True)


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{' '.join(QUICK)}, and nothing is written without --out")
    parser.add_argument("--names", type=lambda t: t.split(","), default=NAMES.split(","), help=f"default {NAMES}")
    parser.add_argument(
        "--models", type=lambda t: t.split(","), default=MIXTURES, help=f"whole models, default {','.join(MIXTURES)}"
    )
    parser.add_argument("--sources", type=numbers, default=[25, 100, 400, 1600, 6400], help="source lengths")
    parser.add_argument("--queries", type=numbers, default=[1, 5], help="queries a sentence in one step")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--words", type=int, default=8000, help="target words, where predictions are mixed")
    parser.add_argument("--steps", type=int, default=50, help="decoder steps a batch, 4 or more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: where the machine is shared")
    parser.add_argument("--out", type=Path, help="folder of attention.json, .md, .png and .svg (benchmarks/results)")
    options = parser.parse_args([*QUICK, *words] if "--quick" in words else words)
    set_up(options.threads[0], deterministic=False)
    decoder = decoder_cases(options, source=min(options.sources))
    mixtures = mixture_cases(options, source=min(options.sources))
    cases = attention_cases(options)
    out = options.out or (None if options.quick else RESULTS)
    sizes = settings(options, "batch", "width", "words", "steps", "rounds")
    print(write_report(sizes, cases, decoder, mixtures, out))


if __name__ == "__main__":
    main()
