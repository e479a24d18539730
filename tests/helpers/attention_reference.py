"""Attention written straight from the papers' equations, one scalar at a time: no masks, no batches, no gathers."""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nmt.models.attention import (
    Attention,
    AttentionConfig,
    BahdanauConfig,
    Centre,
    ConcatSource,
    FixedMemoryConfig,
    Gaussian,
    GlobalConfig,
    LocalMConfig,
    LocalPConfig,
    Shares,
    Sigma,
    build_attention,
)

Scalars = list[Tensor]


def dot(a: Scalars, b: Scalars) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total


def times(matrix: Tensor, vector: Scalars) -> Scalars:
    return [dot(list(row.unbind()), vector) for row in matrix.unbind()]


def softmax(scores: Scalars) -> Scalars:
    highest = max(s.item() for s in scores)
    terms = [torch.exp(s - highest) for s in scores]
    total = dot(terms, [torch.ones(()) for _ in terms])
    return [t / total for t in terms]


def sparsemax(scores: Scalars) -> Scalars:
    """max(z - tau, 0), from the definition: tau as it is for the support whose members alone lie above it."""
    for k in range(len(scores), 0, -1):
        best = sorted(scores, key=Tensor.item, reverse=True)[:k]
        tau = (dot(best, [torch.ones(())] * k) - 1) / k
        if best[-1] > tau:
            return [torch.clamp(z - tau, min=0) for z in scores]
    raise AssertionError


def entmax15(scores: Scalars) -> Scalars:
    """max(z/2 - tau, 0)^2, likewise: sum over the support of (z/2 - tau)^2 = 1 is a quadratic equation for tau."""
    halves = [z / 2 for z in scores]
    for k in range(len(scores), 0, -1):
        best = sorted(halves, key=Tensor.item, reverse=True)[:k]
        mean = dot(best, [torch.ones(())] * k) / k
        deviations = [z - mean for z in best]
        free = 1 - dot(deviations, deviations)
        if free >= 0 and best[-1] > (tau := mean - torch.sqrt(free / k)):
            return [torch.clamp(z - tau, min=0) ** 2 for z in halves]
    raise AssertionError


NORMALIZERS = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15}


def score(module: Attention, config: AttentionConfig, q: Scalars, h: Scalars, row: int) -> Tensor:
    parameters = dict(module.named_parameters())
    if isinstance(config, BahdanauConfig) or config.score == "concat":  # pyright: ignore[reportAttributeAccessIssue]
        identity = getattr(config, "concat_source", None) is ConcatSource.identity
        right = h if identity else times(parameters["score.key.weight"], h)
        left = times(parameters["score.query.weight"], q)
        hidden = [torch.tanh(x + y) for x, y in zip(left, right, strict=True)]
        return dot(list(parameters["score.energy.weight"][0].unbind()), hidden)
    assert isinstance(config, GlobalConfig | LocalMConfig)
    if config.score == "general":
        return dot(q, times(parameters["score.project.weight"], h))
    if config.score == "location":
        return dot(list(parameters["score.rows.weight"][row].unbind()), q)
    return dot(q, h) / (math.sqrt(len(q)) if config.score == "scaled_dot" else 1.0)


