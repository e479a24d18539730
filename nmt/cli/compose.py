"""From configs/ and the words that were typed to a checked, typed configuration, by Hydra."""

import copy
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from nmt.cli.help import help_text
from nmt.cli.hydra_keys import refuse_composed, refuse_typed
from nmt.cli.mistakes import explain_missing, hint
from nmt.cli.on_run import directories
from nmt.cli.options import WITHOUT_DEFAULT, Command, config_groups, is_below, known_keys
from nmt.config import (
    CHOICE_GROUPS,
    CONFIG_DIR,
    VERSION_BASE,
    Config,
    hydra_store,
    register_choices,
    to_dataclasses,
    to_tree,
    without_interpolation,
)
from nmt.config_checks import check_sections
from nmt.data.text import DataConfig, beside_pairs
from nmt.data.textfile import home_expanded
from nmt.errors import ConfigError, RunError
from nmt.runs.directory import read_config, read_data, run_name
from nmt.settings import expand_paths, explain_type

# Keys that say where and how long, not what: a run has the same name whatever they are.
NOT_IN_NAMES = (
    *("name", "runs", "sweep", "resume", "device", "threads", "logger", "hydra", "plugins"),
    *("data.root", "data.cache", "data.test", "data.tests", "data.gold"),
    *("trainer.max_steps", "trainer.max_minutes", "trainer.max_epochs", "trainer.keep_last", "trainer.keep_best"),
)
# Groups whose choice stands in a run's name without its key: local_p, not model.attention_local_p.
NAMED_BY_VALUE = ("name", "model", "model.attention", "data", *WITHOUT_DEFAULT)
YOUNGER = ("model.cross_attention",)
# What a run was trained with, and later commands therefore cannot change.
FIXED_BY_TRAINING = ("model", "data.tokenizer")


def register(command: Command) -> None:
    """Tell Hydra what may be typed after this command."""
    register_choices()
    store = hydra_store()
    store(name=f"{command.root}_schema", node=command.schema)


def configs(command: Command, overrides: list[str]) -> Any:
    """The job's config, with a name if it is a training run; a list of them for a command on finished runs."""
    with hydra.initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        refuse_typed(OverridesParser.create().parse_overrides(overrides), sweep=False)
        cfg = hydra.compose(command.root, overrides, return_hydra_config=True)
        refuse_composed(cfg.hydra, default_hydra(command.root, sweep=False), sweep=False)
        cfg = without_hydra(cfg)
        if command.schema is Config:
            take_tokenizer(cfg, overrides)
        config = typed(cfg)
        if isinstance(getattr(config, "data", None), DataConfig):
            refuse_beside_pairs(config.data, overrides)
        if command.of_runs:
            return [config_for(together, command, overrides) for together in config.named_runs()]
        if isinstance(config, Config) and config.name is None:
            config.name = run_name([name_part(key, value) for key, value in differing(command, cfg, overrides)])
    return config


def help_page(command: Command, overrides: list[str], resolve: bool) -> str:
    """What --help all prints, with the values that the overrides give.

    Hydra's own --help would spend seconds on a list of all groups, which no page of ours shows.
    """
    with hydra.initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        return help_text(command) + OmegaConf.to_yaml(hydra.compose(command.root, overrides), resolve=resolve)


@cache  # a quarter of a second, and nothing that a process does changes it
def default_config(root: str, sweep: bool) -> DictConfig:
    """What nothing typed would compose, for the configuration of this name.

    Its node ``hydra`` says how Hydra was initialized, too, which a ``sweep`` does in its own way.
    """
    return hydra.compose(root, [], return_hydra_config=True)


def default_hydra(root: str, sweep: bool) -> DictConfig:
    """The node ``hydra`` of ``default_config``."""
    return default_config(root, sweep).hydra


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The same node without Hydra's own settings, which are taken out of it."""
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def typed(cfg: DictConfig) -> Any:
    """Dataclasses instead of DictConfig, with every check made and `+key=value` extras refused."""
    try:
        config = to_dataclasses(cfg)
    except MissingMandatoryValue as error:
        schema: Any = OmegaConf.get_type(cfg)
        raise ConfigError(explain_missing(str(error.full_key), schema)) from None
    except OmegaConfBaseException as error:
        raise ConfigError(explain_type(str(error.full_key), str(error.msg))) from None
    refuse_extras(config, type(config))
    expand_paths(config)
    if isinstance(config, Config):
        check_sections(config)
    return config


