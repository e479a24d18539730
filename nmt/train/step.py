"""One update of the weights, and the longest batch tried before the first."""

import contextlib
import math

import torch
from torch import Tensor, nn

from nmt.batch import PAD, Batch
from nmt.device import Precision, autocast, memory_explained
from nmt.runs.checkpoint import capture_rng, restore_rng
from nmt.train.config import Normalization, TrainerConfig
from nmt.train.distributed import Ranks, quiet
from nmt.train.ema import WeightAverage
from nmt.train.guided import guided_head, guided_loss
from nmt.train.optim import OptimConfig, Schedule, build_optimizer, state_tensors, update


class Updater:
    """Model, optimizer and schedule, and what an update needs of them.  Nothing in it waits for the device."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainerConfig,
        optim: OptimConfig,
        precision: Precision,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        """``model`` is on ``device`` already; ``precision`` is resolved."""
        self.config, self.precision, self.device, self.ranks = config, precision, device, ranks
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(model, optim)
        self.schedule = Schedule(self.optimizer, optim, config.max_steps)
        self.state_tensors = state_tensors(optim)
        self.parallel = ranks.wrap(model, device)
        self.average = WeightAverage(self.parameters, config.ema)
        self.window = Window(device)
        self.lr = 0.0  # of the latest update

    def step(self, group: list[Batch], number: int, epoch: float) -> None:
        """Update ``number`` (from 1), from ``group``, at ``epoch``."""
        tokens = sum(int((batch.target_out != PAD).sum()) for batch in group)
        sentences = sum(batch.ids.numel() for batch in group)
        [total] = self.ranks.sum(tokens if self.config.normalization is Normalization.tokens else sentences)
        self.lr = self.schedule.set(number, epoch)
        with memory_explained(self.device, lambda: sizes_of(group)):
            nll, objective = self.backward(group, total)
            norm = update(self.optimizer, self.parameters, self.config.clip)
        self.average.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.window.add(nll, objective, norm, tokens)

    def backward(self, group: list[Batch], total: float) -> tuple[Tensor, Tensor]:
        """Add to the gradients those of (losses summed over ``group`` and the ranks) / total + mean of extra losses.

        Returns this rank's summed -log p, of R-Drop's two passes the mean, and its share of that objective times the
        number of ranks: ().
        """
        nll = objective = torch.zeros((), device=self.device)
        for number, batch in enumerate(group, 1):
            if self.device.type == "cuda":
                batch = batch.pin_memory()  # from pageable memory the copy would wait for the device
            with quiet(self.parallel) if number < len(group) else contextlib.nullcontext():
                loss_sum, of_batch, extra = self.losses(batch.to(self.device))
                # DistributedDataParallel takes the mean over the ranks; this makes it the sum.
                loss = loss_sum * (self.ranks.size / total)
                if extra is not None:
                    loss = loss + extra / len(group)
                loss.backward()
            nll = nll + of_batch
            objective = objective + loss.detach()
        return nll, objective

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """What a batch adds to the sum to be normalized, its -log p, and what is not normalized: ()."""
        config = self.config
        passes = 2 if config.r_drop else 1
        if config.r_drop:
            batch = batch.doubled()
        with autocast(self.precision, self.device):
            output = self.parallel(batch, config.guided_alignment > 0, config.r_drop)
        loss = output.loss_sum
        if config.guided_alignment:
            assert batch.links is not None, "guided alignment needs batches with links"
            weights = guided_head(output.maps, config.guided_layer, config.guided_head)
            loss = loss + config.guided_alignment * guided_loss(weights, batch.links)
        return loss, output.nll.sum() / passes, output.extra_loss

    def try_longest(self, batch: Batch) -> None:
        """Run ``batch`` forward and backward, and leave no trace: memory runs out here or not at all.

        Twice where batches are accumulated: the second finds the gradients of the first in its way.  What the
        optimizer has not allocated yet is allocated for the while.  Raises ConfigError.
        """
        rng = capture_rng(self.device)
        group = [batch] * min(self.config.accumulate, 2)
        with memory_explained(self.device, lambda: sizes_of(group)), quiet(self.parallel):
            missing = 0 if self.optimizer.state else self.state_tensors
            ballast = [torch.empty_like(p) for p in self.parameters for _ in range(missing)]
            self.backward(group, total=1)
            del ballast
        self.optimizer.zero_grad(set_to_none=True)
        restore_rng(rng, self.device)


def sizes_of(group: list[Batch]) -> str:
    """The shapes of batches that do not fit in memory, and what to do."""
    sizes = ", ".join(f"{b.source.size(0)} x ({b.source.size(1)} + {b.target_out.size(1)})" for b in group)
    return (
        f"batches of {sizes} (sentences x (source + target positions)); "
        "lower data.batching.tokens and raise trainer.accumulate by as much"
    )


class Window:
    """Sums over the updates since they were last read, kept on the device.

    Updates that were skipped count in ``skipped`` and in the host's tokens alone: one inf would hide the rest.
    """

    NAMES = ("nll", "tokens", "objective", "norm", "made")

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(self.NAMES), dtype=torch.float64, device=device)
        self.streak = torch.zeros((), dtype=torch.int64, device=device)  # skipped updates in a row, over windows
        self.updates = self.tokens = 0

    def add(self, nll: Tensor, objective: Tensor, norm: Tensor, tokens: int) -> None:
        """Take note of one update."""
        made = norm.isfinite()
        ones = torch.ones_like(nll)
        row = torch.stack([x.double() for x in (nll, ones * tokens, objective, norm, ones)])
        self.sums += torch.where(made, row, 0.0)
        self.streak = torch.where(made, 0, self.streak + 1)
        self.updates += 1
        self.tokens += tokens

    def read(self, ranks: Ranks) -> tuple[dict[str, float], int]:
        """Figures over all ranks, and how many updates in a row were skipped up to now; starts anew.

        loss: -log p per target token, in nats, without label smoothing; ppl = exp(loss); objective: what is minimized,
        normalized and with extra losses; gradient_norm before clipping; tokens: target tokens; skipped: updates.
        """
        sums = dict(zip(self.NAMES, self.sums.tolist(), strict=True))
        nll, counted, objective, tokens = ranks.sum(sums["nll"], sums["tokens"], sums["objective"], self.tokens)
        facts: dict[str, float] = {"tokens": tokens, "skipped": self.updates - sums["made"]}
        if sums["made"]:
            loss = nll / counted
            facts["loss"], facts["ppl"] = loss, math.exp(min(loss, 700.0))  # beyond 709 it raises
            facts["objective"] = objective / ranks.size / sums["made"]
            facts["gradient_norm"] = sums["norm"] / sums["made"]
        self.sums.zero_()
        self.updates = self.tokens = 0
        return facts, int(self.streak)
