"""Which device a process takes, where int8 is to be had, and the message if memory runs out."""

import pytest
import torch

from nmt import device
from nmt.device import Precision, limits_explained, resolve_device, resolve_precision
from nmt.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """A machine of four CUDA devices, as far as anybody asks torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_of_torchrun_takes_its_own_device(machine, name):
    """With an index, without which torch.cuda.set_device refuses it."""
    assert resolve_device(name) == torch.device("cuda:0")
    machine.setenv("LOCAL_RANK", "3")
    machine.setenv("LOCAL_WORLD_SIZE", "4")
    assert resolve_device(name) == torch.device("cuda:3")
    machine.setenv("LOCAL_RANK", "4")
    with pytest.raises(ConfigError, match="cuda:4 is not one of 4 CUDA devices"):
        resolve_device(name)


def test_a_device_by_number_is_for_one_process(machine):
    assert resolve_device("cuda:2") == torch.device("cuda:2")
    machine.setenv("LOCAL_WORLD_SIZE", "1")
    assert resolve_device("cuda:2") == torch.device("cuda:2")
    machine.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"device=cuda:2: torchrun's processes would share it; device=cuda"):
        resolve_device("cuda:2")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:9"])
def test_what_is_no_device_here_is_refused_by_its_key(machine, name):
    with pytest.raises(ConfigError, match=f"device={name}"):
        resolve_device(name)


def test_without_cuda_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device=cuda: this torch finds no CUDA device"):
        resolve_device("cuda")


def test_int8_is_for_cpus_that_have_its_products(monkeypatch):
    """Refused by the key that it is typed for; ``auto`` never chooses it."""
    cpu = torch.device("cpu")
    monkeypatch.setattr(device, "has_int8", lambda: True)
    assert resolve_precision(Precision.int8, cpu) is Precision.int8
    assert resolve_precision(Precision.auto, cpu) is not Precision.int8
    with pytest.raises(ConfigError, match=r"^decode\.precision=int8 is for CPUs, not for cuda:1; type"):
        resolve_precision(Precision.int8, torch.device("cuda:1"))
    monkeypatch.setattr(device, "has_int8", lambda: False)
    with pytest.raises(ConfigError, match=r"^decode\.precision=int8: this torch has no products .*; type decode"):
        resolve_precision(Precision.int8, cpu)


def test_a_torch_without_fbgemm_has_no_int8(monkeypatch):
    engines = type("Engines", (), {"supported_engines": ["qnnpack"]})
    monkeypatch.setattr(torch.backends, "quantized", engines)
    assert not device.has_int8()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate"), MemoryError()],
)
def test_memory_that_runs_out_is_explained(error):
    with (
        pytest.raises(ConfigError, match="out of memory on cpu with much; take less"),
        limits_explained(torch.device("cpu"), lambda: "much; take less"),
    ):
        raise error


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match=r"^shapes$"), limits_explained(torch.device("cpu"), lambda: "much"):
        raise RuntimeError("shapes")


def test_what_deterministic_refuses_is_named():
    """put_ has no deterministic form on any device."""
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(ConfigError, match=r"^deterministic=true: on cpu torch has no deterministic form of put_,"):  # noqa: SIM117
            with limits_explained(torch.device("cpu"), lambda: ""):
                torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    finally:
        torch.use_deterministic_algorithms(False)
