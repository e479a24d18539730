"""Products with weights of 8 bits, for search on a CPU: y = W x + b of a large W as

    y_o = s r_o sum_i q(x_i / s) q(W_oi / r_o) + b_o        s = max_i |x_i| / 63,  r_o = max_i |W_oi| / 127

with q rounding to the nearest integer.  Every row x has a scale s of its own and every output feature an r_o of its
own, and the sum is one of integers, exact.  So what a row gives never depends on the rows beside it, which a scale for
all rows, as torch's own dynamic quantization has it, would bring about.

FBGEMM reads inputs as unsigned numbers, here q(x_i / s) + 64, and adds pairs of products in 16 bits where the processor
has no instructions for 8 bits (VNNI): 2 * 127 * 127 still fits, 2 * 255 * 127 would be cut off.  Hence 7 bits for
inputs, on every processor, so that all give the same integers.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

INPUT_LEVELS, WEIGHT_LEVELS = 63, 127
SHIFT = INPUT_LEVELS + 1  # makes inputs positive
# Elements of W below which fp32 is as fast, because what surrounds the product costs more than it saves (ops.md).
LEAST_ELEMENTS = 2**18
LEAST_SCALE = 1e-30  # of a row or a weight that is 0 everywhere

_here: ContextVar[bool] = ContextVar("int8_weights", default=False)


@contextmanager
def int8_weights(on: bool = True) -> Iterator[None]:
    """Within, where ``on``, what this thread prepacks of large weights has 8 bits."""
    token = _here.set(on)
    try:
        yield
    finally:
        _here.reset(token)


def in_int8() -> bool:
    """Whether this thread is within ``int8_weights``."""
    return _here.get()


class Int8Weight:
    """x -> W x + b with W and x rounded to integers, see above."""

    def __init__(self, weight: Tensor) -> None:
        """weight (O, I) in float32."""
        scales = weight.abs().amax(1).div_(WEIGHT_LEVELS).clamp_min_(LEAST_SCALE)
        integers = (weight / scales[:, None]).round_().to(torch.int8)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        engine = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"
        try:
            with warnings.catch_warnings():  # a later torch will drop tensors of this kind, and then int8 is refused
                warnings.filterwarnings("ignore", message=".*quantized tensor creation functions", category=UserWarning)
                quantized = torch._make_per_channel_quantized_tensor(integers, scales.double(), zeros, 0)
            self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        finally:
            torch.backends.quantized.engine = engine

    def __call__(self, x: Tensor, bias: Tensor | None, term: Tensor | None) -> Tensor:
        """x (..., I), bias (O,) -> W x + bias (..., O), and ``term`` added where there is one."""
        scales = x.abs().amax(-1, keepdim=True).div_(INPUT_LEVELS).clamp_min_(LEAST_SCALE)
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x / scales, 1.0, SHIFT, self.packed)
        terms = [t for t in (bias, term) if t is not None]
        y = torch.addcmul(terms[0], y, scales) if terms else y.mul_(scales)
        return y.add_(terms[1]) if len(terms) == 2 else y


def int8_weight(weight: Tensor) -> Int8Weight | None:
    """What products with the weight (O, I) use within ``int8_weights``; None elsewhere, and for one that is small or
    not of float32."""
    fits = weight.dtype == torch.float32 and weight.numel() >= LEAST_ELEMENTS
    return Int8Weight(weight) if in_int8() and fits else None
