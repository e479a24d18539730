"""Optimizers, gradient clipping and learning rate schedules."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import SGD, Adam, AdamW, Optimizer

from nmt.errors import ConfigError
from nmt.settings import check_ranges, setting
from nmt.train.muon import MuonWithAdamW, hidden_matrices


@dataclass
class OptimConfig:
    """Update rule and learning rate (optim.*)."""

    name: str = setting("adam", "update rule: adam, adamw, sgd or muon", choices=lambda: tuple(OPTIMIZERS))
    lr: float = setting(1e-3, "peak learning rate", above=0)
    betas: list[float] = setting([0.9, 0.98], "decay of Adam's two averages", least=0, below=1)
    eps: float = setting(1e-8, "added to Adam's denominator", above=0)
    weight_decay: float = setting(0.0, "of matrices; biases and gains never decay", least=0)
    momentum: float = setting(0.0, "of sgd", least=0, below=1)
    schedule: str = setting(
        "constant", "constant, inverse_sqrt, cosine, plateau or luong", choices=lambda: tuple(SCHEDULES)
    )
    warmup: int = setting(100, "steps of linear warm-up, with any schedule", least=0)
    min_lr: float = setting(0.0, "where cosine ends and plateau stops", least=0)
    decay_steps: int | None = setting(None, "step at which cosine reaches min_lr; null: trainer.max_steps", least=1)
    factor: float = setting(0.5, "plateau and luong multiply the learning rate by it", above=0, below=1)
    plateau_patience: int = setting(
        3, "plateau: validations in a row without improvement before the next reduction", least=1
    )
    halve_after: float | None = setting(
        5.0, "luong: finished epochs before the first halving; null: no halving", least=0
    )
    halve_every: float | None = setting(
        1.0, "luong: epochs from one halving to the next; null: no second halving", above=0
    )

    def __post_init__(self) -> None:
        check_ranges(self, "optim")
        if len(self.betas) != 2:
            raise ConfigError(f"optim.betas must be two numbers, got {list(self.betas)}")
        if self.min_lr > self.lr:
            raise ConfigError(f"optim.min_lr must be at most optim.lr ({self.lr}), got {self.min_lr}")
        if self.decay_steps is not None and self.decay_steps <= self.warmup:
            raise ConfigError(f"optim.decay_steps must be above optim.warmup ({self.warmup}), got {self.decay_steps}")


class OptimizerRow(NamedTuple):
    """A row of OPTIMIZERS."""

    build: Callable[[list[dict[str, Any]], OptimConfig], Optimizer]  # from torch's parameter groups
    state_tensors: Callable[[OptimConfig], int]  # how many tensors of a parameter's size it allocates for it
    hidden: bool = False  # whether the hidden matrices have a group of their own, the first


class Moment(NamedTuple):
    """What a learning rate may depend on."""

    step: int  # i, the number of the update, from 1
    epoch: float  # e, passes over the data before it
    decay_steps: int | None  # the step at which it ends: optim.decay_steps, else trainer.max_steps
    reductions: int  # how often optim.plateau_patience validations in a row were no better


def build_sgd(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    """Stochastic gradient descent, with momentum if optim.momentum is above 0."""
    sgd = SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    if config.momentum:  # torch would leave it uninitialized if the first update is skipped
        parameters = [p for group in groups for p in group["params"]]
        sgd.state |= {p: {"momentum_buffer": torch.zeros_like(p)} for p in parameters}
    return sgd


def build_adam(kind: type[Adam]) -> Callable[[list[dict[str, Any]], OptimConfig], Optimizer]:
    """What makes Adam, or AdamW."""
    return lambda groups, c: kind(groups, lr=c.lr, betas=(c.betas[0], c.betas[1]), eps=c.eps, fused=True)


def build_muon(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    """Muon, with AdamW for what is no hidden matrix."""
    return MuonWithAdamW(groups, config.lr, (config.betas[0], config.betas[1]), config.eps)


# The tables: the command line, --help and the builders read them.
OPTIMIZERS: dict[str, OptimizerRow] = {
    "adam": OptimizerRow(build_adam(Adam), lambda c: 2),  # Kingma and Ba 2015; weight decay is added to the gradient
    "adamw": OptimizerRow(build_adam(AdamW), lambda c: 2),  # Loshchilov and Hutter 2019: separate from the gradient
    "sgd": OptimizerRow(build_sgd, lambda c: 1 if c.momentum else 0),
    "muon": OptimizerRow(build_muon, lambda c: 2, hidden=True),  # nmt/train/muon.py
}


class OptimizerName(StrEnum):
    """The names of the package's own rows, for an editor to complete."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"
    muon = "muon"


