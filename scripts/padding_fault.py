"""What it costs to forget a mask: one small model, trained right and with padding read, attended to or predicted.

    python scripts/padding_fault.py
    python scripts/padding_fault.py data=multi30k

trains each fault with three seeds (runs that are there are not trained again) and prints a table: on the embedded
corpus, or on Multi30k, English to German.  The file is a plug-in, too: it adds the model that the runs have,
``model=padded model.fault=...``.

Batches are of sentences in random order, and of the file's order in search, as most programs for teaching make them.
This project puts sentences of nearly equal length together, where a batch has little padding and the faults cost less.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import mean, stdev
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import nmt
from nmt.batch import PAD, Batch
from nmt.data.corpus import test_texts
from nmt.errors import UserError
from nmt.eval.metrics import METRICS
from nmt.eval.significance import SignificanceTest, combined_p_value, compare
from nmt.models import MODELS
from nmt.models.attention import Memory
from nmt.models.attention.global_attention import GlobalAttention
from nmt.models.lstm.config import LSTMConfig
from nmt.models.lstm.encoder import LSTMEncoder
from nmt.models.lstm.model import LSTM
from nmt.models.ops.lstm_layer import LSTMState
from nmt.models.seq2seq import Output, Seq2Seq
from nmt.plugins import load_plugins
from nmt.runs.directory import Run
from nmt.settings import setting
from nmt.translate.loaded import LoadedModel

BATCH = 64  # sentences, in search
TRAINING = (
    *("model=padded", "model.attention=global", "threads=1", "optim.schedule=cosine", "optim.lr=0.004"),
    *("decode=greedy", "decode.precision=fp32", "logger.tensorboard=false", "logger.heatmaps=0"),
)
# By corpus; on Multi30k some three epochs.
SIZES = {
    "phrases": (
        *("model.hidden_size=96", "data.max_words=8", "data.test_size=500", "trainer.precision=fp32"),
        *("trainer.max_steps=1400", "trainer.validate_every=1400", "optim.decay_steps=1400", "optim.warmup=100"),
        *("data.batching.sentences=64",),
    ),
    "multi30k": (
        *("model.hidden_size=256", "model.dropout=0.2", "model.tied=all", "data.tokenizer.vocab_size=6000"),
        *("trainer.max_steps=600", "trainer.validate_every=600", "optim.decay_steps=600", "optim.warmup=60"),
        *("data.batching.sentences=128",),
    ),
}


class Fault(Enum):
    """Where padding leaks in."""

    none = "none"
    attention = "attention"  # the softmax of attention has no mask: positions of padding get weight
    encoder = "encoder"  # the LSTM reads padding as words: the backward direction begins with it
    loss = "loss"  # padding of the target is predicted, and the loss is the mean over all positions


@dataclass
class PaddedConfig(LSTMConfig):
    """an LSTM with global attention that forgets a mask"""

    name: str = "padded"
    fault: Fault = setting(Fault.none, "none; or attention, encoder or loss without its mask")

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> Seq2Seq:
        return PaddedLSTM(self, source_size, target_size, joint, label_smoothing)


class UnmaskedAttention(GlobalAttention):
    """Global attention that takes every position for a word."""

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        return super().prepare(values, torch.full_like(lengths, values.size(1)), queries, at_once)


class UnmaskedEncoder(LSTMEncoder):
    """An encoder that reads every position as a word: PAD's vector is zero, but the biases move the state."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[LSTMState]]:
        return super().forward(x, torch.full_like(lengths, x.size(0)))


