"""Hydra's optimizing sweepers (hydra/sweeper=optuna): what is checked before the first trial, and said at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from nmt.config import Config
from nmt.errors import ConfigError, UserError
from nmt.train.config import sign_of

BEST = "optimization_results.yaml"  # what the sweeper writes


def refuse_old_hydra(overrides: Sequence[Override]) -> None:
    """Raise ConfigError for hydra/sweeper=optuna where Hydra is older than its plug-in."""
    for override in overrides:
        if override.key_or_group == "hydra/sweeper" and override.value() == "optuna" and hydra_version() < (1, 4):
            raise ConfigError(
                f"hydra/sweeper=optuna needs Hydra 1.4, and this is {hydra.__version__}, whose plug-in is made for "
                "Optuna 2 alone: pip install --pre hydra-optuna-sweeper"
            )


def hydra_version() -> tuple[int, ...]:
    """Of the installed Hydra: (1, 3)."""
    return tuple(int(number) for number in hydra.__version__.split(".")[:2])


def example_words(overrides: Sequence[Override]) -> list[str]:
    """The words of a job with the first value of everything that is searched for."""
    return [
        f"{o.get_key_element()}={first_value(o)}" if o.is_sweep_override() else o.input_line or "" for o in overrides
    ]


def first_value(override: Override) -> Any:
    """The first choice, or the lowest number."""
    value = override.value()
    if isinstance(value, IntervalSweep | RangeSweep):
        return value.start
    assert isinstance(value, ChoiceSweep)
    return next(iter(override.sweep_string_iterator()))


def check_optimizer(cfg: DictConfig, config: Config) -> None:
    """Raise ConfigError where the sweeper would look for the worst of what trainer.metric measures."""
    metric = config.trainer.metric
    wanted = "maximize" if sign_of(metric) > 0 else "minimize"
    direction = OmegaConf.select(cfg, "hydra.sweeper.direction")
    given = getattr(direction, "name", direction)
    if given != wanted:
        raise ConfigError(
            f"hydra.sweeper.direction={given}: the objective is the best validation by trainer.metric={metric}; "
            f"type hydra.sweeper.direction={wanted}"
        )


def optimize(cfg: DictConfig, context: HydraContext, task: Any, folder: Path) -> None:
    """Let the sweeper choose and run trials, and print the best; raises UserError where too many of them failed."""
    sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=cfg)
    try:
        sweeper.sweep(list(cfg.hydra.overrides.task))
    except RuntimeError as error:  # a trial's own, which has been printed
        raise UserError(f"a trial failed, and hydra.sweeper.max_failure_rate allows no more: {error}") from None
    results = folder / BEST
    found = yaml.safe_load(results.read_text(encoding="utf-8"))
    words = " ".join(f"{key}={value}" for key, value in found["best_params"].items())
    print(f"\nbest of the trials: {words}, {found['best_value']:.4f}; {results}", flush=True)
