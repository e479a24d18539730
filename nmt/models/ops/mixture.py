"""Cross-entropy of a mixture of predictions, a chunk of tokens at a time: latent alignment without its logits.

    p(y_n) = sum_k a_nk p(y_n | v_nk),   p(. | v) = softmax(W v + b),   v_nk = tanh(q_n + r_s),  s = index_nk

with a the weights, divided by their sum (Deng et al. 2018, section 2.1; Shankar et al. 2018).  Each token has K vectors
and K V logits, K times those of ``projected_cross_entropy``.  Vectors, logits and what is made of them live only until
the loss of their chunk and its gradients are taken, in the forward pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt.batch import PAD
from nmt.models.ops.cross_entropy import (
    CACHED_LOGITS,
    CHUNK_LOGITS,
    TwoPasses,
    keep_gradients,
    kept_gradients,
    rows_of,
    token_losses,
)
from nmt.models.ops.dropout import dropout
from nmt.models.ops.matmul import linear, weight_gradient
from nmt.models.ops.precision import compute_dtype


class MixtureLoss(NamedTuple):
    """Of a batch of B sentences with T positions."""

    loss_sum: Tensor  # () as ``Loss.loss_sum`` of projected_cross_entropy, differentiable
    nll: Tensor  # (B, T) -log p(y), float32 or wider, detached, 0 at padding
    posterior: Tensor  # (B, T, K) p(k | y) = a_k p(y | v_k) / p(y), float32 or wider, detached, 0 at padding


class MixtureOptions(NamedTuple):
    """How the loss is made of the predictions."""

    label_smoothing: float = 0.0
    passes: TwoPasses = TwoPasses()
    dropout: float = 0.0  # of the vectors v


def mixed_log_probs(logits: Tensor, weights: Tensor) -> Tensor:
    """log p(y) of logits (N, K, V) and weights (N, K), both float32 or wider: (N, V)."""
    return _log_joint(logits.log_softmax(2), weights).logsumexp(1)


def mixture_cross_entropy(
    query: Tensor,
    source: Tensor,
    positions: Tensor,
    weights: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: MixtureOptions = MixtureOptions(),  # noqa: B008  # immutable
) -> MixtureLoss:
    """query q (B, T, H), source r (B, S, H), positions s (B, T, K) int64 within the source, weights a (B, T, K).

    target (B, T) int64 with PAD where nothing is asked, weight W (V, H), bias b (V,).  Loss, R-Drop and cutoff are
    those of ``projected_cross_entropy``, of the mixture's p.  A weight of 0 takes its position out.  Products run in
    autocast's dtype, softmax and sums in float32 or wider.  Raises ValueError for an odd number of sentences with
    either.
    """
    if any(options.passes) and target.size(0) % 2:
        raise ValueError(f"R-Drop and cutoff compare sentences two by two, got {target.size(0)}")
    B, S, _ = source.shape
    index = positions + torch.arange(0, B * S, S, device=positions.device)[:, None, None]
    # Tokens become rows position by position, so that the two passes of a token are neighbours.
    rows = [x.transpose(0, 1).flatten(0, 1) for x in (query, index, weights, target)]
    real: Tensor | None = None
    if target.device.type == "cpu":  # leave padding out; on CUDA its size would have to come to the host
        real = (rows[3] != PAD).nonzero().squeeze(1)
        rows = [x.index_select(0, real) for x in rows]
    tensors = rows[0], source.flatten(0, 1), rows[2], weight, bias
    loss_sum, *found = _MixtureCrossEntropy.apply(*tensors, rows[1], rows[3], options, torch.is_grad_enabled())
    if real is not None:
        found = [x.new_zeros(target.numel(), *x.shape[1:]).index_copy_(0, real, x) for x in found]
    nll, posterior = (x.unflatten(0, (target.size(1), B)).transpose(0, 1) for x in found)
    return MixtureLoss(loss_sum, nll, posterior)


class _MixtureCrossEntropy(torch.autograd.Function):
    """See mixture_cross_entropy; N tokens in rows, source rows (B S, H), index (N, K) of them."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        source: Tensor,
        weights: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        index: Tensor,
        target: Tensor,
        options: MixtureOptions,
        wants_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        leaves = query, source, weights, weight, bias
        needed = [need and wants_grad for need in ctx.needs_input_grad[:5]]
        dtype = compute_dtype(query)
        wide = torch.promote_types(dtype, torch.float32)
        w, a, b = weight.to(dtype), weights.to(wide), None if bias is None else bias.to(wide)
        # Sums over tokens and over positions are float32 or wider.
        grads = [torch.zeros_like(x, dtype=wide) if x is not None and any(needed) else None for x in leaves]
        dq, dr, da, dw, db = grads
        loss_sum, nll, posterior = a.new_zeros(()), a.new_empty(target.shape), torch.empty_like(a)
        (N, K), V = index.shape, weight.size(0)
        size = rows_of(CHUNK_LOGITS, K * V, options.passes)
        for start in range(0, max(N, 1), size):
            part = slice(start, start + size)
            v = (query[part, None].to(dtype) + source[index[part]].to(dtype)).tanh()
            factor = dropout(torch.ones_like(v), options.dropout, True)
            rows = (v * factor).flatten(0, 1)
            logits = linear(rows, w)
            of_weights = None if da is None else da[part]
            whole = logits.view(-1, K, V)
            loss_sum += _losses(whole, a[part], target[part], b, options, nll[part], posterior[part], of_weights, db)
            if dq is None or dr is None or dw is None:
                continue
            # From here on ``logits`` holds their gradient.
            of_sums = (linear(logits, w.t()).view_as(v) * factor * (1 - v * v)).to(wide)
            dq[part] = of_sums.sum(1)
            dr.index_add_(0, index[part].flatten(), of_sums.flatten(0, 1))
            dw += weight_gradient(logits, rows)
        keep_gradients(ctx, [g if need else None for g, need in zip(grads, needed, strict=True)], leaves)
        ctx.mark_non_differentiable(nll, posterior)
        return loss_sum, nll, posterior

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *kept_gradients(ctx, grad_outputs[0]), None, None, None, None


