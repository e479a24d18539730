"""Attention that knows where it has been, from the papers' equations: one scalar and one target position at a time."""

import math
from collections.abc import Mapping

import torch
from attention_reference import NORMALIZERS, Scalars, dot, score, softmax, times
from torch import Tensor

from nmt.models.attention import (
    Attention,
    AttentionConfig,
    CoverageConfig,
    LocationAwareConfig,
    MixtureForm,
    MixtureWindowConfig,
    MonotonicConfig,
    StructuralConfig,
    TemporalConfig,
)

ZERO = torch.zeros((), dtype=torch.float64)


def around(weights: Scalars, s: int, reach: int) -> Scalars:
    return [weights[r] if 0 <= r < len(weights) else ZERO for r in range(s - reach, s + reach + 1)]


def features(
    parameters: Mapping[str, Tensor], config: AttentionConfig, memory: list[Scalars], rows: list[Scalars], s: int
) -> Scalars:
    """f_{t,s}, with the weights ``rows`` of the target positions before t."""
    S, t = len(memory), len(rows)
    previous = rows[-1] if rows else [ZERO] * S
    cumulated = [dot([row[r] for row in rows], [torch.ones(())] * t) for r in range(S)]
    if isinstance(config, CoverageConfig):
        if config.max_fertility is None:
            return [cumulated[s]]
        fertility = config.max_fertility / (1 + torch.exp(-dot(list(parameters["fertility.weight"][0]), memory[s])))
        return [cumulated[s] / fertility]
    if isinstance(config, LocationAwareConfig):
        return times(parameters["filters.weight"], around(previous, s, config.filter_reach))
    assert isinstance(config, StructuralConfig)
    found: Scalars = []
    if config.position:
        found += [torch.tensor(math.log(1 + n), dtype=torch.float64) for n in (t + 1, s + 1, S)]
    if config.markov:
        found += around(previous, s, config.neighbours)
    if config.fertility:
        found += around(cumulated, s, config.neighbours)
    return found


def additive_row(
    parameters: Mapping[str, Tensor],
    config: AttentionConfig,
    query: Scalars,
    memory: list[Scalars],
    rows: list[Scalars],
) -> Scalars:
    scores = []
    for s, h in enumerate(memory):
        terms = (
            times(parameters["score.query.weight"], query),
            times(parameters["score.key.weight"], h),
            times(parameters["features.weight"], features(parameters, config, memory, rows, s)),
        )
        hidden = [torch.tanh(x + y + z) for x, y, z in zip(*terms, strict=True)]
        scores.append(dot(list(parameters["score.energy.weight"][0]), hidden))
    return NORMALIZERS[config.normalizer](scores)  # pyright: ignore[reportAttributeAccessIssue]


def temporal_scores(module: Attention, config: TemporalConfig, query: Scalars, memory: list[Scalars]) -> Scalars:
    return [score(module, config, query, h, s) for s, h in enumerate(memory)]


def temporal_row(config: TemporalConfig, before: list[Scalars], scores: Scalars) -> Scalars:
    """``before``: the scores of the target positions before."""
    if before:
        sums = [dot([torch.exp(e[s]) for e in before], [torch.ones(())] * len(before)) for s in range(len(scores))]
        scores = [e - torch.log(x) for e, x in zip(scores, sums, strict=True)]
    return NORMALIZERS[config.normalizer](scores)


