"""Training by several processes, as torchrun starts them, or by one, with the same calls."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from nmt.device import Precision
from nmt.errors import ConfigError, UserError
from nmt.train.config import Strategy, TrainerConfig
from nmt.train.optim import OptimConfig, OptimizerName

COLLECTIVE_TIMEOUT = timedelta(hours=6)  # the other ranks wait that long while the first one prepares or validates


@dataclass(frozen=True)
class Ranks:
    """The number of this process among ``size`` processes, and what they tell each other.

    With one process nothing is sent: every method returns what it was given.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process validates, writes files and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """A module that is called as ``model`` is and whose backward pass averages the gradients over the ranks.

        All ranks start from the weights of rank 0.
        """
        if self.size == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=False,
        )

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the ranks.  Numbers of the host travel through main memory: no accelerator waits."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, for which the others wait; what they pass is ignored."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def check_strategy(trainer: TrainerConfig, optim: OptimConfig, processes: int | None = None) -> None:
    """Raise ConfigError for trainer.strategy=fsdp in fp16, with another optimizer than Adam, or with one process
    (None: not known)."""
    if trainer.strategy is not Strategy.fsdp:
        return
    if trainer.precision is Precision.fp16:
        raise ConfigError("trainer.strategy=fsdp computes in fp32 or bf16; fp16 needs trainer.strategy=ddp")
    if optim.name not in (OptimizerName.adam, OptimizerName.adamw):
        raise ConfigError(
            f"trainer.strategy=fsdp needs optim=adam or adamw, got {optim.name}: only these are known to "
            "work on shares of weights"
        )
    if processes == 1:
        raise ConfigError(
            "trainer.strategy=fsdp gives each of several processes a share of the model, and this is one process: "
            "torchrun --nproc-per-node=N -m nmt.train starts N of them; for one, trainer.strategy=ddp"
        )


@contextlib.contextmanager
def join_processes(device: torch.device) -> Iterator[Ranks]:
    """Connect to the other processes that torchrun started (environment variables RANK, WORLD_SIZE, ...).

    Without torchrun, and with one process, there is nothing to connect to.  Gradients travel by NCCL between CUDA
    devices, everything else by Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    # With --max-restarts all attempts share torchrun's store, and the addresses of a dead one must not be found there.
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT)
    try:
        with one_message(store):
            yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def one_message(store: dist.Store) -> Iterator[None]:
    """Where a process ends with an error or is killed, one process says so; the others end with status 1.

    Raises UserError in the first process that misses another one which has said nothing.
    """
    try:
        yield
    except Exception as error:
        first = first_to_speak(store)
        if not misses_another(error):
            raise
        if not first:
            raise SystemExit(1) from None
        raise UserError(
            "another process of this training has ended without a message, perhaps because it was killed or memory ran "
            "out (torchrun's report below has its exit code); the same command with resume=true goes on from the last "
            "checkpoint"
        ) from error


def first_to_speak(store: dist.Store) -> bool:
    """Whether no other process has called this before."""
    try:
        return store.add("spoken", 1) == 1
    except RuntimeError:  # the store went with the process that ended
        return True


def misses_another(error: Exception) -> bool:
    """Whether an error is that of a process that waits for one that is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def without_gradient_sync(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A context in which backward passes add to this rank's gradients alone, without averaging them over the ranks.

    For all batches of an update but the last.
    """
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()
