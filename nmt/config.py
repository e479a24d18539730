"""The whole configuration of a training run: its sections, the checks across them, and its form as YAML.

The files under configs/ hold values; the dataclasses, which live beside the code that they configure, hold types,
defaults, help and ranges.  A key whose value is one of several dataclasses (which model, which attention, which data)
has a row in CHOICE_GROUPS, which names the table of its package: one more row in that table is one more choice on the
command line and in --help.
"""

import os
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

from nmt.data.corpus import DATASETS, DataConfig, open_corpus
from nmt.data.pieces import SUBWORDS
from nmt.data.text import Corpus
from nmt.device import named_device
from nmt.errors import ConfigError, naming
from nmt.eval.metrics import check_utility
from nmt.models import MODELS
from nmt.models.attention import HardConfig
from nmt.models.seq2seq import Choices, ModelConfig, Tied, check_tied, zero_based
from nmt.search.config import NO_COVERAGE, DecodeConfig
from nmt.settings import check_ranges, explain_type, setting
from nmt.train.agreement import NOTHING_TO_AGREE
from nmt.train.config import ALIGNMENT_ERROR, COMMAND, COMMAND_LOWER, NO_GOLD_LINKS, TrainerConfig
from nmt.train.coverage import NOTHING_TO_COVER
from nmt.train.distributed import check_strategy
from nmt.train.guided import NOTHING_TO_GUIDE
from nmt.train.log import LoggerConfig
from nmt.train.optim import OptimConfig, check_cosine

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
FIXED_PIECES = 256 + 4  # bytes and special ids, which every vocabulary of subwords holds


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


# Checks across sections.


def check_sections(config: Config) -> None:
    """Raise ConfigError, naming the keys, where no training of this configuration can succeed.

    Everything that can be told from the configuration alone is told here: what one section asks for and another rules
    out.  Whoever starts a training calls it, a sweep for each of its jobs before the first one starts.  Reading the
    config.yaml of a run does not: a run of an earlier version may have been trained with what would not be started now,
    and other keys given with it (``run=DIR decode.coverage=0``) make it useful.
    """
    check_encodable(config)
    config.decode.check_candidates()
    if config.device != "auto":
        named_device(config.device)
    check_vocabulary(config)
    check_cosine(config.optim, config.trainer.max_steps)
    check_strategy(config.trainer, config.optim)
    if config.model.attention_heads is None:
        check_without_attention(config)
    open_corpus(config.data)  # which checks its languages
    if config.trainer.guided_alignment:
        check_guided(config)
    if config.trainer.agreement:
        check_agreement(config)
    if config.trainer.metric == ALIGNMENT_ERROR:
        check_gold_links(config.data)
    if config.trainer.metric in (COMMAND, COMMAND_LOWER) and config.trainer.validate_command is None:
        raise ConfigError(f"trainer.metric={config.trainer.metric} needs trainer.validate_command: type that, too")


def check_encodable(config: Config) -> None:
    """Raise ConfigError for text that the locale cannot encode: no file could have that name, no file hold it."""
    for key, value in flat(to_tree(config)).items():
        try:
            if isinstance(value, str):
                value.encode()  # what the locale did not understand on the command line are lone surrogates
                os.fsencode(value)
        except UnicodeEncodeError:
            raise ConfigError(not_of_this_locale(f"{key}={value}")) from None


def not_of_this_locale(word: str) -> str:
    """What is said of KEY=VALUE that the locale cannot encode."""
    return (
        f"{ascii(word)[1:-1]} has characters that this locale ({sys.getfilesystemencoding()}) does not have; "
        "set the environment variable LC_ALL=C.UTF-8"
    )


def check_vocabulary(config: Config) -> None:
    """Raise ConfigError for shared word vectors without a shared vocabulary, and for one too small to be learnt."""
    tokenizer = config.data.tokenizer
    check_tied(getattr(config.model, "tied", Tied.none), tokenizer.joint)
    if tokenizer.kind in SUBWORDS and tokenizer.vocab_size < FIXED_PIECES:
        raise ConfigError(
            f"data.tokenizer.vocab_size must be at least {FIXED_PIECES} with data.tokenizer.kind={tokenizer.kind.name} "
            f"(256 bytes and 4 special ids), got {tokenizer.vocab_size}"
        )


def check_without_attention(config: Config) -> None:
    """Raise ConfigError where something is to be done with attention that the model does not have."""
    if config.trainer.guided_alignment:
        raise ConfigError(f"{NOTHING_TO_GUIDE}; choose another model.attention")
    if config.trainer.agreement:
        raise ConfigError(f"{NOTHING_TO_AGREE}; choose another model.attention")
    if config.trainer.coverage_loss:
        raise ConfigError(f"{NOTHING_TO_COVER}; choose another model.attention")
    if config.trainer.metric == ALIGNMENT_ERROR:
        raise ConfigError(
            "trainer.metric=aer: this model has no attention to read alignments from; choose another model.attention"
        )
    if config.decode.coverage:
        raise ConfigError(NO_COVERAGE)


def check_guided(config: Config) -> None:
    """Raise ConfigError where guided alignment has no head to teach or no alignment to teach it."""
    check_taught_head(config, "trainer.guided_alignment")
    if config.data.alignments is None and DATASETS[type(config.data)].linked_pairs is Corpus.linked_pairs:
        open_corpus(config.data).linked_pairs(config.seed)  # raises the ConfigError that says what is missing


def check_agreement(config: Config) -> None:
    """Raise ConfigError where trainer.agreement has no two directions to compare, or no head to compare them by."""
    check_taught_head(config, "trainer.agreement")
    directions = config.data.directions()
    if not config.data.tags or len(directions) != 2 or directions[0] != directions[1][::-1]:
        raise ConfigError(
            "trainer.agreement compares the two directions of one model: 'data.pairs=[A-B,B-A]' data.tags=true, "
            "with the codes of your languages for A and B"
        )
    if not config.data.tokenizer.joint:
        raise ConfigError(
            "trainer.agreement turns pairs round, which needs one vocabulary for both sides: data.tokenizer.joint=true"
        )
    for key in ("case", "typos"):
        if getattr(config.data.noise, key):
            raise ConfigError(
                f"trainer.agreement turns pairs round, so that data.noise.{key} in sources would be learnt as a "
                "translation; leave one of the two out"
            )


def check_taught_head(config: Config, key: str) -> None:
    """Raise ConfigError where there is no head of attention that what ``key`` asks for could teach."""
    for name in config.model.choices:
        if isinstance(getattr(config.model, name), HardConfig):
            raise ConfigError(
                f"{key} teaches weights, and model.{name}=hard trains with one position that is drawn from them; "
                f"choose another model.{name}"
            )
    layers, heads = config.model.attention_heads or (0, 0)
    zero_based(config.trainer.guided_layer, layers, "trainer.guided_layer")
    zero_based(config.trainer.guided_head, heads, "trainer.guided_head")


def check_gold_links(data: DataConfig) -> None:
    """Raise ConfigError for trainer.metric=aer on data that has no gold links, whatever its files hold."""
    if data.gold is None and not open_corpus(data).validation_has_gold():
        raise ConfigError(NO_GOLD_LINKS)


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