def monotonic_row(
    module: Attention, config: MonotonicConfig, query: Scalars, memory: list[Scalars], before: Scalars
) -> tuple[Scalars, Scalars]:
    """The weights, and where the walk stops; hard where the module is evaluated."""
    parameters, K, w = dict(module.named_parameters()), config.hidden_size, config.chunk
    hidden = [
        [torch.tanh(x + y) for x, y in zip(times(parameters["query.weight"], query), key, strict=True)]
        for key in (times(parameters["key.weight"], h) for h in memory)
    ]
    v = list(parameters["energy.weight"][0])
    length = torch.sqrt(dot(v, v))
    e = [parameters["gain"] * dot(v, x[:K]) / length + parameters["offset"] for x in hidden]
    p = [1 / (1 + torch.exp(-x)) for x in e]
    if not module.training:
        p = [torch.ones_like(x) if x > 0 else torch.zeros_like(x) for x in e]
    stopped = []
    for s in range(len(memory)):
        arrived = ZERO
        for k in range(s + 1):
            passed = before[k]
            for x in p[k:s]:
                passed = passed * (1 - x)
            arrived = arrived + passed
        stopped.append(p[s] * arrived)
    if w == 1:
        return stopped, stopped
    u = [torch.exp(dot(list(parameters["energy.weight"][1]), x[K:])) for x in hidden]
    row = [ZERO] * len(memory)
    for k, a in enumerate(stopped):
        chunk = range(max(0, k - w + 1), k + 1)
        total = dot([u[s] for s in chunk], [torch.ones(())] * len(chunk))
        for s in chunk:
            row[s] = row[s] + a * u[s] / total
    return row, stopped


def mixture_row(
    parameters: Mapping[str, Tensor], config: MixtureWindowConfig, query: Scalars, means: Scalars, S: int
) -> tuple[Scalars, Scalars]:
    """The weights, and the means of this target position."""
    inner = zip(times(parameters["hidden.weight"], query), parameters["hidden.bias"], strict=True)
    out = times(parameters["parameters_of.weight"], [torch.tanh(x + b) for x, b in inner])
    K = config.components
    w, d, r = out[:K], out[K : 2 * K], out[2 * K :]
    if config.form is MixtureForm.graves:
        means = [m + torch.exp(x) for m, x in zip(means, d, strict=True)]
    else:
        means = [m + torch.log(1 + torch.exp(x)) for m, x in zip(means, d, strict=True)]
    row = []
    for s in range(S):
        total = ZERO
        for k in range(K):
            distance = (s + 1 - means[k]) ** 2
            if config.form is MixtureForm.graves:
                total = total + torch.exp(w[k]) * torch.exp(-torch.exp(r[k]) * distance)
            else:
                width = torch.log(1 + torch.exp(r[k]))
                height = softmax(w)[k] / torch.sqrt(2 * math.pi * width**2)
                total = total + height * torch.exp(-distance / (2 * width**2))
        row.append(total)
    return row, means


def attend_in_turn(
    module: Attention, config: AttentionConfig, query: Tensor, values: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights (B, T, S) and contexts (B, T, M) of T successive target positions, queries (B, T, Q)."""
    parameters = dict(module.named_parameters())
    weights, contexts = [], []
    for b, length in enumerate(lengths.tolist()):
        memory = [list(h.unbind()) for h in values[b, :length].unbind()]
        rows: list[Scalars] = []
        scores: list[Scalars] = []
        stopped = [ZERO + 1, *([ZERO] * (length - 1))]
        means = [ZERO] * getattr(config, "components", 0)
        for q in query[b].unbind():
            if isinstance(config, MixtureWindowConfig):
                row, means = mixture_row(parameters, config, list(q.unbind()), means, length)
            elif isinstance(config, MonotonicConfig):
                row, stopped = monotonic_row(module, config, list(q.unbind()), memory, stopped)
            elif isinstance(config, TemporalConfig):
                new = temporal_scores(module, config, list(q.unbind()), memory)
                row = temporal_row(config, scores, new)
                scores.append(new)
            else:
                row = additive_row(parameters, config, list(q.unbind()), memory, rows)
            rows.append(row)
            contexts.append(torch.stack([dot(row, [h[m] for h in memory]) for m in range(values.size(2))]))
            weights.append(torch.stack(row + [ZERO] * (values.size(1) - length)))
    B, T = query.shape[:2]
    return torch.stack(weights).view(B, T, -1), torch.stack(contexts).view(B, T, -1)
