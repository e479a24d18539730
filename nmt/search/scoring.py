"""What a model says of given translations: forced decoding through the same steps that search takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.batch import BOS, EOS, PAD, pad
from nmt.device import Precision
from nmt.models.seq2seq import AttentionMaps, Seq2Seq
from nmt.search.batches import in_batches
from nmt.search.config import DecodeConfig
from nmt.search.penalty import coverage_penalty, length_score
from nmt.search.request import attention_received, log_probabilities


@dataclass(frozen=True)
class Scored:
    """One given target sentence y_1 ... y_n with y_(n+1) = EOS."""

    tokens: list[float]  # log P(y_i | y_1 ... y_(i-1), source), end-of-sentence's last
    log_prob: float  # their sum
    score: float  # what search would rank it by
    weights: Tensor | None = None  # (layers, heads, n + 1, S) float32, on the CPU
    centre: Tensor | None = None  # (layers, heads, n + 1)


@torch.inference_mode()
def score_ids(
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[Sequence[int]]],
    config: DecodeConfig,
    device: torch.device,
    precision: Precision | None = None,
    want_maps: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[list[Scored]]:
    """Score one or several targets (ids without BOS and EOS) for each source, which is encoded once.

    Nothing is forbidden: rules of ``config`` such as a minimum length do not apply, its penalties do.
    """

    def work(chosen: list[int], source: Tensor, lengths: Tensor) -> list[list[Scored]]:
        return score(model, source, lengths, [targets[i] for i in chosen], config, want_maps)

    return in_batches(work, model, sources, config, device, precision, progress)


@torch.inference_mode()
def score(
    model: Seq2Seq,
    source: Tensor,
    lengths: Tensor,
    targets: Sequence[Sequence[Sequence[int]]],
    config: DecodeConfig,
    want_maps: bool = False,
) -> list[list[Scored]]:
    """The same for one batch: source (B, S), lengths (B,), and at least one target for each source."""
    B, K = len(targets), max(len(row) for row in targets)
    flat = [list(row[k]) if k < len(row) else [] for row in targets for k in range(K)]
    before = pad([[BOS, *ids] for ids in flat]).to(source.device).unflatten(0, (B, K))
    after = pad([[*ids, EOS] for ids in flat]).to(source.device).unflatten(0, (B, K))
    state = model.start(model.encode(source, lengths, K))
    if K > 1:
        state = state.reorder(torch.zeros(B, K, dtype=torch.int64, device=source.device))
    log_probs, recorded = [], []
    received = torch.zeros(B, K, source.size(1), dtype=torch.float64, device=source.device)
    for t in range(after.size(2)):
        logits, state, maps = model.step(before[:, :, t], state, want_maps or config.coverage > 0)
        log_probs.append(log_probabilities(logits).gather(2, after[:, :, t, None]).squeeze(2))
        if config.coverage > 0:
            received = received + attention_received(maps, source.size(1)) * (after[:, :, t, None] != PAD)
        if maps is not None:
            recorded.append(maps)
    tokens = torch.stack(log_probs, dim=2).double().masked_fill(after == PAD, 0.0)
    log_prob = tokens.sum(2)
    scores = length_score(log_prob, (after != PAD).sum(2), config)
    if config.coverage > 0:
        real = torch.arange(source.size(1), device=source.device) < lengths[:, None]
        scores = scores + coverage_penalty(received, real, config)
    weights, centre = stack(recorded) if want_maps and recorded else (None, None)
    positions = (lengths + model.source_eos).tolist()
    tokens, log_prob, scores = tokens.tolist(), log_prob.tolist(), scores.tolist()
    return [
        [
            Scored(
                tokens[b][k][: len(row[k]) + 1],
                log_prob[b][k],
                scores[b][k],
                None if weights is None else weights[b, k, :, :, : len(row[k]) + 1, : positions[b]].clone(),
                None if centre is None else centre[b, k, :, :, : len(row[k]) + 1].clone(),
            )
            for k in range(len(row))
        ]
        for b, row in enumerate(targets)
    ]


def stack(recorded: list[AttentionMaps]) -> tuple[Tensor, Tensor | None]:
    """The maps of all steps: weights (B, K, layers, heads, T, S) and centres (B, K, layers, heads, T), on the CPU."""
    weights = torch.stack([maps.weights.float().cpu() for maps in recorded], dim=4).permute(0, 3, 1, 2, 4, 5)
    centres = [maps.centre.float().cpu() for maps in recorded if maps.centre is not None]
    return weights, torch.stack(centres, dim=4).permute(0, 3, 1, 2, 4) if centres else None