def build_optimizer(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimizer of every trained parameter, in two groups: matrices, and vectors, which never decay.  For muon the
    matrices are two groups, the hidden ones and the others.

    But for Muon, which has none, it uses the fused kernels: of torch's three implementations they alone can skip an
    update without asking the host (``update``), and on a CPU they are also the fastest (Adam, 15 million parameters,
    one thread: 9.5 ms fused, 32 ms one by one, 48 ms foreach).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    row, matrices = OPTIMIZERS[config.name], [[p for p in parameters if p.ndim > 1]]
    if row.hidden:
        hidden = hidden_matrices(model)
        matrices = [[p for p in matrices[0] if (p in hidden) is inside] for inside in (True, False)]
    groups = [
        *({"params": part, "weight_decay": config.weight_decay} for part in matrices),
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return row.build(groups, config)


def update(optimizer: Optimizer, parameters: Sequence[nn.Parameter], clip: float | None) -> Tensor:
    """Scale the gradients so that their global norm is at most ``clip``, and take one step of the optimizer.

    g <- g * min(1, clip / (||g|| + 1e-6)), ||g|| over all parameters (Pascanu et al. 2013, section 3.2).
    Where the norm is not finite the update is skipped: weights, the optimizer's averages and its step counts stay as
    they were.

    Returns ||g|| before clipping: (), on the parameters' device, so that the host need not wait for it here.
    """
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if hasattr(norm, "full_tensor"):  # a DTensor, whose import takes a second: processes have shares of the gradients
        norm = cast(Any, norm).full_tensor()
    if clip is not None:
        clip_grads_with_norm_(parameters, clip, norm)
    # torch.amp.GradScaler, too, tells a fused optimizer in this way to skip the step, without the host knowing.
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~norm.isfinite()).float()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
    elif bool(norm.isfinite()):  # Muon or one of a plug-in, whose update only the host can skip
        optimizer.step()
    return norm


def state_tensors(config: OptimConfig) -> int:
    """How many tensors of a parameter's size the optimizer allocates for it at the first update."""
    return OPTIMIZERS[config.name].state_tensors(config)


def check_cosine(config: OptimConfig, max_steps: int | None) -> None:
    """Raise ConfigError for schedule=cosine without a step at which it ends, or with a warm-up until then or longer.

    It ends at ``decay_steps`` or, where that is null, at ``max_steps`` (trainer.max_steps).
    """
    if config.schedule != "cosine":
        return
    end = config.decay_steps or max_steps
    if end is None:
        raise ConfigError("optim.schedule=cosine needs optim.decay_steps where trainer.max_steps is null")
    if end <= config.warmup:
        raise ConfigError(f"optim.warmup ({config.warmup}) must be below the step at which cosine ends ({end})")


def cosine(c: OptimConfig, at: Moment) -> float:
    """Loshchilov and Hutter 2017, equation 5."""
    end = at.decay_steps
    assert end is not None, "check_cosine"
    done = min((at.step - c.warmup) / (end - c.warmup), 1.0)
    return c.min_lr + (c.lr - c.min_lr) * (1 + math.cos(math.pi * done)) / 2


def luong(c: OptimConfig, at: Moment) -> float:
    """Luong et al. 2015, section 4.1."""
    if c.halve_after is None or at.epoch < c.halve_after:
        return c.lr
    more = 0 if c.halve_every is None else math.floor((at.epoch - c.halve_after) / c.halve_every)
    return c.lr * c.factor ** (more + 1)


# The learning rate after warm-up; ``Schedule`` has the formulas.
SCHEDULES: dict[str, Callable[[OptimConfig, Moment], float]] = {
    "constant": lambda c, at: c.lr,
    "inverse_sqrt": lambda c, at: c.lr * math.sqrt(max(c.warmup, 1) / at.step),
    "cosine": cosine,
    "plateau": lambda c, at: max(c.lr * c.factor**at.reductions, c.min_lr),
    "luong": luong,
}


class ScheduleName(StrEnum):
    """The names of the package's own rows, for an editor to complete."""

    constant = "constant"
    inverse_sqrt = "inverse_sqrt"
    cosine = "cosine"
    plateau = "plateau"
    luong = "luong"


class Schedule:
    """The learning rate of update number i = 1, 2, ... that is made after e epochs (a real number).

        warm-up w                     lr i / w                       for i <= w
        constant                      lr
        inverse_sqrt                  lr sqrt(max(w, 1) / i)         (Vaswani et al. 2017, section 5.3: the same shape)
        cosine, d = decay_steps       min + (lr - min) (1 + cos(pi (i - w) / (d - w))) / 2, min beyond d
                                      (Loshchilov and Hutter 2017, equation 5)
        luong                         lr factor^k, k = floor((e - halve_after) / halve_every) + 1 for e >= halve_after
                                      (Luong et al. 2015, section 4.1)
        plateau                       max(lr factor^k, min), k one more for every plateau_patience validations in a
                                      row without a better metric

    The classes of torch.optim.lr_scheduler count only steps, and its plateau cannot be combined with a warm-up; the
    tests compare this class with them where they agree.
    """

    def __init__(self, optimizer: Optimizer, config: OptimConfig, max_steps: int | None) -> None:
        """``max_steps``: where cosine ends if optim.decay_steps does not say; raises ConfigError if both are None."""
        check_cosine(config, max_steps)
        self.optimizer = optimizer
        self.config = config
        self.decay_steps = config.decay_steps or max_steps
        self.reductions = 0
        self.validations_without_improvement = 0  # since the last better one or the last reduction

    def set(self, step: int, epoch: float) -> float:
        """Give the optimizer the learning rate of update ``step`` (from 1), and return it.

        Raises ConfigError where the formula of a plug-in gives no number.
        """
        lr = self.rate(step, epoch)
        if not math.isfinite(lr):  # only a plug-in's formula gives that
            raise ConfigError(f"optim.schedule={self.config.schedule} gives {lr} as the learning rate of update {step}")
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def rate(self, step: int, epoch: float) -> float:
        """The learning rate of update ``step`` (from 1) after ``epoch`` epochs: the formula of the class."""
        c = self.config
        if step <= c.warmup:
            return c.lr * step / c.warmup
        return SCHEDULES[c.schedule](c, Moment(step, epoch, self.decay_steps, self.reductions))

    def validated(self, improved: bool) -> None:
        """Count a validation, which may reduce the learning rate of plateau."""
        self.validations_without_improvement = 0 if improved else self.validations_without_improvement + 1
        if self.validations_without_improvement >= self.config.plateau_patience:
            self.reductions += 1
            self.validations_without_improvement = 0

    def state_dict(self) -> dict[str, int]:
        """What does not follow from step and epoch; the keys never change, so that old runs can be resumed."""
        return {"reductions": self.reductions, "waited": self.validations_without_improvement}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from ``state_dict``."""
        self.reductions, self.validations_without_improvement = state["reductions"], state["waited"]
