"""Hydra's own settings: which are honoured here, and what takes the place of the others."""

from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from nmt.cli.options import is_below
from nmt.config import flat
from nmt.errors import ConfigError

HONOURED = ("hydra.searchpath",)
HONOURED_IN_A_SWEEP = (*HONOURED, "hydra.launcher", "hydra.sweeper.params")
HONOURED_BY_A_CHOSEN_SWEEPER = (*HONOURED_IN_A_SWEEP, "hydra.sweeper")
ALL_COMBINATIONS = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
# What Hydra itself fills in while it composes.
FILLED_IN = ("hydra.overrides", "hydra.runtime", "hydra.job.config_name", "hydra.job.override_dirname")
INSTEAD = {
    "hydra.run": "a run is made in the folder runs=FOLDER name=NAME",
    "hydra.output_subdir": "a run keeps its configuration in config.yaml",
    "hydra.sweep": "a sweep is made in the folder runs=FOLDER sweep=NAME",
    "hydra.sweeper": "a sweep (-m) runs all combinations of KEY=A,B ... and of hydra.sweeper.params",
    "hydra.mode": "-m starts a sweep",
    "hydra.job.name": "name=NAME names a run",
    "hydra.job.env_set": "set variables of the environment before the command: NAME=VALUE python -m ...",
    "hydra.job_logging": "logger.* says what is logged",
    "hydra.hydra_logging": "logger.* says what is logged",
    "hydra.verbose": "logger.* says what is logged",
}


def refuse_typed(overrides: Iterable[Override], sweep: bool) -> None:
    """Raise ConfigError for a typed setting of Hydra that would do nothing; ``sweep`` is whether -m was typed."""
    overrides = list(overrides)
    chosen = any(o.key_or_group == "hydra/sweeper" and o.value() != "basic" for o in overrides)
    for override in overrides:
        if override.is_hydra_override():
            refuse_ignored(override.key_or_group, sweep, chosen)


def refuse_composed(found: DictConfig, default: DictConfig, sweep: bool) -> None:
    """Raise ConfigError where a chosen YAML file has changed a setting of Hydra that does nothing.

    ``found`` and ``default`` are the nodes ``hydra`` of what was composed and of what nothing typed would compose.
    """
    changed, before = (leaves(node) for node in (found, default))
    for key in sorted(changed.keys() | before.keys()):
        if changed.get(key) != before.get(key) and not is_below(key, FILLED_IN):
            refuse_ignored(key, sweep, is_optimizing(found))


def is_optimizing(found: DictConfig) -> bool:
    """Whether a node ``hydra`` has another sweeper than that of all combinations."""
    return found.sweeper["_target_"] != ALL_COMBINATIONS


def leaves(node: DictConfig) -> dict[str, Any]:
    """The values of a node ``hydra`` by dotted key."""
    tree: Any = OmegaConf.to_container(node, resolve=False)
    return flat(tree, "hydra.")


def refuse_ignored(key: str, sweep: bool, optimizing: bool) -> None:
    """Raise ConfigError if ``key`` does nothing, with what takes its place."""
    in_a_sweep = HONOURED_BY_A_CHOSEN_SWEEPER if optimizing else HONOURED_IN_A_SWEEP
    if is_below(key, in_a_sweep if sweep else HONOURED):
        return
    if is_below(key, in_a_sweep):
        raise ConfigError(f"{key} is for a sweep: add -m")
    instead = next((text for name, text in INSTEAD.items() if is_below(key, (name,))), "")
    raise ConfigError(f"{key} does nothing here" + f": {instead}" * bool(instead))
