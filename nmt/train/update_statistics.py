"""Loss, gradient norm and token counts, summed on the device until they are logged."""

import math

import torch
from torch import Tensor

from nmt.train.distributed import Ranks


class UpdateStatistics:
    """Sums over the updates since they were last read.

    They are kept on the device, so that the host need not wait for it at every update.  Of an update that was skipped,
    because its gradient was not finite, only the tokens count: one inf would hide all other losses.
    """

    SUMS = ("nll", "tokens", "objective", "gradient_norm", "updates")

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(self.SUMS), dtype=torch.float64, device=device)  # of updates that were not skipped
        # Up to now; reading does not reset it.
        self.skipped_in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self.updates = self.tokens = 0  # of all updates

    def add(self, nll: Tensor, objective: Tensor, norm: Tensor, tokens: int) -> None:
        """Count one update: its summed -log p, its objective and its gradient norm, each (), and its target tokens."""
        finite = norm.isfinite()
        ones = torch.ones_like(nll)
        row = torch.stack([x.double() for x in (nll, ones * tokens, objective, norm, ones)])
        self.sums += torch.where(finite, row, 0.0)
        self.skipped_in_a_row = torch.where(finite, 0, self.skipped_in_a_row + 1)
        self.updates += 1
        self.tokens += tokens

    def read(self, ranks: Ranks) -> tuple[dict[str, float], int]:
        """Figures over all ranks since the last call, and how many updates in a row were skipped up to now.

        loss: -log p per target token, in nats, without label smoothing; ppl = exp(loss); objective: what is minimized,
        with label smoothing and all that keys of trainer add (R-Drop, cutoff, guided alignment, ...), normalized, the
        mean over updates; gradient_norm: before clipping, the mean over updates; tokens: target tokens; skipped:
        updates that were skipped.  Where all updates were skipped there are only the last two.
        """
        sums = dict(zip(self.SUMS, self.sums.tolist(), strict=True))
        nll, counted, objective, tokens = ranks.sum(sums["nll"], sums["tokens"], sums["objective"], self.tokens)
        figures: dict[str, float] = {"tokens": tokens, "skipped": self.updates - sums["updates"]}
        if sums["updates"]:
            loss = nll / counted
            figures["loss"], figures["ppl"] = loss, math.exp(min(loss, 700.0))  # beyond 709 it raises
            figures["objective"] = objective / ranks.size / sums["updates"]
            figures["gradient_norm"] = sums["gradient_norm"] / sums["updates"]
        self.sums.zero_()
        self.updates = self.tokens = 0
        return figures, int(self.skipped_in_a_row)
