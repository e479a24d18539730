"""Training of a model whose gradients and averages do not fit on one device: each process keeps a share of everything.

trainer.strategy=fsdp is torch's fully_shard (FSDP2; Zhao et al. 2023, "PyTorch FSDP", arXiv:2304.11277; Rajbhandari et
al. 2020, "ZeRO", stage 3).  A parameter is a DTensor, of whose rows each process has as many.  Before a part of the
model runs forward or backward its weights are gathered, afterwards they are dropped, and of a gradient each process
keeps the sum of its own rows.  Optimizer and average of the weights work on shares alone.

Checkpoints are those of a training without shares, so that any number of processes goes on from them, with shares or
without.  Validation is one process's work, by a whole copy of the model: the weights have to fit once.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from nmt.models.seq2seq import Seq2Seq
from nmt.train.distributed import Ranks
from nmt.train.ema import WeightAverage


class Shards:
    """A model that is divided among the ranks, and a whole one on the first rank to be validated."""

    def __init__(self, model: Seq2Seq, device: torch.device, ranks: Ranks) -> None:
        """All ranks start from the weights of rank 0.  ``model`` is on ``device``; its parameters become DTensors."""
        self.model, self.device = model, device
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        self.whole = copy.deepcopy(model).to("cpu") if ranks.main else None
        mesh = init_device_mesh(device.type, (ranks.size,))
        for part in model.shared_parts():
            fully_shard(part, mesh=mesh)
            for method in ("keys_and_values",):  # what uses the part's weights besides forward
                if hasattr(part, method):
                    register_fsdp_forward_method(part, method)
        fully_shard(model, mesh=mesh)

    @contextlib.contextmanager
    def validated(self, average: WeightAverage) -> Iterator[Seq2Seq]:
        """The whole model with the average of the weights, on the first rank; the others help to gather it."""
        weights = gathered(average.model_state(self.model))
        if self.whole is None:
            yield self.model
            return
        self.whole.load_state_dict(weights)
        yield self.whole.to(self.device)
        self.whole.to("cpu")

    def gathered(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The same tree with whole tensors, in main memory, in place of shares; all ranks call it."""
        return gathered(tree)

    def shares_of(self, saved: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        """A checkpoint with this rank's shares of weights and of the optimizer's averages in place of the whole."""
        own = self.model.state_dict()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        found = dict(saved)
        found["model"] = {name: share_of(value, own.get(name)) for name, value in saved["model"].items()}
        if "ema" in saved:
            weights = {name: share_of(value, own.get(name)) for name, value in saved["ema"]["model"].items()}
            found["ema"] = {**saved["ema"], "model": weights}
        averages = cast(dict[int, dict[str, Any]], saved["optimizer"]["state"])
        state = {n: {key: share_of(v, parameters[n]) for key, v in of.items()} for n, of in averages.items()}
        found["optimizer"] = {**saved["optimizer"], "state": state}
        return found


def gathered(tree: Any) -> Any:
    """The same tree with whole tensors, in main memory, in place of shares; all ranks call it."""
    if isinstance(tree, DTensor):
        return tree.full_tensor().detach().cpu()
    if isinstance(tree, dict):
        return {key: gathered(value) for key, value in tree.items()}
    return tree


def share_of(whole: Any, like: Any) -> Any:
    """This rank's share of a tensor, where ``like`` is one, for a tensor of the same shape; anything else as it is."""
    if not (isinstance(like, DTensor) and isinstance(whole, Tensor) and whole.shape == like.shape):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
