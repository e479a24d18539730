"""The whole configuration: every room's dataclass gathered, made known to Hydra, and read back from a run.

The YAML under configs/ holds values; the dataclasses, which live beside the code that they configure, hold types,
defaults, help and range checks.  A field whose choices are dataclasses (which model, which attention, which data) reads
the table of its room in PLUGS: one more row there is one more choice on the command line, and in --help.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args, get_type_hints

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nmt.data.corpus import DATASETS, DataConfig
from nmt.errors import ConfigError
from nmt.eval.metrics import check_utility, sentence_metrics
from nmt.models import MODELS
from nmt.models.attention import ATTENTIONS, AttentionConfig
from nmt.models.seq2seq import ModelConfig
from nmt.models.transformer.config import SELF_ATTENTIONS, SelfAttentionConfig
from nmt.search.config import NO_MBR, DecodeConfig
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

MAX_NAME = 120  # characters of a run's folder
FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass
class Config:
    """One training run."""

    name: str | None = field(
        default=None, metadata={"help": "folder of the run below runs; null: made of the choices typed"}
    )
    runs: str = field(default="runs", metadata={"help": "where runs live"})
    sweep: str | None = field(
        default=None, metadata={"help": "folder below runs that holds a sweep; null: the time, in a sweep (-m)"}
    )
    resume: bool = field(
        default=False, metadata={"help": "go on with the newest run of the same name, if there is one"}
    )
    init_from: str | None = field(
        default=None, metadata={"help": "run directory whose weights and tokenizer to start from, with a new optimizer"}
    )
    seed: int = field(default=1, metadata={"help": "seeds weights, dropout, data and the order of batches"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    threads: int | None = field(default=None, metadata={"help": "CPU threads; null: as many as torch finds"})
    deterministic: bool = field(default=False, metadata={"help": "refuse operations whose result can vary"})
    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)

    def __post_init__(self) -> None:
        for key, value in {"name": self.name, "sweep": self.sweep}.items():
            if value is not None and not (FOLDER.fullmatch(value) and len(value) <= MAX_NAME):
                raise ConfigError(
                    f"{key} must be one folder's name of A-Z a-z 0-9 . _ - in at most {MAX_NAME}, got {value!r}"
                )
        if self.decode.reranks:
            check_utility(self.decode.mbr)
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")


class Plug(NamedTuple):
    """A key whose value is one of several dataclasses, chosen by their ``name``."""

    base: type  # the type of the field
    choices: tuple[type, ...]
    default: str


# Every config group that has a table, by the key as typed.  A group below another (model.attention) has the dot in its
# name: Hydra then takes `model.attention=NAME` for a choice and refuses a name that is not in the table.
PLUGS = {
    "model": Plug(ModelConfig, tuple(MODELS), "lstm"),
    "model.attention": Plug(AttentionConfig, tuple(ATTENTIONS), "global"),
    "model.self_attention": Plug(SelfAttentionConfig, SELF_ATTENTIONS, "global"),
    "data": Plug(DataConfig, tuple(DATASETS), "phrases"),
}


def register() -> None:
    """Tell Hydra every schema, and a choice in its group for every row of every table.

    Where configs/ has a file of that group and name, the file is the choice: Hydra allows only one of the two.
    """
    store = ConfigStore.instance().store
    store(name="train_schema", node=Config)
    for group, plug in PLUGS.items():
        for choice in plug.choices:
            if "." in group:
                store(group=group, name=choice.name, node=choice)
            else:
                store(group=f"schema/{group}", name=choice.name, node=choice)
                if not (CONFIG_DIR / group / f"{choice.name}.yaml").exists():
                    store(group=group, name=choice.name, node={"defaults": [*bases(group, choice), "_self_"]})


def bases(group: str, choice: type) -> list[dict[str, str]]:
    """A defaults list that makes ``choice`` the value of ``group``, its own plugs filled with their defaults."""
    inner = {f"/{key}@{key.rpartition('.')[2]}": PLUGS[key].default for key in plugs_of(group, choice)}
    return [{f"/schema/{group}@_here_": choice.name}, *({k: v} for k, v in inner.items())]


def plugs_of(group: str, choice: type) -> list[str]:
    """The dotted groups directly below a choice: ['model.attention'] for the LSTM of group model."""
    return [key for key in (f"{group}.{f.name}" for f in fields(choice)) if key in PLUGS]


def owners(key: str) -> list[str]:
    """Which choices of the group above have the dotted group ``key``: ['lstm'] for model.attention."""
    group = key.rpartition(".")[0]
    return [c.name for c in PLUGS[group].choices if key in plugs_of(group, c)] if group in PLUGS else []


def plug_for(kind: Any) -> Plug | None:
    """The plug that fills a field of this type."""
    return next((plug for plug in PLUGS.values() if plug.base is kind), None)


def to_tree(config: Any) -> dict[str, Any]:
    """A config dataclass as plain dicts, lists and values; Enums by their names."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))


