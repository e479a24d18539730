"""One LSTM layer in one direction: whole sequences with few, large matrix products, and single steps.

    i, f, g, o = split(W x_t + U h_{t-1} + b)
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)                       (Hochreiter and Schmidhuber 1997; Gers et al. 2000)

Shape letters: T steps, B rows, I input features, H units.  Everything is time-major.

Autograd through a Python loop would add T rank-B updates to the gradient of U, each as large as U.
Here a layer's loop is one node: U's gradient is one product over all steps, and so is W's.  Gates and
cells are float32 (float64 for float64 weights) also where autocast makes the products bfloat16.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt.models.ops.matmul import linear, linear_plus
from nmt.models.ops.precision import compute_dtype


class LSTMLayer(nn.LSTM):
    """Parameters in cuDNN's layout (``nn.LSTM`` of one layer), two ways of computing with them."""

    weight_ih_l0: Tensor  # W (4H, I)
    weight_hh_l0: Tensor  # U (4H, H)
    bias_ih_l0: Tensor  # (4H,), where there is a bias
    bias_hh_l0: Tensor  # (4H,)

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__(input_size, hidden_size, bias=bias)

    @property
    def total_bias(self) -> Tensor | None:
        """b: cuDNN keeps two biases, whose sum is meant.  (4H,)"""
        return self.bias_ih_l0 + self.bias_hh_l0 if self.bias else None

    def outputs(self, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        """x (T, B, I), state h0 and c0 (B, H) before it -> h (T, B, H).

        torch's own layer where it is faster and nothing is lost: cuDNN on CUDA, oneDNN in float32 on a CPU
        (1.3 times as fast as ``states``; in bfloat16 they are level, and oneDNN's cells are bfloat16).
        """
        if x.is_cuda or compute_dtype(x) == torch.float32:
            return self(x, (h0[None].to(x.dtype), c0[None].to(x.dtype)))[0]
        return self.states(x, h0, c0)[0]

    def states(
        self,
        x: Tensor,
        h0: Tensor | None = None,
        c0: Tensor | None = None,
        mask: Tensor | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Every state: x (T, B, I) -> h (T, B, H) in the products' dtype, c (T, B, H) in float32 or wider.

        ``reverse`` runs from the last step to the first.  Where mask (T, B, 1) is 0 the state is zero:
        a reversed run over right-padded rows thus starts fresh at each row's own last word.
        """
        dtype = compute_dtype(x)
        wide = torch.promote_types(dtype, torch.float32)
        zero = x.new_zeros(x.size(1), self.hidden_size, dtype=wide)
        bias = self.total_bias
        return _Sequence.apply(
            x.to(dtype),
            self.weight_ih_l0.to(dtype),
            self.weight_hh_l0.to(dtype),
            None if bias is None else bias.to(dtype),
            (zero if h0 is None else h0).to(dtype),
            (zero if c0 is None else c0).to(wide),
            mask,
            reverse,
        )


class LSTMState(NamedTuple):
    """h (B, H) in the products' dtype and c (B, H) in float32 or wider."""

    h: Tensor
    c: Tensor


def cell(gates: Tensor, c: Tensor) -> LSTMState:
    """One step: gates (B, 4H) before their nonlinearities, c (B, H) -> the next state."""
    return LSTMState(*_Cell.apply(gates, c))


class _Sequence(torch.autograd.Function):
    """A whole layer as one node; see LSTMLayer.states."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        u: Tensor,
        bias: Tensor | None,
        h0: Tensor,
        c0: Tensor,
        mask: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor]:
        (T, B, _), H = x.shape, u.size(1)
        z = linear(x.flatten(0, 1), w, bias).view(T, B, -1)
        gates = z if z.dtype == c0.dtype else z.new_empty(z.shape, dtype=c0.dtype)
        h, c, tanh_c = x.new_empty(T, B, H), c0.new_empty(T, B, H), c0.new_empty(T, B, H)
        before_h, before_c = h0, c0
        for t in _order(T, reverse):
            i, f, g, o = _activate(gates[t].copy_(linear_plus(z[t], before_h, u)))
            torch.mul(f, before_c, out=c[t]).addcmul_(i, g)
            if mask is not None:
                c[t].mul_(mask[t])
            _tanh(c[t], out=tanh_c[t])
            if h.dtype == c.dtype:
                torch.mul(o, tanh_c[t], out=h[t])
            else:
                h[t] = o * tanh_c[t]
            before_h, before_c = h[t], c[t]
        ctx.save_for_backward(x, w, u, h0, c0, mask, gates, h, c, tanh_c)
        ctx.reverse, ctx.has_bias = reverse, bias is not None
        ctx.set_materialize_grads(False)
        return h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_h, grad_c = grad_outputs  # (T, B, H) or None
        x, w, u, h0, c0, mask, gates, h, c, tanh_c = ctx.saved_tensors
        T, B, H = h.shape
        before_h, before_c = _shifted(h, h0, ctx.reverse), _shifted(c, c0, ctx.reverse)
        slope, to_c = _slopes(gates, tanh_c, before_c)
        dz = slope if slope.dtype == x.dtype else x.new_empty(slope.shape)
        dh, dc = torch.zeros_like(c0), torch.zeros_like(c0)
        grad_h = None if grad_h is None else grad_h.to(dc.dtype)
        for t in _order(T, not ctx.reverse):
            if grad_h is not None:
                dh += grad_h[t]
            dc.addcmul_(dh, to_c[t])
            if grad_c is not None:
                dc += grad_c[t]
            if mask is not None:
                dc *= mask[t]
            a = slope[t]
            a[:, : 3 * H].view(B, 3, H).mul_(dc[:, None])
            a[:, 3 * H :].mul_(dh)
            if dz is not slope:
                dz[t] = a
            dc *= gates[t, :, H : 2 * H]
            dh = linear(dz[t], u.t()).to(dc.dtype)
        flat = dz.flatten(0, 1)
        need = ctx.needs_input_grad
        return (
            linear(flat, w.t()).view_as(x) if need[0] else None,
            torch.mm(flat.t(), x.flatten(0, 1)) if need[1] else None,
            torch.mm(flat.t(), before_h.flatten(0, 1)) if need[2] else None,
            flat.sum(0) if ctx.has_bias and need[3] else None,
            dh.to(h0.dtype) if need[4] else None,
            dc if need[5] else None,
            None,
            None,
        )


class _Cell(torch.autograd.Function):
    """A single step; see cell."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, before_c: Tensor) -> tuple[Tensor, Tensor]:
        gates = z.to(before_c.dtype, copy=True)
        i, f, g, o = _activate(gates)
        c = (f * before_c).addcmul_(i, g)
        tanh_c = _tanh(c, out=torch.empty_like(c))
        ctx.save_for_backward(gates, before_c, tanh_c)
        ctx.dtype = z.dtype
        return (o * tanh_c).to(z.dtype), c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        dh, dc = grad_outputs
        gates, before_c, tanh_c = ctx.saved_tensors
        B, H = before_c.shape
        slope, to_c = _slopes(gates, tanh_c, before_c)
        dh = dh.to(dc.dtype)
        dc = torch.addcmul(dc, dh, to_c)
        slope[:, : 3 * H].view(B, 3, H).mul_(dc[:, None])
        slope[:, 3 * H :].mul_(dh)
        return slope.to(ctx.dtype), dc * gates[:, H : 2 * H]


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _activate(a: Tensor) -> tuple[Tensor, ...]:
    """Apply the gates' nonlinearities to a (B, 4H) in place; returns views i, f, g, o.  For tanh see _tanh."""
    i, f, g, o = a.split(a.size(1) // 4, 1)
    g.mul_(2)
    a.sigmoid_()
    g.mul_(2).sub_(1)
    return i, f, g, o


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """2 sigmoid(2 x) - 1: torch's tanh takes three times as long on a CPU, and its last bits are not needed."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def _slopes(gates: Tensor, tanh_c: Tensor, before_c: Tensor) -> tuple[Tensor, Tensor]:
    """What of the backward pass needs no recurrence, for one step or all at once.

    Returns (..., 4H): d c_t / d z for i, f, g and d h_t / d z for o; and d h_t / d c_t (..., H).
    """
    H = gates.size(-1) // 4
    i, f, g, o = gates.split(H, -1)
    slope = torch.empty_like(gates)
    di, df, dg, do = slope.split(H, -1)
    torch.mul(i, g, out=di).addcmul_(di, i, value=-1)  # g i (1 - i)
    torch.mul(f, before_c, out=df).addcmul_(df, f, value=-1)  # c_{t-1} f (1 - f)
    torch.mul(g, g, out=dg).sub_(1).mul_(i).neg_()  # i (1 - g^2)
    torch.mul(o, tanh_c, out=do).addcmul_(do, o, value=-1)  # tanh(c) o (1 - o)
    to_c = torch.mul(tanh_c, tanh_c).sub_(1).mul_(o).neg_()  # o (1 - tanh(c)^2)
    return slope, to_c


def _shifted(states: Tensor, first: Tensor, reverse: bool) -> Tensor:
    """The state that each step started from: (T, B, H)."""
    if reverse:
        return torch.cat([states[1:], first[None]])
    return torch.cat([first[None], states[:-1]])
