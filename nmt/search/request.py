"""A batch of sentences to translate, and what every kind of search does with a step's output."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.errors import ConfigError, UserError
from nmt.models.seq2seq import AttentionMaps
from nmt.search.config import NO_COVERAGE, DecodeConfig
from nmt.search.rules import Rules, build_rules

# On CUDA, looking whether sentences are done stops the queue of kernels: it is done every so many steps, and
# the batch shrinks when a quarter of it is done.  On the CPU looking is free and shrinking pays at an eighth.
CUDA_CHECK_STEPS, CUDA_DONE_SHARE, CPU_DONE_SHARE = 8, 1 / 4, 1 / 8
PIECE = 64  # of a row, in ``largest``; a multiple of the widest vector registers


@dataclass(frozen=True)
class Request:
    """B source sentences to be translated, with the limits and forced beginnings of their translations."""

    source: Tensor  # (B, S)
    lengths: Tensor  # (B,)
    numbers: Sequence[int]  # the sentences' places in the corpus, which seed their draws
    sizes: Sequence[int]  # ``lengths`` as numbers
    limits: Sequence[int]  # most target tokens
    most: Tensor  # (B,) the same as a tensor
    rules: Rules

    @property
    def longest(self) -> int:
        """The largest limit of the batch."""
        return max(self.limits)

    @property
    def real(self) -> Tensor:
        """(B, S): which source positions hold words."""
        return torch.arange(self.source.size(1), device=self.source.device) < self.lengths[:, None]


def make_request(
    source: Tensor,
    lengths: Tensor,
    config: DecodeConfig,
    prefixes: Sequence[Sequence[int]] | None = None,
    numbers: Sequence[int] | None = None,
    longest_target: int | None = None,
) -> Request:
    """The request for a batch.  A forced beginning longer than the limit raises the limit to its length.

    No limit is beyond what a model reads of which ``longest_target`` is known (``Seq2Seq.longest_target``).
    """
    sizes = lengths.tolist()
    bounds = [config.lengths(size) for size in sizes]
    if longest_target is not None:  # whose first position is BOS's
        bounds = [(min(least, longest_target - 1), min(most, longest_target - 1)) for least, most in bounds]
    if prefixes is not None:
        bounds = [(least, max(most, len(prefix))) for (least, most), prefix in zip(bounds, prefixes, strict=True)]
    limits = [most for _, most in bounds]
    return Request(
        source,
        lengths,
        range(len(sizes)) if numbers is None else numbers,
        sizes,
        limits,
        torch.tensor(limits, device=source.device),
        build_rules(config, bounds, prefixes, source.device),
    )


def log_probabilities(logits: Tensor) -> Tensor:
    """log p (B, K, V) in at least float32.

    The whole log-softmax: torch makes it in one pass a row that stays in the cache, in little more than half the
    time of logsumexp, which would suffice.
    """
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest along the last axis, falling, and their places, as ``topk``, which takes 2 to 4 times as long.

    The row is cut into pieces.  The k pieces with the largest maxima hold the k largest elements: an element of any
    other piece is at most its maximum, and so at most k elements that are in those pieces.
    """
    V = values.size(-1)
    pieces, rest = divmod(V, PIECE)
    if values.device.type != "cpu" or 4 * (k * PIECE + pieces) > V:
        found = values.topk(k, dim=-1)
        return found.values, found.indices
    body = values[..., : V - rest].unflatten(-1, (pieces, PIECE))
    chosen = body.amax(-1).topk(k, dim=-1, sorted=False).indices  # (..., k)
    parts = body.gather(-2, chosen[..., None].expand(*chosen.shape, PIECE)).flatten(-2)
    found = torch.cat([parts, values[..., V - rest :]], dim=-1).topk(k, dim=-1)
    piece = torch.cat([chosen, torch.full_like(chosen[..., :1], pieces)], dim=-1).gather(-1, found.indices // PIECE)
    return found.values, piece * PIECE + found.indices % PIECE


def attention_received(maps: AttentionMaps | None, words: int) -> Tensor:
    """Mean weight over layers and heads of each of the first ``words`` source positions: (B, N, words) float64.

    Raises ConfigError for the maps of a model that has none.
    """
    if maps is None:
        raise ConfigError(NO_COVERAGE)
    mean = maps.weights.double().mean((1, 2))
    return F.pad(mean, (0, words - mean.size(-1)))


def survivors(done: Tensor, step: int) -> Tensor | None:
    """Rows to go on with, where it pays to shrink the batch to those that are not ``done`` (B,); else None."""
    on_cpu = done.device.type == "cpu"
    if not on_cpu and step % CUDA_CHECK_STEPS != CUDA_CHECK_STEPS - 1:
        return None
    if int(done.sum()) < len(done) * (CPU_DONE_SHARE if on_cpu else CUDA_DONE_SHARE):
        return None
    return (~done).nonzero().squeeze(1)


def no_hypothesis(number: int) -> UserError:
    """The error for a sentence that no search can translate."""
    return UserError(f"no translation found for sentence {number + 1}: the model's probabilities are not finite")