def to_yaml(config: Any) -> str:
    """A config dataclass as YAML that ``from_yaml`` reads back."""
    return yaml.safe_dump(to_tree(config), sort_keys=False, allow_unicode=True)


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
    return restore(tree)


def restore(tree: Any) -> Config:
    """A Config from plain dicts and lists; raises ConfigError where they do not fit."""
    if not isinstance(tree, dict):
        raise ConfigError("no configuration: expected keys and values")
    try:
        return cast(Config, OmegaConf.to_object(OmegaConf.merge(shaped(Config, tree), literal(tree))))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'configuration'}: {str(error.msg).splitlines()[0]}") from None


def shaped(kind: type, tree: dict[str, Any], prefix: str = "") -> Any:
    """The schema of a dataclass with every plug filled by the choice that ``tree`` names."""
    schema: Any = OmegaConf.structured(kind)
    hints = get_type_hints(kind)
    for f in fields(kind):
        plug, part, key = plug_for(hints[f.name]), tree.get(f.name), prefix + f.name
        if plug is not None and isinstance(part, dict):
            choice = next((c for c in plug.choices if c.name == part.get("name")), None)
            if choice is None:
                raise ConfigError(f"{key} has no choice {part.get('name')!r}")
            schema[f.name] = shaped(choice, part, key + ".")
    return schema


def literal(value: Any) -> Any:
    """The same tree with OmegaConf's interpolation signs escaped, so that reading a run evaluates nothing."""
    if isinstance(value, dict):
        return {k: literal(v) for k, v in value.items()}
    if isinstance(value, list):
        return [literal(v) for v in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


# Keys whose choices are known above the package that declares them.
CHOICES = {"decode.mbr": lambda: (NO_MBR, *sentence_metrics())}


class Option(NamedTuple):
    """One key a user can type."""

    key: str
    help: str
    group: str = ""  # the group some of whose choices have it, if not all do
    only: tuple[str, ...] = ()  # and these choices


def options(schema: type, prefix: str = "") -> Iterator[Option]:
    """Every key below a dataclass, in declaration order, each once."""
    hints = get_type_hints(schema)
    for f in fields(schema):
        key, kind = prefix + f.name, hints[f.name]
        plug = plug_for(kind)
        if plug is not None:
            yield from plug_options(plug, key)
        elif is_dataclass(kind):
            yield from options(cast(type, kind), key + ".")
        elif not (f.name == "name" and any(issubclass(schema, p.base) for p in PLUGS.values())):
            choices = f.metadata.get("choices") or CHOICES.get(key, tuple)
            yield Option(key, " ".join([described(f.metadata.get("help", ""), kind), ", ".join(choices())]).strip())


def plug_options(plug: Plug, key: str) -> Iterator[Option]:
    """The keys of all choices of a plug; those that not every choice has are marked."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for choice in plug.choices:
        for option in options(choice, key + "."):
            found.setdefault(option.key, (option, []))[1].append(choice.name)
    for option, names in found.values():
        everywhere = option.only or len(names) == len(plug.choices)
        yield option if everywhere else option._replace(group=key, only=tuple(names))


def described(text: str, kind: Any) -> str:
    """Help of a field, with the names of its Enum where the text does not give them."""
    for enum in [k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, Enum)]:
        if not all(e.name in text for e in enum):
            text += f" ({', '.join(e.name for e in enum)})"
    return text
