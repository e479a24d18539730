"""A CUDA device that is not there: shapes, dtypes and devices of results are computed, and no numbers.

torch's FakeTensorMode does it by the rules of the device: whoever mixes devices, or asks for a number (for which a real
device would have to be waited for), gets an error.  Two things that a torch without CUDA lacks stand here: a device
guard, which Python's indexing and the recording of a graph ask for; and a backward pass, for torch's own has a
thread for each device.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

DEVICE = torch.device("cuda", 0)
# c10::DeviceType, and c10::impl::device_guard_impl_registry by its mangled name.
CUDA, META, TYPES = 1, 14, 21
REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Within, every new tensor is a fake one, and DEVICE may be named as if it were there."""
    with device_guard(), FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        # In torch 2.13 it stumbles over an LSTM layer without biases, which the layer itself takes.
        patch.setattr("torch._meta_registrations.rnn_cell_checkSizes", lambda *sizes: None, raising=False)
        yield


@contextmanager
def device_guard() -> Iterator[None]:
    """Lend CUDA the guard of the device ``meta``, which does nothing, where this torch was built without CUDA."""
    if torch.backends.cuda.is_built():
        # Where there is no driver, an LSTM layer would ask it which cuDNN there is.
        with torch.backends.cudnn.flags(enabled=torch.cuda.is_available()):
            yield
        return
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
        guards = (ctypes.c_void_p * TYPES).in_dll(library, REGISTRY)
    except (OSError, ValueError):
        pytest.skip("this torch has no CUDA, and its table of device guards is not where it is on Linux")
    assert guards[META]
    assert not guards[CUDA]
    guards[CUDA] = guards[META]
    try:
        yield
    finally:
        guards[CUDA] = None


def backward(loss: Tensor) -> None:
    """What ``loss.backward()`` does, node by node in this thread; each gradient must be where its tensor is."""
    assert loss.grad_fn is not None
    given: dict[Any, list[Tensor | None]] = {loss.grad_fn: [None] * len(inputs_of(loss.grad_fn))}
    given[loss.grad_fn][loss.output_nr] = torch.ones_like(loss)
    with torch.no_grad():
        for node in in_order(loss.grad_fn):
            inputs = given.pop(node)
            if hasattr(node, "variable"):
                [gradient], parameter = inputs, node.variable
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
                continue
            edges = [edge for edge in node.next_functions if edge[0] is not None]
            for (after, place), gradient in zip(edges, gradients(node, inputs), strict=True):
                slots = given.setdefault(after, [None] * len(inputs_of(after)))
                if gradient is None:
                    continue
                expected = inputs_of(after)[place]
                assert gradient.device == expected.device, f"{node.name()} gives {after.name()} {gradient.device}"
                gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)  # as torch's engine does
                old = slots[place]
                slots[place] = gradient if old is None else old + gradient


def gradients(node: Any, inputs: list[Tensor | None]) -> list[Tensor | None]:
    """What a node makes of its inputs, for each tensor of its forward pass that wants a gradient."""
    if hasattr(node, "needs_input_grad"):  # torch.autograd.Function
        like = zip(inputs, node._input_metadata, strict=True)
        found = node.apply(*(torch.zeros(m.shape, dtype=m.dtype, device=m.device) if x is None else x for x, m in like))
        found = found if isinstance(found, tuple) else (found,)
        return [gradient for gradient, wanted in zip(found, node.needs_input_grad, strict=True) if wanted]
    found = node(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    return [gradient for gradient, edge in zip(found, node.next_functions, strict=True) if edge[0] is not None]


def inputs_of(node: Any) -> list[Any]:
    """One for each gradient that a node takes."""
    return [node.variable] if hasattr(node, "variable") else list(node._input_metadata)


def in_order(root: Any) -> list[Any]:
    """All nodes of a graph, each before those that its gradients go to."""
    found: list[Any] = []
    seen, stack = {root}, [(root, iter(root.next_functions))]
    while stack:
        node, edges = stack[-1]
        after = next((n for n, _ in edges if n is not None and n not in seen), None)
        if after is None:
            found.append(node)
            stack.pop()
        else:
            seen.add(after)
            stack.append((after, iter(after.next_functions)))
    return found[::-1]