def take_tokenizer(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Give a training with init_from=DIR the data.tokenizer.* of that run, except for the keys that are typed.

    A DIR that is no run is refused where its weights are asked for.
    """
    if not cfg.init_from:
        return
    typed_keys = [o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))]
    if "data.tokenizer" in typed_keys:
        return
    try:
        theirs = to_tree(read_config(home_expanded(str(cfg.init_from), "init_from")).data.tokenizer)
    except RunError:
        return
    for key, value in theirs.items():
        if f"data.tokenizer.{key}" not in typed_keys:
            OmegaConf.update(cfg, f"data.tokenizer.{key}", without_interpolation(value))


def refuse_beside_pairs(data: DataConfig, overrides: Sequence[str]) -> None:
    """Raise ConfigError for a language that is typed beside data.pairs and is not that of its first direction.

    The dataclass sees it only where it is not the default.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        for key, language in (("data.source", data.source), ("data.target", data.target)):
            if data.pairs and override.key_or_group == key and override.value() != language:
                raise ConfigError(beside_pairs(key, override.value()))


def refuse_extras(node: Any, schema: type, prefix: str = "") -> None:
    """Raise ConfigError for a key that no dataclass declares, or a choice whose name was typed over."""
    if not is_dataclass(node):
        return
    declared = {f.name for f in fields(node)}
    for name, value in vars(node).items():
        if name not in declared:
            raise ConfigError(f"unknown key {prefix + name!r}" + hint(prefix + name, known_keys(schema)))
        refuse_extras(value, schema, f"{prefix}{name}.")
    group, kind = prefix[:-1], type(node)
    if group in CHOICE_GROUPS and vars(node)["name"] != vars(kind)["name"]:
        raise ConfigError(f"{group}.name cannot be set; choose with {group}=NAME")


# The name of a run.


def differing(command: Command, cfg: DictConfig, overrides: list[str]) -> list[tuple[str, str]]:
    """(key, value) of the overrides without which the config would be another."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    naming = [o for o in parsed if not is_below(o.key_or_group, NOT_IN_NAMES)]
    if not naming:
        return []
    groups = config_groups(command.config_dirs)
    choices = [o.input_line or "" for o in parsed if o.key_or_group in groups or o.is_hydra_override()]
    default = without_hydra(copy.deepcopy(default_config(command.root, sweep=False)))

    def composed(words: list[str]) -> DictConfig:
        if not words:
            return default
        return cfg if len(words) == len(parsed) else hydra.compose(command.root, words)

    base, found = composed(choices), []
    for override in naming:
        key = override.key_or_group
        if override.input_line not in choices:
            same = OmegaConf.select(base, key) == OmegaConf.select(cfg, key)
        else:
            try:
                same = composed([c for c in choices if c != override.input_line]) == base
            except HydraException:  # another choice needs this one
                same = False
        if not same:
            found.append((key, override.get_value_element_as_str()))
    return found


def name_part(key: str, value: str) -> str:
    """How a choice reads in a run's name: local_p, seed_2, model.hidden_size_256 (attention has a hidden_size too)."""
    key = key.replace("/", ".")
    if key in NAMED_BY_VALUE:
        return value
    # Keys of model.cross_attention are younger than many runs, whose names do not change for them.
    keys = [k for k in known_keys(Config) if not is_below(k, YOUNGER) or is_below(key, YOUNGER)]
    parts = key.split(".")
    endings = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
    unique = (e for e in endings if sum(k == e or k.endswith("." + e) for k in keys) < 2)
    return f"{next(unique, key)}_{value}"


# Commands on finished runs.


def first_run(command: Command, overrides: Sequence[str]) -> Path | None:
    """The directory that run= names on the command line, if any; ConfigError for keys that cannot change."""
    found = None
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group.replace("/", ".")
        if is_below(key, FIXED_BY_TRAINING):
            raise ConfigError(f"{key} is built into the run and cannot be changed by {command.module}")
        if key == "run" and not override.is_sweep_override():
            found = directories(override.value())[0][0]
    return found


def register_run(directory: Path | None) -> None:
    """Make the data and decode sections of a run's config.yaml the choice ``as_trained`` of these groups.

    ``directory`` is None where no run was named, because only help is asked for: then they are the defaults.
    """
    store = hydra_store()
    data: dict[str, Any] = {"name": CHOICE_GROUPS["data"].default}
    decode: dict[str, Any] = {}
    if directory is not None:
        data, decode = read_data(directory), to_tree(read_config(directory).decode)
        register_choices()  # anew: reading the run may have executed its plug-ins
    for group, base, values in (("data", [{"/schema/data@_here_": data["name"]}], data), ("decode", [], decode)):
        node = {"defaults": [*base, "_self_"], **without_interpolation(values)}
        store(group=group, name="as_trained", node=node)


def with_config(directory: Path | None, command: Command) -> Path | None:
    """``directory``, or None where it is a file in its place, which says nothing of data and search."""
    return None if directory is not None and command.takes_files and directory.is_file() else directory


def config_for(together: Sequence[Path], command: Command, overrides: Sequence[str]) -> Any:
    """The command's config for a run, or for several together: what the first was trained with, and what is typed."""
    register_run(with_config(together[0], command))
    config = typed(hydra.compose(command.root, list(overrides)))
    config.run = str(together[0]) if len(together) == 1 else [str(directory) for directory in together]
    return config
