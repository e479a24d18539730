"""Muon for the matrices inside the network, AdamW for everything else, as one optimizer."""

from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

MOMENTUM = 0.95


class MuonWithAdamW(Optimizer):
    """Of a hidden matrix W (m, n) with gradient G (Jordan et al. 2024; the learning rate of Liu et al. 2025):

        M <- mu M + (1 - mu) G,    U = (1 - mu) G + mu M                                mu = 0.95
        W <- W - lr weight_decay W - lr 0.2 sqrt(max(m, n)) orthogonal(U)

    orthogonal(U) is near the P Q^T of U = P S Q^T: five steps of Newton and Schulz, in bfloat16.  The factor makes the
    step about as large as AdamW's, so that one learning rate serves both.  Vectors of words and positions, the
    projection to the vocabulary, gains and biases are AdamW's (Loshchilov and Hutter 2019).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        """The first of ``groups`` holds the hidden matrices; each has its ``weight_decay``."""
        hidden, *others = groups
        self.muon = Muon([hidden], lr=lr, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
        self.adamw = AdamW(others, lr=lr, betas=betas, eps=eps, fused=True)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {"lr": lr})
        self.share()

    def share(self) -> None:
        """Let both work on this optimizer's groups and averages, which are what is saved and given a learning rate."""
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self.muon.state = self.adamw.state = self.state

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of both."""
        self.muon.step()
        self.adamw.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        super().load_state_dict(state_dict)
        self.share()


def hidden_matrices(model: nn.Module) -> set[nn.Parameter]:
    """The matrices of a model that are neither tables of vectors nor a projection to its ``target_size`` words."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    words = getattr(model, "target_size", None)
    return {p for p in model.parameters() if p.ndim == 2 and id(p) not in tables and p.size(0) != words}
