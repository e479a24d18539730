"""Vocabulary projection and label-smoothed cross-entropy, a chunk of tokens at a time.

    L = sum_n (1 - eps) (-log p(y_n)) + eps / V sum_v (-log p(v)),   p = softmax(W h_n + b)

(Szegedy et al. 2016, section 7, with the uniform distribution over all V words: the same as
``F.cross_entropy(label_smoothing=eps)``.)  N tokens times V words of logits are the largest tensor of
a translation model; a chunk of them lives only until its loss and its gradients are taken, in the
forward pass, so that nothing of size (N, V) is stored for the backward pass.  The divergences of
R-Drop and cutoff (nmt/models/ops/r_drop.py) are taken from the same chunk.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt.batch import PAD
from nmt.models.ops.matmul import linear, weight_gradient
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.r_drop import divergence, jensen_shannon

# Logits in a chunk: 16 MiB in bfloat16, and still a thousand rows for each product at V = 8,000.
CHUNK_LOGITS = 1 << 23
# Logits that go through the softmax together on a CPU: 1 MiB in float32, so that its passes stay in the cache.
CACHED_LOGITS = 1 << 18


class TwoPasses(NamedTuple):
    """Weights of the divergences of two passes, rows 2n and 2n + 1 of one token.  (0, 0): each row is a token."""

    r_drop: float = 0.0  # alpha
    cutoff: float = 0.0  # beta


class Loss(NamedTuple):
    """Of a batch of B sentences with T positions."""

    loss_sum: Tensor  # () L, differentiable
    nll: Tensor  # (B, T) -log p(y), float32 or wider, detached, 0 at padding


def projected_cross_entropy(
    hidden: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    label_smoothing: float = 0.0,
    r_drop: float = 0.0,
    cutoff: float = 0.0,
) -> Loss:
    """hidden (B, T, H), target (B, T) int64 with PAD where nothing is asked, weight (V, H), bias (V,).

    With ``r_drop`` alpha, sentences 2b and 2b + 1 are the same in two passes of dropout, and loss_sum also holds
    alpha / 2 [KL(p || q) + KL(q || p)] of each of their tokens; with ``cutoff`` beta, beta times their divergence of
    Jensen and Shannon.  Raises ValueError for an odd number of sentences.
    Products run in autocast's dtype; log-softmax and all sums in float32 or wider.
    """
    passes = TwoPasses(r_drop, cutoff)
    if any(passes) and target.size(0) % 2:
        raise ValueError(f"R-Drop and cutoff compare sentences two by two, got {target.size(0)}")
    # Tokens become rows in the order in which they lie in memory, sentence by sentence or position by position; two
    # passes position by position, so that those of a token stand next to each other.
    by_position = any(passes) or hidden.stride(0) < hidden.stride(1)
    if by_position:
        hidden, target = hidden.transpose(0, 1), target.t()
    loss_sum, nll = _over_rows(hidden.flatten(0, 1), target.flatten(), weight, bias, label_smoothing, passes)
    nll = nll.view(target.shape)
    return Loss(loss_sum, nll.t() if by_position else nll)


def _over_rows(
    hidden: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None, label_smoothing: float, passes: TwoPasses
) -> tuple[Tensor, Tensor]:
    """hidden (N, H), target (N,) -> loss_sum (), nll (N,)."""
    rows: Tensor | None = None
    real = target
    if hidden.device.type == "cpu":  # leave padding out; on CUDA its size would have to come to the host
        rows = (target != PAD).nonzero().squeeze(1)
        hidden, real = F.embedding(rows, hidden), target.index_select(0, rows)
    options = label_smoothing, passes, torch.is_grad_enabled()
    loss_sum, nll = _ProjectedCrossEntropy.apply(hidden, real, weight, bias, *options)
    if rows is not None:
        nll = nll.new_zeros(target.shape).index_copy_(0, rows, nll)
    return loss_sum, nll


class _ProjectedCrossEntropy(torch.autograd.Function):
    """See projected_cross_entropy."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        target: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        eps: float,
        passes: TwoPasses,
        wants_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        need_x, _, need_w, need_b, *_ = (n and wants_grad for n in ctx.needs_input_grad)
        dtype = compute_dtype(hidden)
        wide = torch.promote_types(dtype, torch.float32)
        V = weight.size(0)
        w, x, b = weight.to(dtype), hidden.to(dtype), None if bias is None else bias.to(wide)
        loss_sum, nll = x.new_zeros((), dtype=wide), x.new_empty(target.shape, dtype=wide)
        dx = torch.zeros_like(x) if need_x else None
        dw: Tensor | None = None
        db = torch.zeros_like(b) if b is not None and need_b else None
        size = rows_of(CHUNK_LOGITS, V, passes)
        for start in range(0, max(len(target), 1), size):
            part = slice(start, start + size)
            logits = linear(x[part], w)
            loss_sum += token_losses(logits, target[part], b, eps, passes, nll[part], db)
            if dx is not None:
                dx[part] = linear(logits, w.t())  # no longer logits but their gradient
            if need_w:
                more = weight_gradient(logits, x[part])
                dw = more.to(wide) if dw is None else dw.add_(more)
        keep_gradients(ctx, (dx, dw, db), (hidden, weight, bias))
        ctx.mark_non_differentiable(nll)
        return loss_sum, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        dx, dw, db = kept_gradients(ctx, grad_outputs[0])
        return dx, None, dw, db, None, None, None