class PaddedLSTM(LSTM):
    """The LSTM of this project, with the same first weights, and the faults of its configuration."""

    config: PaddedConfig

    def __init__(
        self, config: PaddedConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(config, source_size, target_size, joint, label_smoothing)
        # Only methods change, so that the first weights are those of the model without a fault.
        if config.fault is Fault.attention and self.decoder.attention is not None:
            self.decoder.attention.__class__ = UnmaskedAttention
        if config.fault is Fault.encoder:
            self.encoder.__class__ = UnmaskedEncoder

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        if not (self.training and self.config.fault is Fault.loss):
            return super().forward(batch, want_maps, r_drop, cutoff)
        T = batch.target_in.size(1)
        encoded = self.encode(batch.source, batch.source_lengths, 1, T)
        words = self.embed(self.target_embedding, batch.target_in.t())
        vectors, _ = self.decoder(words, encoded.start, encoded.memory, False)
        logits = self.projection(vectors).float().transpose(0, 1)
        nll = F.cross_entropy(logits.transpose(1, 2), batch.target_out, reduction="none")  # PAD a word like others
        real = batch.target_out != PAD
        tokens = real.sum()  # by which training divides
        return Output(nll.mean() * tokens, tokens, nll.detach() * real)


if __name__ != "__main__":  # as a plug-in
    MODELS[PaddedConfig] = PaddedLSTM


def in_random_order(lengths: np.ndarray, batches: float, rng: np.random.Generator) -> np.ndarray:
    """In the place of nmt.data.batching.noisy_order: sentences of all lengths share a batch."""
    return rng.permutation(lengths.shape[1]).astype(np.int32)


def trained(fault: Fault, seed: int, runs: Path, more: Sequence[str]) -> Run:
    """The run of a fault and a seed, trained where it is not there."""
    directory = runs / f"{fault.value}-{seed}"
    if not (directory / "scores").exists():
        corpus = next((word.removeprefix("data=") for word in more if word.startswith("data=")), "phrases")
        words = [*TRAINING, *SIZES.get(corpus, ()), f"model.fault={fault.value}", f"seed={seed}", *more]
        with patch("nmt.data.batching.noisy_order", in_random_order):
            nmt.train([f"plugins=[{Path(__file__)}]", *words, f"runs={runs}", f"name={directory.name}", "resume=true"])
    return Run.open(directory)


def translations(model: LoadedModel, sources: Sequence[str], together: int) -> list[str]:
    """Of the sources in their order, so many in a batch, padded to its longest."""
    batches = [list(sources[i : i + together]) for i in range(0, len(sources), together)]
    return [text for batch in batches for text in model.translate(batch)]


@dataclass(frozen=True)
class Found:
    """What one run translates, and how well."""

    batch: list[str]
    changed: float  # the share of sentences that get another translation alone
    in_batch: float  # BLEU
    alone: float


def looked_at(run: Run) -> Found:
    """Translate the test set in batches and sentence by sentence."""
    model = nmt.load(run.directory, device="cpu")
    [text] = test_texts(run.config.data)
    batch, alone = (translations(model, text.source, n) for n in (BATCH, 1))
    different = mean(a != b for a, b in zip(batch, alone, strict=True))
    return Found(batch, different, *(bleu(hypotheses, text.target) for hypotheses in (batch, alone)))


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """sacreBLEU's, of German."""
    return METRICS["bleu"].corpus("de").corpus_score(hypotheses, [references]).score


def row(fault: Fault, found: Sequence[Found], right: Sequence[Found], references: Sequence[str]) -> str:
    """A line of the table: BLEU, the paired test against the right model, and what the batch changes."""
    p_values, differences = [], []
    for bad, good in zip(found, right, strict=True):
        systems = [("right", good.batch), (fault.value, bad.batch)]
        [test] = compare(systems, references, ["bleu"], "de", [SignificanceTest.ar])
        p_values.append(test.rows[1].p_value or 0.0)
        differences.append(test.rows[1].value - test.rows[0].value)
    cells = [fault.value, spread([f.in_batch for f in found]), spread([f.alone for f in found])]
    cells += [f"{mean(differences):+.2f}", f"{combined_p_value(p_values, differences):.4f}"]
    if fault is Fault.none:
        cells[-2:] = ["", ""]
    return "| " + " | ".join([*cells, f"{mean(f.changed for f in found):.1%}"]) + " |"


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def faults(text: str) -> list[Fault]:
    """What --faults names."""
    return [Fault(name) for name in text.split(",")]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/padding"), help="folder of the runs (%(default)s)")
    parser.add_argument("--seeds", default="1,2,3", help="(%(default)s)")
    parser.add_argument("--faults", type=faults, default=",".join(f.value for f in Fault), help="rows (%(default)s)")
    parser.add_argument("--only", choices=[fault.value for fault in Fault], help="train this one, and print no table")
    parser.add_argument("more", nargs="*", help="KEY=VALUE of nmt.train, after those of this file")
    given = parser.parse_intermixed_args()  # options may stand among the words
    load_plugins([__file__])  # for runs that were trained before
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if given.only:
        for seed in seeds:
            trained(Fault(given.only), seed, given.runs, given.more)
        return
    rows = list(dict.fromkeys([Fault.none, *given.faults]))
    runs = {fault: [trained(fault, seed, given.runs, given.more) for seed in seeds] for fault in rows}
    found = {fault: [looked_at(run) for run in runs[fault]] for fault in rows}
    references = test_texts(runs[Fault.none][0].config.data)[0].target
    print(f"| fault | BLEU, batches of {BATCH} | BLEU, one by one | difference | p | other translation alone |")
    print("|---|---|---|---|---|---|")
    for fault in rows:
        print(row(fault, found[fault], found[Fault.none], references))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
