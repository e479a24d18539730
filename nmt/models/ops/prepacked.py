"""Weights cast and laid out once for a whole search, while nothing changes them.

A step of search has few rows, so that casting a weight to bfloat16 and putting it into the order in which oneDNN reads
it (``PrepackedLinear``) takes longer than the product.  Within ``cached_weights`` each module does it once.  Leaving
the context forgets everything, so that a weight which training or another checkpoint changes is never stale.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nmt.models.ops.int8 import in_int8
from nmt.models.ops.matmul import PrepackedLinear, trained_linear
from nmt.models.ops.precision import compute_dtype

Made = TypeVar("Made")
INT8 = object()  # first in the keys of what is made within int8_weights
KEEPER = 0  # in the place of a thread's number, which is never 0: see KeptWeights
LOCK = RLock()  # several batches are searched at the same time, and need the same weights at the same time


class CachesWeights:
    """Mixin of a module that makes something of its weights before search can use them."""

    _made: dict[Hashable, Any] | None = None
    _open_in: Counter[int] | None = None  # how many contexts each thread has open

    @property
    def weight_cache(self) -> dict[Hashable, Any] | None:
        """What has been made so far; None where this thread has no ``cached_weights`` open.

        A prepacked weight rounds otherwise than the weight itself, so that what one thread computes must not depend on
        whether another one searches meanwhile.
        """
        open_in = self._open_in  # read once: another thread may end the last context meanwhile
        return self._made if open_in is not None and get_ident() in open_in else None

    def cached(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` returns, called once for each key within ``cached_weights`` and every time outside of it.

        ``key`` says everything that the result depends on besides the weights and ``int8_weights``: the dtype,
        the direction.
        """
        cache = self.weight_cache
        if cache is None:
            return make()
        key = (INT8, key) if in_int8() else key
        with LOCK:
            if key not in cache:
                cache[key] = make()
        return cache[key]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy of the module has: not what was made of weights, which need not be something that is copied."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_made", "_open_in")}


@contextmanager
def cached_weights(model: nn.Module) -> Iterator[None]:
    """Within, no weight of the model changes, and its modules keep what they make of their weights.

    For search, without gradients, in the thread that opens it.  Contexts may be nested, and open in several threads:
    what has been made is shared, and kept until the last one ends.
    """
    modules, thread = [module for module in model.modules() if isinstance(module, CachesWeights)], get_ident()
    with LOCK:
        for module in modules:
            if module._open_in is None:
                module._made, module._open_in = {}, Counter()
            module._open_in[thread] += 1
    try:
        yield
    finally:
        with LOCK:
            for module in modules:
                assert module._open_in is not None
                module._open_in -= Counter([thread])  # without those at 0
                if not module._open_in:
                    module._made = module._open_in = None
                elif module._open_in.keys() == {KEEPER}:
                    module._made = {k: made for k, made in (module._made or {}).items() if is_of_int8(k)}


def is_of_int8(key: Hashable) -> bool:
    """Whether a key is of what was made within ``int8_weights``, which alone is kept between searches."""
    return isinstance(key, tuple) and key[:1] == (INT8,)


class KeptWeights:
    """Keeps what searches in int8 make of a model's weights from one search to the next.

    Weights of 8 bits take as long to make as some ten steps of search, too long for each single sentence.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.versions: list[tuple[int, int]] | None = None

    def refresh(self) -> None:
        """To be called before each search: forgets what was made if a weight has been changed in place, or replaced.

        torch does not count changes through ``.data``.
        """
        versions = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.model.parameters()]
        with LOCK:
            if versions == self.versions:
                return
            self.versions = versions
            for module in self.model.modules():
                if isinstance(module, CachesWeights):
                    module._made, module._open_in = {}, (module._open_in or Counter()) | Counter([KEEPER])


class Linear(CachesWeights, nn.Linear):
    """nn.Linear, whose weight is cast and laid out once within ``cached_weights``."""

    def forward(self, input: Tensor) -> Tensor:  # named as in nn.Linear
        if self.weight_cache is None or torch.is_grad_enabled():
            return trained_linear(input, self.weight, self.bias)
        dtype = compute_dtype(input)
        return self.cached(dtype, lambda: PrepackedLinear.of(self, dtype))(input)
