"""The whole configuration of a training run: its sections, their choices, and its form as YAML.

The files under configs/ hold values; the dataclasses, which live beside the code that they configure, hold types,
defaults, help and ranges.  A key whose value is one of several dataclasses (which model, which attention, which data)
has a row in CHOICE_GROUPS, which names the table of its package: one more row in that table is one more choice on the
command line and in --help.
"""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, cast, get_type_hints

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nmt.data.corpus import DATASETS, DataConfig
from nmt.errors import ConfigError, naming
from nmt.eval.metrics import check_utility
from nmt.models import MODELS
from nmt.models.seq2seq import Choices, ModelConfig
from nmt.search.config import DecodeConfig
from nmt.settings import check_ranges, explain_type, setting
from nmt.train.config import TrainerConfig
from nmt.train.log import LoggerConfig
from nmt.train.optim import OptimConfig

# In an installed wheel the YAML lies inside the package, in a source tree beside it.
CONFIG_DIR = next(
    (
        d
        for d in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
        if (d / "train.yaml").exists()
    ),
    Path(__file__).parents[1] / "configs",
)

# What the calls of Hydra are told: 1.3 asks for the version that was meant, 1.4 warns where one is named.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
DEEPEST, MOST_VALUES = 20, 1_000_000  # a configuration is five levels deep and has some 150 values, and lists of files
TOO_DEEP = f"no configuration: nested more than {DEEPEST} levels deep, or contains itself"
PLUGINS_HELP = "files or modules of your own that add choices: plugins=[my_attention.py] (docs/plugins.md)"
TRUST_HELP = "execute the plug-ins that lie in the run directory, which are code"
MAX_NAME = 120  # characters of a run's folder
FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# data.test=[] in a config.yaml.  Earlier versions wrote [] there for every test set, which null is today.
NO_TESTS = "~none"
# Keys that may be null for no limit, where earlier versions took and wrote .inf.
ONCE_INFINITE = ("trainer.max_minutes", "trainer.max_epochs", "trainer.clip", "trainer.stall_minutes")
ONCE_INFINITE += ("optim.halve_after", "optim.halve_every", "data.checks.max_ratio")


@dataclass
class Config:
    """One training run."""

    name: str | None = setting(None, "folder of the run below runs; null: made of the choices typed")
    runs: str = setting("runs", "where runs live", path=True)
    sweep: str | None = setting(None, "folder below runs that holds a sweep; null: the time, in a sweep (-m)")
    resume: bool = setting(
        False, "go on with the newest run of the same name, if there is one; or DIR: with that run and its settings"
    )
    init_from: str | None = setting(
        None, "run directory whose weights and tokenizer to start from, with a new optimizer", path=True
    )
    plugins: list[str] = setting([], PLUGINS_HELP)
    seed: int = setting(1, "seeds weights, dropout, data and the order of batches", least=0, most=2**63 - 1)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    threads: int | None = setting(None, "CPU threads; null: as many as torch finds", least=1, most=1024)
    deterministic: bool = setting(False, "refuse operations whose result can vary")
    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)

    def __post_init__(self) -> None:
        check_ranges(self, "")
        for key, value in {"name": self.name, "sweep": self.sweep}.items():
            if value is not None and not (FOLDER.fullmatch(value) and len(value) <= MAX_NAME):
                raise ConfigError(
                    f"{key} must be one folder's name of A-Z a-z 0-9 . _ - in at most {MAX_NAME}, got {value!r}"
                )
        if self.decode.reranks:
            check_utility(self.decode.mbr)


# Choices.


# Every config group that has a table, by the key as typed.  A group below another (model.attention) has the dot in its
# name: Hydra then takes `model.attention=NAME` for a choice and refuses a name that is not in the table.
CHOICE_GROUPS: dict[str, Choices] = {"model": Choices(ModelConfig, MODELS, "lstm")}


def add_choice_groups() -> None:
    """Add to CHOICE_GROUPS what the models of the table let choose, as a model of a plug-in may."""
    for model in MODELS:
        for key, choices in model.choices.items():
            CHOICE_GROUPS.setdefault(f"model.{key}", choices)


add_choice_groups()
CHOICE_GROUPS["data"] = Choices(DataConfig, DATASETS, "phrases")


def hydra_store() -> Callable[..., None]:
    """ConfigStore.store, which replaces what has the same name; Hydra 1.4 wants to be told so, 1.3 does it anyway."""
    store: Callable[..., None] = ConfigStore.instance().store
    return partial(store, replace=True) if "replace" in signature(store).parameters else store


def register_choices() -> None:
    """Tell Hydra every schema, and a choice in its group for every row of every table.

    Where configs/ has a file of that group and name, the file is the choice: Hydra allows only one of the two.
    """
    store = hydra_store()
    store(name="train_schema", node=Config)
    for group, table in CHOICE_GROUPS.items():
        for choice in table.configs:
            if "." in group:
                store(group=group, name=choice.name, node=choice)
            else:
                store(group=f"schema/{group}", name=choice.name, node=choice)
                if not (CONFIG_DIR / group / f"{choice.name}.yaml").exists():
                    store(group=group, name=choice.name, node={"defaults": [*defaults_of(group, choice), "_self_"]})


def defaults_of(group: str, choice: type) -> list[dict[str, str]]:
    """A defaults list that makes ``choice`` the value of ``group``, its own groups filled with their defaults."""
    inner = {f"/{key}@{key.rpartition('.')[2]}": CHOICE_GROUPS[key].default for key in groups_within(group, choice)}
    return [{f"/schema/{group}@_here_": choice.name}, *({k: v} for k, v in inner.items())]


