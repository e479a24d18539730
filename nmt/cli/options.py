"""What can be typed after a command: its keys and config groups, read from the dataclasses, the tables and configs/."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args, get_origin, get_type_hints

from nmt.cli.first_page import choice_files, first_comment
from nmt.config import CHOICE_GROUPS, CONFIG_DIR, Config, group_of_type
from nmt.eval.metrics import sentence_metrics
from nmt.models.seq2seq import Choices
from nmt.search.config import NO_MBR
from nmt.settings import Range, allowed, choices_of


@dataclass(frozen=True)
class Command:
    """One `python -m` command: its root config below configs/, the dataclass that types it, and what --help says."""

    module: str  # what is typed after python -m
    root: str  # configs/ROOT.yaml
    schema: type
    summary: str
    examples: tuple[str, ...]  # what is typed after the module
    groups: tuple[str, ...] = ()  # config groups that can be chosen
    of_runs: bool = False  # works on run=DIR: starts from its config.yaml
    takes_files: bool = False  # run= may also be a file, which has no config.yaml
    config_dirs: tuple[Path, ...] = ()  # the folders of --config-dir, which hold more choices


class Option(NamedTuple):
    """One key a user can type."""

    key: str
    text: str  # what it is for
    range: Range = Range()  # of a number
    choices: tuple[str, ...] = ()  # the only values, where they have names
    group: str = ""  # the group some of whose choices have it, if not all do
    only: tuple[str, ...] = ()  # and these choices
    boolean: bool = False  # whether it is true or false
    named: bool = False  # below it stand names that the user chooses, as in data.tests.NAME

    @property
    def help(self) -> str:
        """What the key is for and what it may be; choices that the text itself names are not listed again."""
        named = set(self.choices) <= set(re.findall(r"\w+", self.text))
        return self.text + f" ({', '.join(self.choices)})" * (not named) + f" ({self.range})" * bool(str(self.range))


# Groups that set keys of several sections, and of which nothing is chosen unless it is typed.
WITHOUT_DEFAULT = ("experiment", "recipe", "mechanism")

# Keys whose choices are the names of a table above the package that declares them.
CHOICES_KNOWN_ABOVE = {"decode.mbr": lambda: (NO_MBR, *sentence_metrics())}


def key_options(schema: type, prefix: str = "") -> Iterator[Option]:
    """Every key below a dataclass, in declaration order, each once."""
    hints = get_type_hints(schema)
    for declared in fields(schema):
        key, kind = prefix + declared.name, hints[declared.name]
        group = group_of_type(kind)
        if group is not None:
            yield from options_of_choices(group, key)
        elif is_dataclass(kind):
            yield from key_options(cast(type, kind), key + ".")
        elif not (declared.name == "name" and any(issubclass(schema, g.base) for g in CHOICE_GROUPS.values())):
            text = declared.metadata.get("help", "")
            names = CHOICES_KNOWN_ABOVE.get(key, partial(choice_names, declared, kind))
            boolean, named = bool in (kind, *get_args(kind)), get_origin(kind) is dict
            yield Option(key, text, allowed(declared), tuple(names()), boolean=boolean, named=named)


def options_of_choices(group: Choices, key: str) -> Iterator[Option]:
    """The keys of all choices of a group; those that not every choice has are marked."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for choice in group.configs:
        for option in key_options(choice, key + "."):
            found.setdefault(option.key, (option, []))[1].append(choice.name)
    for option, names in found.values():
        everywhere = option.only or len(names) == len(group.configs)
        yield option if everywhere else option._replace(group=key, only=tuple(names))


def choice_names(declared: Field[Any], kind: Any) -> list[str]:
    """The names that a field's value is one of: those that it was declared with, or those of its Enum."""
    names = [str(choice) for choice in choices_of(declared)]
    for enum in (k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, Enum)):
        names += [member.name for member in enum]
    return names


def config_groups(config_dirs: Sequence[Path] = ()) -> dict[str, dict[str, str]]:
    """Every config group: its choices, each with a line about it, from the tables and from configs/GROUP/*.yaml.

    ``config_dirs`` are folders of the user's own, laid out as configs/ is.
    """
    found: dict[str, dict[str, str]] = {
        name: {c.name: first_line(c.__doc__ or "") for c in group.configs} for name, group in CHOICE_GROUPS.items()
    }
    for folder in (CONFIG_DIR, *config_dirs):
        for path in choice_files(folder):
            group = path.parent.name
            if group != "hydra":
                rows = found.setdefault(group, {})
                rows[path.stem] = first_comment(path) or rows.get(path.stem, "")
    return found


def optional_groups(command: Command) -> list[str]:
    """The groups of which nothing is chosen by default, so that Hydra wants a + before a choice."""
    own = config_groups(command.config_dirs).keys() - config_groups().keys()
    return [*sorted(own), *(group for group in command.groups if group in WITHOUT_DEFAULT)]


def first_line(text: str) -> str:
    """The first line of a docstring."""
    return text.strip().partition("\n")[0]


def known_keys(schema: type) -> list[str]:
    """All that may stand before an equals sign where the config is a ``schema``."""
    keys = [option.key for option in key_options(schema)]
    groups = [g for g in config_groups() if schema is Config or any(is_below(key, (g,)) for key in keys)]
    return [*groups, *keys]


def is_below(key: str, keys: Iterable[str]) -> bool:
    """Whether ``key`` is one of ``keys`` or lies below one."""
    key = key.replace("/", ".")
    return any(key == k or key.startswith(k + ".") for k in keys)
