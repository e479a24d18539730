"""A model and a data stream as small as the protocols allow."""

import random
from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.batch import PAD, Batch, collate
from nmt.models.seq2seq import Output, Seq2Seq
from nmt.train.distributed import Ranks

WORDS = 11


class FakeModel(Seq2Seq):
    """Predicts each word from the mean of the source and the word before."""

    source_eos = False
    target_size = WORDS

    def __init__(self, *, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 6, dtype=dtype)
        self.hidden = nn.Linear(6, 6, dtype=dtype)
        self.project = nn.Linear(6, WORDS, dtype=dtype)
        self.dropout = dropout
        self.poison = False  # whether the next losses are not finite
        self.calls = 0

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        self.calls += 1
        real = (batch.source != PAD)[..., None]
        source = (self.embed(batch.source) * real).sum(1) / batch.source_lengths[:, None]
        hidden = torch.tanh(self.hidden(source[:, None] + self.embed(batch.target_in)))
        hidden = F.dropout(hidden, self.dropout, self.training)
        loss = F.cross_entropy(
            self.project(hidden).mT, batch.target_out, ignore_index=PAD, reduction="none", label_smoothing=0.1
        )
        nll = F.cross_entropy(self.project(hidden).mT, batch.target_out, ignore_index=PAD, reduction="none").detach()
        total = loss.sum() * float("nan") if self.poison else loss.sum()
        return Output(total, (batch.target_out != PAD).sum(), nll)


class FakeBatches:
    """``count`` batches an epoch, in an order that is a function of seed and epoch; ranks share each batch's rows."""

    def __init__(self, count: int = 7, *, sentences: int = 4, seed: int = 1, rank: int = 0, size: int = 1) -> None:
        generator = random.Random(seed)
        self.batches = [fake_batch(generator, sentences) for _ in range(count)]
        self.seed, self.rank, self.size = seed, rank, size
        self.epoch = self.batch = 0

    @property
    def progress(self) -> float:
        return self.epoch + self.batch / len(self.batches)

    def __iter__(self) -> Generator[Batch, None, None]:
        while True:
            order = random.Random(f"{self.seed} {self.epoch}").sample(self.batches, len(self.batches))
            batch = order[self.batch]
            self.batch += 1
            if self.batch == len(order):
                self.epoch, self.batch = self.epoch + 1, 0
            yield rows(batch, slice(self.rank, None, self.size))

    def longest(self) -> Batch:
        return max(self.batches, key=lambda b: b.target_out.numel())

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]


def fake_batch(generator: random.Random, sentences: int) -> Batch:
    """Sentences of 1 to 6 words, target somewhat like source."""
    sources = [[generator.randrange(4, WORDS) for _ in range(generator.randint(1, 6))] for _ in range(sentences)]
    return collate(sources, [s[::-1] for s in sources], list(range(sentences)))


def rows(batch: Batch, part: slice) -> Batch:
    """Some sentences of a batch; padding stays."""
    return Batch(
        *(getattr(batch, name)[part] for name in ("source", "source_lengths", "target_in", "target_out", "ids"))
    )


def weights(model: nn.Module) -> Tensor:
    """All parameters in one row, copied."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gradients(model: nn.Module) -> Tensor:
    """All gradients in one row."""
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )


class OneOfTwo(Ranks):
    """A rank without the other: knows what the two have in total, and averages nothing."""

    def __init__(self, rank: int, total: float) -> None:
        super().__init__(rank, 2)
        object.__setattr__(self, "total", total)

    def wrap(self, model, device):
        return model

    def sum(self, *values):
        return [self.total]  # pyright: ignore[reportAttributeAccessIssue]


class HostReads(TorchDispatchMode):
    """Counts how often a tensor's value is brought to Python: on an accelerator each would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
