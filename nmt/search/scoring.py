"""Forced decoding: what a model says of given translations, which it reads instead of searching for its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.batch import Batch, collate
from nmt.device import Precision, autocast, limits_explained, resolve_precision
from nmt.models.seq2seq import AttentionMaps, Seq2Seq
from nmt.search.batches import evaluating
from nmt.search.config import DecodeConfig
from nmt.search.penalty import coverage_penalty, length_score
from nmt.search.request import attention_received

# Padded tokens of a batch, as data.batching.tokens counts them.  No result depends on it but through rounding.
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ForcedOptions:
    """Where, how precisely and in how large batches a model reads given translations."""

    device: torch.device  # the model's
    precision: Precision = Precision.auto  # int8, which is of search alone, reads them in fp32
    batch_tokens: int = BATCH_TOKENS


class Forced(NamedTuple):
    """One given target y_1 ... y_n with y_(n+1) = end-of-sentence, under the model."""

    token_log_probs: Tensor  # (n + 1,) float64, on the CPU: log p(y_t | y_1 ... y_(t-1), source), natural logarithm
    log_prob: float  # their sum, log P(y | source)
    maps: AttentionMaps | None  # of this pair alone, on the CPU; where they were asked for and the model has attention
    posterior: AttentionMaps | None = None  # with the maps, of a latent alignment (``Output.posterior``)

    @property
    def alignment(self) -> AttentionMaps | None:
        """The maps that best say where each word comes from: the posterior, which has seen it, where there is one."""
        return self.maps if self.posterior is None else self.posterior


@dataclass(frozen=True)
class Scored:
    """One given target y_1 ... y_n with y_(n+1) = end-of-sentence, and what search would rank it by."""

    tokens: list[float]  # log p(y_t | y_1 ... y_(t-1), source), end-of-sentence's last
    log_prob: float  # their sum
    score: float  # with the penalties of the configuration (nmt/search/penalty.py)


@torch.no_grad()
def force_decode(
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    options: ForcedOptions,
    want_maps: bool = False,
) -> Iterator[tuple[int, Forced]]:
    """Each pair of ids (without BOS and EOS) under the model: yields its index and result, long pairs first.

    The pairs go through ``model.forward`` in batches; a pair longer than ``options.batch_tokens`` makes a batch of its
    own.  The model must be in eval mode (see ``evaluating``).  Raises ConfigError where memory runs out.
    """
    precision = resolve_precision(options.precision, options.device)
    for ids in batches(sources, targets, options.batch_tokens):
        batch = collate([list(sources[i]) for i in ids], [list(targets[i]) for i in ids], ids)
        with limits_explained(options.device, partial(describe_pairs, batch)), autocast(precision, options.device):
            output = model(batch.to(options.device), want_maps=want_maps)
        log_probs = -output.nll.double()
        log_prob, log_probs = log_probs.sum(1).tolist(), log_probs.cpu()
        found = [None if maps is None else maps.cpu() for maps in (output.maps, output.posterior)]
        for row, i in enumerate(ids):
            T, S = len(targets[i]) + 1, max(len(sources[i]), 1) + model.source_eos
            maps, posterior = (None if maps is None else maps.of_sentence(row, T, S) for maps in found)
            yield i, Forced(log_probs[row, :T], log_prob[row], maps, posterior)


def score_ids(
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[Sequence[int]]],
    config: DecodeConfig,
    device: torch.device,
    precision: Precision | None = None,
) -> list[list[Scored]]:
    """Score one or several targets (ids without BOS and EOS) for each source, in their order.

    ``precision`` overrides ``config.precision``.  Nothing is forbidden: rules of ``config`` such as a minimum length do
    not apply, its penalties do.  Raises ConfigError for a coverage penalty without attention, and where memory runs
    out.  The model's mode is put back afterwards.
    """
    pairs = [(source, target) for source, row in zip(sources, targets, strict=True) for target in row]
    scored: dict[int, Scored] = {}
    with evaluating(model):
        for i, forced in force_decode(
            model,
            [source for source, _ in pairs],
            [target for _, target in pairs],
            ForcedOptions(device, precision or config.precision),
            want_maps=config.coverage > 0,
        ):
            words = max(len(pairs[i][0]), 1)
            scored[i] = Scored(forced.token_log_probs.tolist(), forced.log_prob, score(forced, words, config))
    in_order = iter(range(len(pairs)))
    return [[scored[next(in_order)] for _ in row] for row in targets]


def score(forced: Forced, words: int, config: DecodeConfig) -> float:
    """What search would rank the target by, of which the source has so many ``words``."""
    log_prob = torch.tensor(forced.log_prob, dtype=torch.float64)
    result = length_score(log_prob, len(forced.token_log_probs), config)
    if config.coverage > 0:
        one = None if forced.maps is None else AttentionMaps(forced.maps.weights[None])
        received = attention_received(one, words).sum(1, keepdim=True)  # over the target's positions: (1, 1, words)
        result = result + coverage_penalty(received, torch.ones(1, words, dtype=torch.bool), config)
    return result.item()


def batches(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], batch_tokens: int
) -> Iterator[list[int]]:
    """Indices of the pairs in batches of like length, the longest first.

    sentences * max(longest source, longest target + 1) is at most ``batch_tokens``, unless the batch is a single pair.
    """
    sizes = [max(len(s), len(t) + 1) for s, t in zip(sources, targets, strict=True)]
    batch: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -len(targets[i]), i)):
        if batch and (len(batch) + 1) * sizes[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def describe_pairs(batch: Batch) -> str:
    """What it is that does not fit in memory, and what to do."""
    (B, S), T = batch.source.shape, batch.target_out.size(1)
    return (
        f"{B} x ({S} + {T}) given sentences x (source + target positions); free memory there or leave out the longest"
    )