def groups_within(group: str, choice: type) -> list[str]:
    """The groups directly below a choice: ['model.attention'] for the LSTM of group model."""
    return [key for key in (f"{group}.{f.name}" for f in fields(choice)) if key in CHOICE_GROUPS]


def choices_with(key: str) -> list[str]:
    """Which choices of the group above have the group ``key``: ['lstm'] for model.attention."""
    group = key.rpartition(".")[0]
    configs = CHOICE_GROUPS[group].configs if group in CHOICE_GROUPS else ()
    return [choice.name for choice in configs if key in groups_within(group, choice)]


def group_of_type(kind: Any) -> Choices | None:
    """The group whose choices fill a field of this type."""
    return next((group for group in CHOICE_GROUPS.values() if group.base is kind), None)


# YAML.


def to_tree(config: Any) -> dict[str, Any]:
    """A config dataclass as plain dicts, lists and values; Enums by their names."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))


def to_yaml(config: Any) -> str:
    """A config dataclass as YAML that ``from_yaml`` reads back."""
    tree = to_tree(config)
    if isinstance(config, Config) and config.data.test == []:
        tree["data"]["test"] = NO_TESTS
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of ``to_tree`` by dotted key."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def from_yaml(text: str) -> Config:
    """The Config that ``to_yaml`` wrote; raises ConfigError for text that is none, naming the key.

    Keys that are not in the text, because an older version wrote it, have their defaults.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None
    except ValueError as error:  # a date that no calendar has, or more digits than Python reads
        raise ConfigError(f"no configuration: {error}") from None
    refuse_endless(tree)
    data = tree.get("data") if isinstance(tree, dict) else None
    if isinstance(data, dict) and data.get("test") in ([], NO_TESTS):
        data["test"] = [] if data["test"] else None
    for key in ONCE_INFINITE:
        infinity_to_null(tree, key.split("."))
    return restore(tree)


def infinity_to_null(tree: Any, parts: Sequence[str]) -> None:
    """Put None in the place of infinity at a dotted key of a tree, if it has that key, however it is written."""
    for part in parts[:-1]:
        tree = tree.get(part) if isinstance(tree, dict) else None
    value = tree.get(parts[-1]) if isinstance(tree, dict) else None
    if isinstance(value, float | str) and re.fullmatch(r"\+?\.?inf(inity)?", str(value), re.IGNORECASE):
        tree[parts[-1]] = None


def refuse_endless(tree: Any) -> None:
    """Raise ConfigError for a tree that is deeper or larger than a configuration can be, or contains itself."""
    level: list[Any] = [tree]
    for _ in range(DEEPEST):
        level = [
            item
            for node in level
            if isinstance(node, dict | list)
            for item in (node.values() if isinstance(node, dict) else node)
        ]
        if len(level) > MOST_VALUES:
            raise ConfigError(f"no configuration: more than {MOST_VALUES:,} values")
        if not level:
            return
    raise ConfigError(TOO_DEEP)


def restore(tree: Any) -> Config:
    """A Config from plain dicts and lists; raises ConfigError where they do not fit."""
    if not isinstance(tree, dict):
        raise ConfigError("no configuration: expected keys and values")
    try:
        return cast(Config, to_dataclasses(composed(tree)))
    except OmegaConfBaseException as error:
        raise ConfigError(explain_type(error.full_key or "configuration", str(error.msg))) from None
    except OverflowError:
        raise ConfigError(
            f"no configuration: it has a number of more than {sys.float_info.max_10_exp} digits"
        ) from None


def to_dataclasses(node: Any) -> Any:
    """The dataclasses of a typed node of OmegaConf, which check themselves.

    A dataclass that two groups have in common does not know which of them chose it (``Choices.said_as``): that its
    messages name the right one is seen to here.
    """
    model: Any = OmegaConf.get_type(OmegaConf.select(node, "model"))
    with ExitStack() as contexts:
        for key, choices in getattr(model, "choices", {}).items():
            if choices.said_as:
                contexts.enter_context(naming(f"model.{key}", instead=choices.said_as))
        return OmegaConf.to_object(node)


def composed(tree: dict[str, Any]) -> Any:
    """The same values as a typed node of OmegaConf; raises its errors where they do not fit."""
    return OmegaConf.merge(schema_for(Config, tree), without_interpolation(tree))


def schema_for(kind: type, tree: dict[str, Any], prefix: str = "") -> Any:
    """The schema of a dataclass with every group filled by the choice that ``tree`` names."""
    schema: Any = OmegaConf.structured(kind)
    hints = get_type_hints(kind)
    for f in fields(kind):
        group, part, key = group_of_type(hints[f.name]), tree.get(f.name), prefix + f.name
        if group is not None and part is None and prefix:  # a choice that there was none of when the text was written
            part = {"name": group.default}
        if group is not None and isinstance(part, dict):
            choice = next((c for c in group.configs if c.name == part.get("name")), None)
            if choice is None:
                hint = f"{key} has no choice {part.get('name')!r}; if a plug-in adds it, type plugins=[FILE]"
                raise ConfigError(group.why_not(str(part.get("name"))) or hint)
            schema[f.name] = schema_for(choice, part, key + ".")
    return schema


def without_interpolation(value: Any) -> Any:
    """The same tree with OmegaConf's interpolation signs escaped, so that reading a run evaluates nothing."""
    if isinstance(value, dict):
        return {k: without_interpolation(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_interpolation(v) for v in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