def keep_gradients(ctx: Any, grads: Sequence[Tensor | None], leaves: Sequence[Tensor | None]) -> None:
    """Keep the gradients of ``leaves`` that a forward pass has taken, None where not needed, for its backward pass."""
    ctx.save_for_backward(*grads)
    ctx.dtypes = [None if x is None else x.dtype for x in leaves]


def kept_gradients(ctx: Any, scale: Tensor) -> list[Tensor | None]:
    """Those gradients times the gradient of the loss (), in the dtypes of the leaves; None where none is needed."""
    found = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
    return [None if g is None else (g * scale).to(dtype) for g, dtype in found]


def rows_of(logits: int, V: int, passes: TwoPasses) -> int:
    """How many rows make so many logits: at least one, or where they come in pairs, one pair."""
    pair = 2 if any(passes) else 1
    return pair * max(1, logits // (pair * V))


def token_losses(
    logits: Tensor, target: Tensor, bias: Tensor | None, eps: float, passes: TwoPasses, nll: Tensor, db: Tensor | None
) -> Tensor:
    """Loss of a chunk; overwrites logits (N, V) with dL/dlogits, fills nll (N,), adds to db (V,).

    L_n = Z_n - (1 - eps) l_y - eps mean_v l_v,   Z_n = log sum_v exp l_v = max_v l_v - log max_v p_v
    dL_n / dl_v = p_v - (1 - eps) [v = y_n] - eps / V

    and what the divergences of ``passes`` add to both, times their weights.
    """
    V = logits.size(1)
    rows = rows_of(CACHED_LOGITS, V, passes) if logits.device.type == "cpu" else len(logits)
    loss_sum = nll.new_zeros(())
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        score, y = logits[part].to(nll.dtype), target[part, None]  # l
        if bias is not None:
            score += bias
        p = score.softmax(1)
        real = (y != PAD).to(p)  # (n, 1)
        z = score.amax(1, keepdim=True) - p.amax(1, keepdim=True).log()
        of_word = score.gather(1, y)
        nll[part] = ((z - of_word) * real).squeeze(1)
        loss = z - (1 - eps) * of_word
        apart = [(w, of(p, score - z)) for w, of in zip(passes, (divergence, jensen_shannon), strict=True) if w]
        for factor, (divergences, gradient) in apart:
            loss += factor * divergences
            p += factor * gradient
        if eps:
            loss -= eps * score.mean(1, keepdim=True)
            p -= eps / V
        loss_sum += (loss * real).sum()
        p.scatter_add_(1, y, p.new_full(y.shape, eps - 1)).mul_(real)
        if db is not None:
            db += p.sum(0)
        logits[part] = p
    return loss_sum
