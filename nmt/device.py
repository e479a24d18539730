"""The device, number of threads, precision and determinism of computations."""

import contextlib
import ctypes
import os
import random
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np
import torch

from nmt.errors import ConfigError


class Precision(Enum):
    """Arithmetic of matrix products; weights, optimizer and sums stay float32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"  # of search alone: large weights of 8 bits, all else float32 (nmt/models/ops/int8.py)


# What torch says where torch.use_deterministic_algorithms refuses an operation, as float cumsum on CUDA.
NOT_DETERMINISTIC = re.compile(r"(\w+) does not have a deterministic implementation")
HALF = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


def named_device(name: str) -> torch.device:
    """The device of that name, here or not; raises ConfigError for a name that is no device."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={name} is not one of auto, cpu, cuda, cuda:N")
    return device


def resolve_device(name: str) -> torch.device:
    """The torch device that a config's ``device`` names.

    ``cuda`` is the CUDA device of this process, under torchrun the one of LOCAL_RANK; ``auto`` is the same where there
    is one, and else the CPU.  Raises ConfigError for a name that is no device, for a device that this machine does not
    have, and for one that several processes would share.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = named_device(name)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    elif device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"device={name}: torchrun's processes would share it; device=cuda gives each its own")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device={name}: this torch finds no CUDA device; use device=cpu")
        if device.index >= torch.cuda.device_count():
            raise ConfigError(f"device={name}: {device} is not one of {torch.cuda.device_count()} CUDA devices")
    return device


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """``auto`` is a fixed rule: bf16 where the device has bf16 matrix instructions, else fp32.

    fp16 is never chosen by itself: its largest number is 65,504, so that training needs a scaled loss
    (``nmt.train.loss_scale``).  It is for cards without bf16 (Volta, Turing).

    An update of +experiment=multi30k_en_de with input feeding (benchmarks/training.py, one core of a Zen 4, torch 2.13)
    took 926 ms of CPU time in fp32 and 548 in bf16.  On a CPU without AVX512-BF16 or AMX such products are emulated:
    when oneDNN was told not to use them (ONEDNN_MAX_CPU_ISA=AVX512_CORE) it took 927 and 1,793.

    Nor is int8, which changes translations.  Raises ConfigError for int8 where it is not to be had.
    """
    if precision is Precision.int8:
        check_int8(device)
    if precision is not Precision.auto:
        return precision
    if device.type == "cuda":
        return Precision.bf16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.fp32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Precision.bf16 if native else Precision.fp32


def has_int8() -> bool:
    """Whether this torch has FBGEMM, whose products of 8-bit integers are for x86-64 processors, and its operators.

    torch has announced that it will drop the tensors that they take.
    """
    operators = "linear_prepack", "linear_with_input_q_dq_qweight_dq_output_fp32"
    made = hasattr(torch, "_make_per_channel_quantized_tensor")
    there = made and all(hasattr(torch.ops.quantized, name) for name in operators)
    return there and "fbgemm" in torch.backends.quantized.supported_engines


def check_int8(device: torch.device) -> None:
    """Raise ConfigError where search cannot compute in int8."""
    if device.type != "cpu":
        raise ConfigError(f"decode.precision=int8 is for CPUs, not for {device}; type decode.precision=auto")
    if not has_int8():
        raise ConfigError(
            "decode.precision=int8: this torch has no products of 8-bit integers (FBGEMM) for this processor; "
            "type decode.precision=auto"
        )


def refuse_int8(precision: Precision, key: str) -> None:
    """Raise ConfigError for int8 as the value of a key that is not of search."""
    if precision is Precision.int8:
        raise ConfigError(f"{key}=int8: only search computes in int8 (decode.precision); here auto, fp32, bf16 or fp16")


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Context in which matrix products run in the resolved ``precision``."""
    if precision in HALF:
        return torch.autocast(device.type, HALF[precision])
    return contextlib.nullcontext()


@contextlib.contextmanager
def limits_explained(device: torch.device, what: Callable[[], str]) -> Iterator[None]:
    """A context in which running out of memory, and an operation that deterministic=true refuses, raise ConfigError.

    ``what`` returns the end of the message about memory: what needed it, and what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if refused := NOT_DETERMINISTIC.search(str(error)):
            raise ConfigError(
                f"deterministic=true: on {device} torch has no deterministic form of {refused[1]}, which this "
                "configuration needs; type deterministic=false, or choose other keys"
            ) from error
        # On a CPU torch raises a plain RuntimeError that names its allocator.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise ConfigError(f"out of memory on {device} with {what()}") from error


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_up(threads: int | None, deterministic: bool) -> None:
    """Set the number of CPU threads (None: torch's choice) and, if asked, use deterministic algorithms alone."""
    keep_freed_memory()
    bound_primitive_cache()
    if threads is not None:
        torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this setting
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)  # imports torch's compiler, which takes seconds


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of returning them to the system; other C libraries are left alone.

    A training step allocates and frees the same large tensors again and again, and each return costs a
    page fault a page at the next use: some 25,000 faults and a tenth of a step (benchmarks/lstm_step.py).
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "gnu_get_libc_version"):
        m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def bound_primitive_cache() -> None:
    """Let oneDNN keep 32 compiled products instead of 1,024, unless the environment says otherwise.

    Sentences come in hundreds of shapes, and what oneDNN compiles and allocates for each stays: after 100 updates of
    +experiment=multi30k_en_de with input feeding (benchmarks/training.py, one thread) 1,544 MB were resident with 1,024
    and 1,208 with 32, for 580 and 594 ms of CPU time an update.  oneDNN reads this once, at its first use.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