def attend(
    module: Attention, config: AttentionConfig, q: Tensor, words: Tensor, position: int
) -> tuple[list[Tensor], Tensor]:
    """Weights over the words (S, M), padding left out, and the context, for one query (Q,)."""
    query, memory = list(q.unbind()), [list(h.unbind()) for h in words.unbind()]
    if isinstance(config, FixedMemoryConfig):
        return fixed_memory(dict(module.named_parameters()), config, query, memory)
    S = len(memory)
    window, offset = list(range(S)), 0
    gauss: Scalars | None = None
    p: Tensor | float = 0.0
    sigma: Tensor | float = 1.0
    if isinstance(config, LocalMConfig):
        D, centre = config.half_width, min(position, S - 1)
        if isinstance(config, LocalPConfig):
            parameters = dict(module.named_parameters())
            hidden = [torch.tanh(x) for x in times(parameters["predict.hidden.weight"], query)]
            energy = dot(list(parameters["predict.energy.weight"][0].unbind()), hidden)
            if config.centre is Centre.diagonal:
                share = (min(position, S - 1) + 0.5) / S
                energy = energy + math.log(share / (1 - share))
            p = S / (1 + torch.exp(-energy))
            centre = min(math.floor(p.item()), S - 1)
            learned = config.sigma is Sigma.learned
            sigma = torch.exp(parameters["predict.log_sigma"]) if learned else D / 2
            gauss = [torch.exp(-((s - p) ** 2) / (2 * sigma**2)) for s in range(S)]
        window = [s for s in range(S) if abs(s - centre) <= D]
        offset = D - centre
    scores = [score(module, config, query, memory[s], s + offset) for s in window]
    if gauss is not None and isinstance(config, LocalPConfig) and config.renormalize:
        scores, gauss = [x * gauss[s] for x, s in zip(scores, window, strict=True)], None
    if gauss is not None and isinstance(config, LocalPConfig) and config.gaussian is Gaussian.bias:
        scores, gauss = [x - (s - p) ** 2 / (2 * sigma**2) for x, s in zip(scores, window, strict=True)], None
    weights = [torch.zeros((), dtype=torch.float64) for _ in range(S)]
    normalize = NORMALIZERS[config.normalizer]  # pyright: ignore[reportAttributeAccessIssue]
    for s, a in zip(window, normalize(scores), strict=True):
        weights[s] = a if gauss is None else a * gauss[s]
    return weights, torch.stack([dot(weights, [h[m] for h in memory]) for m in range(words.size(1))])


def fixed_memory(
    parameters: Mapping[str, Tensor], config: FixedMemoryConfig, query: Scalars, memory: list[Scalars]
) -> tuple[Scalars, Tensor]:
    """The same for a memory of K vectors, which are made first."""
    K, S, normalize = config.vectors, len(memory), NORMALIZERS[config.normalizer]
    scores = [times(parameters["share.weight"], h) for h in memory]
    if config.position_encoding:
        for s, k in itertools.product(range(S), range(K)):
            scores[s][k] = scores[s][k] * ((1 - (k + 1) / K) * (1 - (s + 1) / S) + (k + 1) / K * (s + 1) / S)
    if config.shares is Shares.of_vector:
        shares = list(zip(*(normalize([row[k] for row in scores]) for k in range(K)), strict=True))
    else:
        shares = [normalize(row) for row in scores]
    vectors = [
        [dot([row[k] for row in shares], [h[m] for h in memory]) for m in range(len(memory[0]))] for k in range(K)
    ]
    beta = normalize(times(parameters["query.weight"], query))
    context = torch.stack([dot(beta, [v[m] for v in vectors]) for m in range(len(memory[0]))])
    return [dot(beta, list(row)) for row in shares], context


def attend_all(
    module: Attention, config: AttentionConfig, query: Tensor, values: Tensor, lengths: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights (B, N, S) and contexts (B, N, M)."""
    B, N, S = query.size(0), query.size(1), values.size(1)
    position = position.expand(B, N)
    weights, contexts = [], []
    for b in range(B):
        length = int(lengths[b])
        for n in range(N):
            found, context = attend(module, config, query[b, n], values[b, :length], int(position[b, n]))
            weights.append(torch.stack(found + [torch.zeros((), dtype=torch.float64)] * (S - length)))
            contexts.append(context)
    return torch.stack(weights).view(B, N, S), torch.stack(contexts).view(B, N, -1)


def build(config: AttentionConfig, size: int = 4, std: float = 1.0, seed: int = 0) -> Attention:
    """A float64 module with large weights, so that windows move and softmaxes are peaked."""
    module = build_attention(config, size, size)
    assert module is not None
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.double().named_parameters():
        if name != "predict.log_sigma":
            torch.nn.init.normal_(parameter, std=std, generator=generator)
    return module
