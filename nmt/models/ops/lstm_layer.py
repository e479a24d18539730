"""One LSTM layer: whole sequences with few, large matrix products, in one direction or both, and single steps.

    i, f, g, o = split(W x_t + U h_{t-1} + b)
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)                       (Hochreiter and Schmidhuber 1997; Gers et al. 2000)

Shape letters: T steps, B rows, I input features, H units.  Everything is time-major.

Autograd through a Python loop would add T rank-B updates to the gradient of U, each as large as U.
Here a layer's loop is one node: U's gradient is one product over all steps, and so is W's.  Gates and
cells are float32 (float64 for float64 weights) also where autocast makes the products bfloat16, except where
torch's own LSTM runs (``outputs``, and ``read_padded`` on CUDA): there they have the dtype of the products.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt.models.ops.matmul import linear, linear_plus, weight_gradient
from nmt.models.ops.plain import is_plain
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


def read_padded(layers: Sequence[LSTMLayer], x: Tensor, lengths: Tensor) -> tuple[Tensor, LSTMState]:
    """Right-padded rows x (T, B, I) of lengths (B,), read forward and, by a second layer, backward.

    Returns the outputs (T, B, H), those of the directions side by side, and the final states (B, H): forward at each
    row's last step, backward at its first.  Padding reaches neither: it comes after a forward run's steps, and a
    backward run is zero until a row's last step.  What the outputs hold at padding is undefined, and finite.
    """
    read = _by_cudnn if x.is_cuda or is_plain() else _by_states
    return read(layers, x, lengths)


def _by_states(layers: Sequence[LSTMLayer], x: Tensor, lengths: Tensor) -> tuple[Tensor, LSTMState]:
    """``read_padded`` with ``LSTMLayer.states``: cells in float32 or wider."""
    h, c = layers[0].states(x)
    h_last, c_last = at_last_step(h, lengths), at_last_step(c, lengths)
    if len(layers) == 2:
        real = (torch.arange(x.size(0), device=x.device)[:, None] < lengths)[..., None]  # (T, B, 1)
        back_h, back_c = layers[1].states(x, mask=real.to(c.dtype), reverse=True)
        h = torch.cat([h, back_h], 2)
        h_last, c_last = torch.cat([h_last, back_h[0]], 1), torch.cat([c_last, back_c[0]], 1)
    return h, LSTMState(h_last, c_last)


# sigmoid of it is exactly 1, and of its negative exactly 0, in every dtype; bfloat16 and float16 can hold it.
SATURATED = 1e4


def _by_cudnn(layers: Sequence[LSTMLayer], x: Tensor, lengths: Tensor) -> tuple[Tensor, LSTMState]:
    """``read_padded`` in one call of torch's own LSTM: on CUDA that of cuDNN, whose kernels run all steps.

    cuDNN returns no cell state but the last, and takes lengths only from the host, for which the device's queue would
    have to run empty.  So one more input feature marks padding, with weights that saturate two gates: at padding a
    forward run has i = 0 and f = 1, and thus hands c on as it was at the last step; a backward run has i = f = 0, and
    thus c = h = 0.
    """
    dtype, training = compute_dtype(x), torch.is_grad_enabled()  # cuDNN keeps what a backward pass needs if asked
    padding = (torch.arange(x.size(0), device=x.device)[:, None] >= lengths)[..., None].to(dtype)
    weights: list[Tensor] = []
    for layer, forget in zip(layers, (SATURATED, -SATURATED), strict=False):
        gate = layer.weight_ih_l0.new_ones(layer.hidden_size, 1)
        mark = torch.cat([-SATURATED * gate, forget * gate, 0 * gate, 0 * gate])  # of i, f, g and o
        weights += [torch.cat([layer.weight_ih_l0, mark], 1).to(dtype), layer.weight_hh_l0.to(dtype)]
        weights += [layer.bias_ih_l0.to(dtype), layer.bias_hh_l0.to(dtype)] if layer.bias else []
    zero = x.new_zeros(len(layers), x.size(1), layers[0].hidden_size, dtype=dtype)
    both = len(layers) == 2
    with warnings.catch_warnings(), torch.autocast(x.device.type, enabled=False):
        # The weights are made anew for each batch, so that they cannot lie in one piece, as cuDNN would like it.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        marked = torch.cat([x.to(dtype), padding], 2)
        h, h_n, c_n = torch._VF.lstm(marked, (zero, zero), weights, layers[0].bias, 1, 0.0, training, both, False)
    h_last = at_last_step(h[..., : layers[0].hidden_size], lengths)
    final_h = torch.cat([h_last, h_n[1]], 1) if both else h_last
    return h, LSTMState(final_h, torch.cat(c_n.unbind(0), 1).to(torch.promote_types(dtype, torch.float32)))


def at_last_step(x: Tensor, lengths: Tensor) -> Tensor:
    """x (T, B, H) at each row's last step: (B, H)."""
    B = x.size(1)
    return F.embedding((lengths - 1) * B + torch.arange(B, device=x.device), x.flatten(0, 1))


def cell(gates: Tensor, c: Tensor, added: Tensor | None = None) -> LSTMState:
    """One step: gates (B, 4H) before their nonlinearities, c (B, H) -> the next state, c with ``added`` (B, H)."""
    if is_plain() or added is not None:
        i, f, g, o = gates.to(c.dtype).chunk(4, 1)
        after = f.sigmoid() * c + i.sigmoid() * g.tanh()
        after = after if added is None else after + added
        return LSTMState((o.sigmoid() * after.tanh()).to(gates.dtype), after)
    return _fused_cell(gates, c) if gates.is_cuda else LSTMState(*_Cell.apply(gates, c))


def _fused_cell(gates: Tensor, c: Tensor) -> LSTMState:
    """``cell`` in c's dtype by the kernel of torch's own LSTM cell, which only CUDA has: one launch forward and one
    backward, where ``_Cell`` has some thirty, each of which costs more than its work on a row of B 4H numbers.

    The kernel adds two terms of the gates; here they are one already.
    """
    wide = gates.to(c.dtype)
    h, after, _ = torch.ops.aten._thnn_fused_lstm_cell(wide, torch.zeros_like(wide), c)
    return LSTMState(h.to(gates.dtype), after)


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
            weight_gradient(flat, x.flatten(0, 1)) if need[1] else None,
            weight_gradient(flat, before_h.flatten(0, 1)) if need[2] else None,
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