def _losses(
    logits: Tensor,
    a: Tensor,
    target: Tensor,
    bias: Tensor | None,
    options: MixtureOptions,
    nll: Tensor,
    posterior: Tensor,
    da: Tensor | None,
    db: Tensor | None,
) -> Tensor:
    """Loss of a chunk (); fills nll (N,) and posterior (N, K).

    With da (N, K) it fills that, too, overwrites logits l (N, K, V) with dL/dl, and adds to db (V,).  With
    r_kv = a_k p(v | k) / p(v), the posterior for each word v, and G_v = dL/dlog p(v):

        dL/dl_kv = r_kv G_v - p(v | k) sum_u r_ku G_u,    dL/da_k = sum_u r_ku G_u / a_k
    """
    _, K, V = logits.shape
    eps, passes, _ = options
    rows = rows_of(CACHED_LOGITS, K * V, passes) if logits.device.type == "cpu" else len(logits)
    loss_sum = nll.new_zeros(())
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        scores, y = logits[part].to(nll.dtype), target[part, None]
        log_p = (scores if bias is None else scores + bias).log_softmax(2)
        joint = _log_joint(log_p, a[part])
        mixed = joint.logsumexp(1)  # log p(v): (n, V)
        of_word = joint.gather(2, y[:, None].expand(-1, K, 1)).squeeze(2)  # (n, K)
        posterior[part] = (of_word - mixed.gather(1, y)).exp() * (y != PAD)
        gradient = mixed.clone()
        loss_sum += token_losses(gradient, target[part], None, eps, passes, nll[part], None)
        if da is None:
            continue
        shares = joint.sub_(mixed[:, None]).exp_().mul_(gradient[:, None])  # r_kv G_v
        total = shares.sum(2)
        da[part] = torch.where(a[part] > 0, total / a[part], 0.0)
        shares.sub_(log_p.exp_().mul_(total[..., None]))
        logits[part] = shares
        if db is not None:
            db += shares.sum((0, 1))
    return loss_sum


def _log_joint(log_p: Tensor, weights: Tensor) -> Tensor:
    """log a_k p(v | k), a the weights (N, K) divided by their sum; minus infinity where the weight is 0."""
    return log_p + (weights / weights.sum(1, keepdim=True)).log()[..., None]
