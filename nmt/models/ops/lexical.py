"""Loss of a mixture of what single source words predict, some sentences at a time, without all of its logits.

    p(y_t) = sum_s a_ts p(y_t | s),   p(. | s) = softmax(W v_s + b)

with a the attention weights, which sum to 1, and v_s a vector of source position s that no target position has a part
in.  A sentence so has S V logits, where a mixture of predictions (mixture.py) has as many for each of T target
positions.  Beside it stands the same with other weights a'_ts that are given, times ``factor``.

The gradient is that of expectation maximization.  With the posteriors r_ts = a_ts p(y_t | s) / p(y_t) and r'_ts, those
of the other weights, and n_ts = r_ts + factor r'_ts the expected number of times that s has made y_t,

    dL / d(W v_s + b)_v = p(v | s) sum_t n_ts - sum_{t: y_t = v} n_ts,    dL / da_ts = -r_ts / a_ts

Logits and what is made of them live only until the loss of their chunk and its gradients are taken, in the forward
pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt.batch import PAD
from nmt.models.ops.cross_entropy import CACHED_LOGITS, CHUNK_LOGITS, keep_gradients, kept_gradients
from nmt.models.ops.matmul import linear, weight_gradient
from nmt.models.ops.precision import compute_dtype


class LexicalLoss(NamedTuple):
    """Of a batch of B sentences with T target and S source positions."""

    loss_sum: Tensor  # () sum_t -log p(y_t) - factor log p'(y_t), p' that of the other weights; differentiable
    nll: Tensor  # (B, T) -log p(y), float32 or wider, detached, 0 at padding
    posterior: Tensor  # (B, T, S) r, float32 or wider, detached, 0 at padding


def lexical_cross_entropy(
    vectors: Tensor,
    weights: Tensor,
    others: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: float,
) -> LexicalLoss:
    """vectors v (B, S, H), weights a and others a' (B, T, S), target (B, T) with PAD where nothing is asked.

    weight W (V, H), bias b (V,); a' has no gradient.  A weight of 0 takes its position out; those of padding must be
    0.  Products run in autocast's dtype, softmax and sums in float32 or wider.
    """
    return LexicalLoss(
        *_LexicalCrossEntropy.apply(vectors, weights, weight, bias, others, target, factor, torch.is_grad_enabled())
    )


class _LexicalCrossEntropy(torch.autograd.Function):
    """See lexical_cross_entropy."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weights: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        others: Tensor,
        target: Tensor,
        factor: float,
        wants_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        leaves = vectors, weights, weight, bias
        needed = [need and wants_grad for need in ctx.needs_input_grad[:4]]
        dtype = compute_dtype(vectors)
        wide = torch.promote_types(dtype, torch.float32)
        w, a, b = weight.to(dtype), weights.to(wide), None if bias is None else bias.to(wide)
        grads = [torch.zeros_like(x, dtype=wide) if x is not None and any(needed) else None for x in leaves]
        dv, da, dw, db = grads
        B, S, H = vectors.shape
        others = others.to(wide)
        loss_sum, nll, posterior = a.new_zeros(()), a.new_empty(target.shape), torch.empty_like(a)
        size = max(1, CHUNK_LOGITS // (S * weight.size(0)))
        for start in range(0, B, size):
            part = slice(start, start + size)
            rows, y, real = vectors[part].to(dtype).flatten(0, 1), target[part], target[part, :, None] != PAD
            logits = linear(rows, w)
            total = _log_sums(logits, b)
            of_words = _log_p(logits.view(-1, S, w.size(0)), total, y, b)
            log_p, posterior[part] = _explained(of_words, a[part], real)
            log_other, shares = _explained(of_words, others[part], real)
            nll[part] = -log_p
            loss_sum -= log_p.sum() + factor * log_other.sum()
            if dv is None or da is None or dw is None:
                continue
            da[part] = torch.where(a[part] > 0, -posterior[part] / a[part], 0.0)
            counts = shares.mul_(factor).add_(posterior[part]).transpose(1, 2)  # n (n, S, T)
            # From here on ``logits`` holds their gradient.
            _to_gradient(logits, total, counts.sum(2).flatten(), b)
            logits.view(-1, S, w.size(0)).scatter_add_(2, y[:, None].expand_as(counts), -counts.to(dtype))
            dv[part] = linear(logits, w.t()).view(-1, S, H).to(wide)
            dw += weight_gradient(logits, rows)
            if db is not None:
                db += logits.sum(0, dtype=wide)
        keep_gradients(ctx, [g if need else None for g, need in zip(grads, needed, strict=True)], leaves)
        ctx.mark_non_differentiable(nll, posterior)
        return loss_sum, nll, posterior

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *kept_gradients(ctx, grad_outputs[0]), None, None, None, None


def _cached(logits: Tensor) -> list[slice]:
    """Rows of logits (R, V) that go through the softmax together."""
    rows = max(1, CACHED_LOGITS // logits.size(1)) if logits.device.type == "cpu" else max(1, len(logits))
    return [slice(start, start + rows) for start in range(0, len(logits), rows)]


def _log_sums(logits: Tensor, bias: Tensor | None) -> Tensor:
    """log sum_v exp(l_rv + b_v) of logits l (R, V): (R, 1), float32 or wider."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    parts = (logits[part].to(wide) for part in _cached(logits))
    return torch.cat([(x if bias is None else x + bias).logsumexp(1, keepdim=True) for x in parts])


def _log_p(logits: Tensor, total: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
    """log p(y_t | s) of logits (n, S, V), ``total`` (n S, 1), target y (n, T): (n, T, S)."""
    found = logits.gather(2, target[:, None].expand(-1, logits.size(1), -1)).to(total.dtype)
    if bias is not None:
        found = found + bias[target][:, None]
    return (found - total.view(*logits.shape[:2], 1)).transpose(1, 2)


def _explained(of_words: Tensor, weights: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """log p(y_t) (n, T) and the posterior (n, T, S) of log p(y_t | s) (n, T, S) and weights; 0 where not ``real``."""
    joint = of_words + weights.log()
    log_p = joint.logsumexp(2, keepdim=True)
    return torch.where(real, log_p, 0.0).squeeze(2), torch.where(real, (joint - log_p).exp(), 0.0)


def _to_gradient(logits: Tensor, total: Tensor, counts: Tensor, bias: Tensor | None) -> None:
    """Put p(v | r) times ``counts`` (R,) in the place of logits (R, V)."""
    for part in _cached(logits):
        x = logits[part].to(total.dtype)
        logits[part] = (x if bias is None else x + bias).sub_(total[part]).exp_().mul_(counts[part, None])
