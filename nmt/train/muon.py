"""Muon for the matrices inside the network, AdamW for everything else, as one optimizer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from nmt.device import Precision, resolve_precision

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a, b and c (Jordan et al. 2024)


class MuonWithAdamW(Optimizer):
    """Of a hidden matrix W (m, n) with gradient G (Jordan et al. 2024; the learning rate of Liu et al. 2025):

        M <- mu M + (1 - mu) G,    U = (1 - mu) G + mu M                                mu = 0.95
        W <- W - lr weight_decay W - lr 0.2 sqrt(max(m, n)) orthogonal(U)

    orthogonal(U) is near the P Q^T of U = P S Q^T: five steps of Newton and Schulz, in bfloat16 or, where the device
    has no instructions for it, in float32.  The factor makes the step about as large as AdamW's, so that one learning
    rate serves both.  Vectors of words and positions, the projection to the vocabulary, gains and biases are AdamW's
    (Loshchilov and Hutter 2019).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        """The first of ``groups`` holds the hidden matrices; each has its ``weight_decay``."""
        hidden, *others = groups
        device = next((p.device for p in hidden["params"]), torch.device("cpu"))
        fast_in_bf16 = resolve_precision(Precision.auto, device) is Precision.bf16
        kind = Muon if fast_in_bf16 else Float32Muon
        self.muon = kind([hidden], lr=lr, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
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


class Float32Muon(Muon):
    """torch's Muon as ``MuonWithAdamW`` makes it, with the products of Newton and Schulz in float32.

    Where a processor has no instructions for bfloat16 they are emulated, and torch's own takes 22 times as long for 16
    matrices of width 128 and 32 times for width 256 (one thread of a Zen 3, torch 2.13): training transformer_tiny was
    15 times slower with it than with Adam.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            decay = 1 - group["lr"] * group["weight_decay"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                direction = orthogonal(p.grad.lerp(momentum, group["momentum"]))
                p.mul_(decay).add_(direction, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonal(u: Tensor) -> Tensor:
    """X_5 of X_0 = u / |u|, X_k+1 = a X + (b X X^T + c (X X^T)^2) X, which brings all singular values near 1: (m, n).

    The smaller of m and n is that of X X^T.
    """
    a, b, c = NEWTON_SCHULZ
    x = u if u.size(0) <= u.size(1) else u.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if u.size(0) <= u.size(1) else x.T


def hidden_matrices(model: nn.Module) -> set[nn.Parameter]:
    """The matrices of a model that are neither tables of vectors nor the projection to the vocabulary.

    That is ``model.projection``.  A plug-in may call it otherwise: then it is what has ``target_size`` rows.
    """
    apart = [part.weight for part in model.modules() if isinstance(part, nn.Embedding)]
    projection = getattr(model, "projection", None)
    if isinstance(projection, nn.Linear):
        apart.append(projection.weight)
    else:
        apart += [p for p in model.parameters() if p.size(0) == getattr(model, "target_size", None)]
    others = {id(p) for p in apart}
    return {p for p in model.parameters() if p.ndim == 2 and id(p) not in others}
