"""Every model on a CUDA device that is not there: a tensor made on the wrong device is found without a GPU.

tests/helpers/fake_cuda.py says how.  Whoever mixes devices, or asks for a number, gets an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
from closeness import assert_close
from fake_cuda import DEVICE, backward, fake_cuda
from model_cases import A_THIRD_FAST, V, batch_of, build, config_of, smoothing
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily

import nmt.models.transformer.positions as positions
from nmt.batch import BOS, Batch
from nmt.models import build_model
from nmt.train.optim import OptimConfig, build_optimizer, update

SHORT = [([5, 7, 4], [9]), ([11], [5])]
LONGER = [([5, 7, 4, 6, 8, 9, 4], [9]), ([11], [5])]  # more than two windows of local attention
IN_BF16 = ["lstm: bahdanau", "lstm: global unfed", "lstm: local_p", "transformer: rotary"]
# Torch 2.13 has a name for it; it is a RuntimeError in all versions.
DeviceMismatch = getattr(fake_tensor, "FakeTensorDeviceMismatchError", RuntimeError)
pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
everything = pytest.mark.parametrize("name", A_THIRD_FAST)


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    """Tables that are cached for the whole process must not get into the fake device, nor out of it."""
    clear_tables()
    try:
        with fake_cuda():
            yield
    finally:
        clear_tables()


def clear_tables() -> None:
    """Empty each cache of the module, by whatever name."""
    for value in vars(positions).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def on_cuda(name: str) -> tuple[Any, Batch]:
    """A model and sentences, both on the device."""
    with DEVICE:  # parameters alone; what the model makes later must find its device by itself
        config = config_of(name, dropout=0.1)
        model = build_model(config, V, V, joint=True, label_smoothing=smoothing(config))
    return model, batch_of(LONGER if "concat" in name else SHORT).to(DEVICE)


@contextmanager
def autocast(enabled: bool) -> Iterator[None]:
    """torch.autocast("cuda", torch.bfloat16), which itself refuses where there is no CUDA."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", enabled)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def devices(found: Any) -> set[torch.device]:
    """Of all tensors in a result."""
    if isinstance(found, Tensor):
        return {found.device}
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else ()
    return set().union(*map(devices, parts))


@everything
def test_training_and_search(name):
    """On the device from end to end, asking it nothing."""
    check(name, bf16=False)


@pytest.mark.parametrize("name", IN_BF16)
def test_training_and_search_in_bf16(name):
    check(name, bf16=True)


def check(name: str, bf16: bool) -> None:
    """An update and a search, with the results' devices."""
    model, batch = on_cuda(name)
    with autocast(bf16):
        update_once(model.train(), batch)
        with torch.no_grad():
            search(model.eval(), batch)


def update_once(model: Any, batch: Batch) -> None:
    """Forward with maps and dropout, backward and Adam."""
    optimizer = build_optimizer(model, OptimConfig(warmup=0))
    output = model(batch, want_maps=True)
    with autocast(False):
        backward(output.loss_sum)
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
        norm = update(optimizer, list(model.parameters()), clip=1.0)
    assert devices([tuple(output), norm, [p.grad for p in model.parameters()]]) == {DEVICE}


def search(model: Any, batch: Batch) -> None:
    """encode, start, step, reorder and keep; and the self-attention that is shown."""
    state = model.start(model.encode(batch.source, batch.source_lengths, 3))
    words = torch.full((2, 1), BOS, device=DEVICE)
    for width in (3, 2):
        logits, state, maps = model.step(words, state, want_maps=True)
        assert devices([logits, tuple(maps or ())]) == {DEVICE}
        state = state.reorder(torch.zeros(2, width, dtype=torch.int64, device=DEVICE))
        words = torch.full((2, width), 5, device=DEVICE)
    logits, _, _ = model.step(words[:1], state.keep(torch.tensor([1], device=DEVICE)))
    assert logits.shape == (1, 2, V)
    assert devices(model.self_maps(batch)) <= {DEVICE}


class Careless(nn.Module):
    """Adds a table that it makes on the CPU, whatever device its input is on."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(float(x.size(-1)))


class CarelessGradient(torch.autograd.Function):
    """The same in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros(grad.shape)


def test_mistakes_are_found():
    """A tensor made on the CPU, forward or backward, and a number asked of the device."""
    x = torch.zeros(2, 3, device=DEVICE, requires_grad=True)
    with pytest.raises(DeviceMismatch):
        Careless()(x)
    with pytest.raises(AssertionError, match="cpu"):
        backward(cast(Tensor, CarelessGradient.apply(x)).sum())
    with pytest.raises(DataDependentOutputException):
        float(x.detach().sum())


def test_the_backward_pass_is_torchs():
    """The one that needs no thread for the device gives the gradients of the real one, on the CPU with numbers."""
    with unset_fake_temporarily():
        for name in ("lstm: local_p", "lstm: bahdanau deep", "transformer: local rotary"):
            model = build(name)
            batch = batch_of(SHORT)
            clear_tables()
            model(batch).loss_sum.backward()
            expected = [p.grad for p in model.parameters()]
            model.zero_grad()
            backward(model(batch).loss_sum)
            for parameter, gradient in zip(model.parameters(), expected, strict=True):
                assert_close(parameter.grad, gradient)
