"""Several processes, one model: what torchrun starts, or a single process that need not know the difference."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=6)  # the other ranks wait while the first one validates


@dataclass(frozen=True)
class Ranks:
    """This process's place among ``size``.  Alone, every method is the identity."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process validates, writes and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """A module of the same call whose gradients are averaged over the ranks in backward.

        The weights become those of rank 0.
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
        """Each value summed over the ranks.  Host numbers through host memory: no accelerator waits."""
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

    def share(self, value: Any) -> Any:
        """Rank 0's value; the others wait for it."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Ranks]:
    """Meet the processes that torchrun started beside this one (environment variables RANK, WORLD_SIZE, ...).

    Without torchrun there is nothing to do.  Gradients travel by NCCL between CUDA devices, all else by Gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def quiet(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Context whose backward passes only add to this rank's gradients: for all batches of an update but the last."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()
