"""One update of the weights, and a trial of the longest batch before the first update."""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nmt.batch import PAD, Batch
from nmt.device import Precision, autocast, limits_explained
from nmt.models.seq2seq import Output, Seq2Seq
from nmt.train.agreement import NOTHING_TO_AGREE, trace_bonus
from nmt.train.config import Normalization, Strategy, TrainerConfig
from nmt.train.coverage import NOTHING_TO_COVER, coverage_loss
from nmt.train.cutoff import two_views, zero_vector_of_padding
from nmt.train.distributed import Ranks, without_gradient_sync
from nmt.train.ema import WeightAverage
from nmt.train.guided import guided_head, guided_loss
from nmt.train.loss_scale import LossScale
from nmt.train.optim import OptimConfig, Schedule, build_optimizer, state_tensors, update
from nmt.train.training_state import capture_rng, restore_rng
from nmt.train.update_statistics import UpdateStatistics


class Updater:
    """Model, optimizer, learning rate schedule and average of the weights.

    Nothing in it waits for the device, but for Muon and optimizers of plug-ins, whose updates only the host can skip.
    """

    def __init__(
        self,
        model: Seq2Seq,
        config: TrainerConfig,
        optim: OptimConfig,
        precision: Precision,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        """``model`` is on ``device`` already; ``precision`` is not auto."""
        self.config, self.precision, self.device, self.ranks = config, precision, device, ranks
        self.model = model
        self.shards = None
        if config.strategy is Strategy.fsdp:
            from nmt.train.sharding import Shards  # here: it takes a second, and every command imports this module

            self.shards = Shards(model, device, ranks)
        # Weights of the divergence of two passes: what ``Seq2Seq.forward`` takes after ``want_maps``.
        self.two_passes = (config.r_drop, config.cutoff_weight) if config.cutoff else (config.r_drop,)
        if config.cutoff:
            zero_vector_of_padding(model)
        self.parallel = model if self.shards else ranks.wrap(model, device)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(model, optim)
        self.schedule = Schedule(self.optimizer, optim, config.max_steps)
        self.state_tensors = state_tensors(optim)
        self.loss_scale = LossScale(precision, device)
        self.average = WeightAverage(self.parameters, config.ema)
        self.statistics = UpdateStatistics(device)
        self.lr = 0.0  # learning rate of the latest update

    def step(self, group: list[Batch], number: int, epoch: float) -> None:
        """Make update ``number`` (counted from 1) from the batches of ``group``, after ``epoch`` passes over the data.

        Raises ConfigError where memory runs out.
        """
        tokens = sum(int((batch.target_out != PAD).sum()) for batch in group)
        sentences = sum(batch.ids.numel() for batch in group)
        [total] = self.ranks.sum(tokens if self.config.normalization is Normalization.tokens else sentences)
        self.lr = self.schedule.set(number, epoch)
        with limits_explained(self.device, lambda: describe_sizes(group)):
            nll, objective = self.backward(group, total)
            self.loss_scale.unscale(self.optimizer)
            norm = update(self.optimizer, self.parameters, self.config.clip)
        self.loss_scale.update()
        self.average.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.statistics.add(nll, objective, norm, tokens)

    def backward(self, group: list[Batch], total: float) -> tuple[Tensor, Tensor]:
        """Add the gradients of (losses summed over ``group`` and all ranks) / total, times the loss scale, to those of
        the parameters.

        Returns this rank's summed -log p, with R-Drop or cutoff the mean of two passes, and this rank's share of that
        objective times the number of ranks: both ().
        """
        config = self.config
        nll = objective = torch.zeros((), device=self.device)
        for number, batch in enumerate(group, 1):
            if self.device.type == "cuda":
                batch = batch.pin_memory()  # from pageable memory the copy would wait for the device
            batch = batch.to(self.device)
            if config.cutoff:
                batch = two_views(batch, config.cutoff)
            elif config.r_drop:
                batch = batch.doubled()
            last = number == len(group)
            with contextlib.nullcontext() if last else without_gradient_sync(self.parallel):
                with autocast(self.precision, self.device):
                    maps = config.guided_alignment > 0 or config.agreement > 0 or config.coverage_loss > 0
                    output = self.parallel(batch, maps, *self.two_passes)
                loss_sum = output.loss_sum
                if config.guided_alignment:
                    loss_sum = loss_sum + config.guided_alignment * self.guided_alignment_loss(output, batch)
                if config.agreement:
                    assert output.maps is not None, NOTHING_TO_AGREE
                    weights = guided_head(output.maps, config.guided_layer, config.guided_head)
                    loss_sum = loss_sum - config.agreement * trace_bonus(weights, batch, config.guided_shift)
                if config.coverage_loss:
                    assert output.maps is not None, NOTHING_TO_COVER
                    read_again = coverage_loss(output.maps.weights, batch.target_out != PAD)
                    loss_sum = loss_sum + config.coverage_loss * read_again
                # DistributedDataParallel takes the mean over the ranks; this factor makes it the sum.
                loss = loss_sum * (self.ranks.size / total)
                self.loss_scale.scaled(loss).backward()
            nll = nll + output.nll.sum() / (2 if config.r_drop or config.cutoff else 1)
            objective = objective + loss.detach()
        return nll, objective

    def validated(self) -> contextlib.AbstractContextManager[Seq2Seq]:
        """Entered by all ranks: the model with the weights that are validated and kept, on the first rank."""
        return self.shards.validated(self.average) if self.shards else self.average.in_place(self.model)

    def weights(self) -> dict[str, Tensor]:
        """The weights that are validated and kept, whole on every rank; all ranks call it."""
        return self.whole(self.average.model_state(self.model))

    def resumable(self) -> dict[str, Any]:
        """What training goes on from besides ``weights``, whole on every rank; all ranks call it."""
        state = {"optimizer": self.optimizer.state_dict(), **self.average.state_dict(self.model)}
        scale = self.loss_scale.state_dict()  # {} but in fp16
        return self.whole(state) | {"schedule": self.schedule.state_dict()} | ({"loss_scale": scale} if scale else {})

    def whole(self, tree: dict[str, Any]) -> dict[str, Any]:
        """A tree of tensors, with whole ones in place of shares."""
        return self.shards.gathered(tree) if self.shards else tree

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from ``weights`` and ``resumable``; learning rate and decay are those of today's settings."""
        if self.shards:
            saved = self.shards.shares_of(saved, self.optimizer)
        self.average.restore(self.model, saved)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**saved["optimizer"], "param_groups": groups})
        self.schedule.load_state_dict(saved["schedule"])
        self.loss_scale.load_state_dict(saved.get("loss_scale", {}))

    def guided_alignment_loss(self, output: Output, batch: Batch) -> Tensor:
        """The loss of the head that trainer.guided_layer and guided_head name, summed over the batch's links: ()."""
        assert batch.links is not None, "guided alignment needs batches with links"
        weights = guided_head(output.maps, self.config.guided_layer, self.config.guided_head)
        return guided_loss(weights, batch.links, self.config.guided_shift)

    def try_longest(self, batch: Batch) -> None:
        """Run ``batch`` forward and backward without an update, so that memory runs out here rather than later.

        Where batches are accumulated it runs twice: the second pass needs memory beside the gradients of the first.
        As much memory as the optimizer will allocate at its first update is taken meanwhile.  Weights, gradients and
        random number generators are afterwards as they were.  Raises ConfigError where memory runs out.
        """
        rng = capture_rng(self.device)
        group = [batch] * min(self.config.accumulate, 2)
        with limits_explained(self.device, lambda: describe_sizes(group)), without_gradient_sync(self.parallel):
            missing = 0 if self.optimizer.state else self.state_tensors
            future_optimizer_state = [torch.empty_like(p) for p in self.parameters for _ in range(missing)]
            self.backward(group, total=1)
            del future_optimizer_state
        self.optimizer.zero_grad(set_to_none=True)
        restore_rng(rng, self.device)


def describe_sizes(group: list[Batch]) -> str:
    """The shapes of batches that do not fit in memory, and what to do about it."""
    sizes = ", ".join(f"{b.source.size(0)} x ({b.source.size(1)} + {b.target_out.size(1)})" for b in group)
    return (
        f"batches of {sizes} (sentences x (source + target positions)); "
        "lower data.batching.tokens and raise trainer.accumulate by as much"
    )
