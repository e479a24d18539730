"""How a key of the configuration is declared: its default, its help and the values that it may have.

Every dataclass of the configuration declares its fields with ``setting`` and calls ``check_ranges`` when it is made;
--help shows the same ranges.
"""

import copy
import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import Field, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from nmt.errors import ConfigError, shortened

T = TypeVar("T")
ChoiceValues = tuple[Any, ...] | Callable[[], tuple[Any, ...]]

LARGEST = 2**63 - 1  # of a whole number: what torch, numpy and Arrow hold


class Range(NamedTuple):
    """Which numbers a key may have; str() gives it as it reads after "must be"."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    nonzero: bool = False

    def holds(self, value: float) -> bool:
        """Whether a key may have this value."""
        return (
            math.isfinite(value)
            and (isinstance(value, float) or abs(value) <= LARGEST)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
            and not (self.nonzero and value == 0)
        )

    def __str__(self) -> str:
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        words = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
        if self.least is not None and self.most is not None:
            words = [f"{self.least} to {self.most}"]
        return " and ".join([*words, *["other than 0"] * self.nonzero])


def setting(
    default: T,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    nonzero: bool = False,
    choices: ChoiceValues | None = None,
    path: bool = False,
) -> T:
    """A dataclass field with a default, a help text, and the values that it may have.

    The bounds are for a number and for every number in a list.  Neither nan nor an infinity is ever a value: a key that
    may be without a limit may be None, and its help says what that means as ``null: no limit``.  ``choices`` are the
    only values of a key, or of every item of a list; a function gives them where a table can still grow.  ``path`` says
    that a value is the name of a file or folder, which ``expand_paths`` then looks at.  The type returned is that of
    the default, so that a type checker compares it with the field's.
    """
    bounds = Range(least, above, most, below, nonzero)
    metadata = {"help": help, "range": bounds, "choices": choices, "path": path}
    if isinstance(default, list | dict):
        made: Any = field(default_factory=lambda: copy.copy(default), metadata=metadata)
    else:
        made = field(default=default, metadata=metadata)
    return made


def allowed(declared: Field[Any]) -> Range:
    """The range that a field was declared with; without one, any finite number."""
    return declared.metadata.get("range", Range())


def choices_of(declared: Field[Any]) -> tuple[Any, ...]:
    """The choices that a field was declared with; empty where there are none."""
    choices: ChoiceValues = declared.metadata.get("choices") or ()
    return choices() if callable(choices) else choices


def check_ranges(config: Any, prefix: str) -> None:
    """Raise ConfigError, naming PREFIX.FIELD, for a value of a config dataclass that is not one of those declared.

    Only what is there is checked: None passes, and so does what OmegaConf puts into a schema for a value that is still
    to come ("???", or "${...}").
    """
    for declared in fields(config):
        value, name = getattr(config, declared.name), f"{prefix}.{declared.name}".lstrip(".")
        items, choices = value if isinstance(value, list) else [value], choices_of(declared)
        for item in items:
            if get_args(declared.type) in ((int,), (float,)) and isinstance(item, dict | list):
                raise ConfigError(f"{name} is a list of numbers, and {shortened(str(item))} is none")
            number = isinstance(item, int | float) and not isinstance(item, bool)
            if number and not allowed(declared).holds(item):
                instead = "" if math.isfinite(item) else null_instead(name, declared.metadata.get("help", ""))
                raise ConfigError(
                    f"{name} must be {explain_range(allowed(declared), item)}, got {shortened(str(item))}{instead}"
                )
            if choices and item not in (None, *choices) and not to_come(item):
                raise ConfigError(
                    f"{name}: {shortened(repr(item))} is not one of {', '.join(str(choice) for choice in choices)}"
                )


def take_types(config: Any, prefix: str) -> None:
    """Put members of Enums in the place of their names in a config dataclass that was made or changed in Python.

    Raises ConfigError, naming PREFIX.FIELD, for a value of another type than the field's.
    """
    for name, kinds in field_types(type(config)).items():
        value, key = getattr(config, name), f"{prefix}.{name}"
        kind = kinds[0]
        if to_come(value):
            continue
        if issubclass(kind, Enum) and isinstance(value, str):
            if value not in kind.__members__:
                raise ConfigError(f"{key} must be one of {', '.join(kind.__members__)}, got {shortened(value)}")
            setattr(config, name, kind[value])
        elif not (isinstance(value, kinds) and isinstance(value, bool) == (kind is bool)):
            words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
            raise ConfigError(f"{key} must be {words.get(kind, kind.__name__)}, got {shortened(repr(value))}")


@functools.cache
def field_types(schema: type) -> dict[str, tuple[type, ...]]:
    """The types that the values of a dataclass's fields may have, the first of which is the declared one."""
    found = {}
    for name, hint in get_type_hints(schema).items():
        kinds = get_args(hint) or (hint,)  # int | None
        found[name] = (*kinds, int) if float in kinds else kinds
    return found


def explain_range(declared: Range, typed: float) -> str:
    """The range as it reads after "must be", and that a number must be finite, for somebody who typed nan or inf."""
    words = [str(declared)] if str(declared) else []
    if isinstance(typed, int) and abs(typed) > LARGEST:
        words = words or [f"at most {LARGEST}"]
    elif not words or not math.isfinite(typed):
        words.append("finite")
    return " and ".join(words)


def null_instead(name: str, help: str) -> str:
    """That null can be typed, and what it means, for somebody who typed inf or nan; "" where a key is never null."""
    meaning = re.search(r"\bnull: ([^;()]+)", help)
    return f"; type {name}=null ({meaning[1]})" if meaning else ""


def expand_paths(config: Any, prefix: str = "") -> None:
    """Put the user's home in the place of ~ in every path of a config and of the sections in it.

    Raises ConfigError, naming the key, for a path that is empty.
    """
    for declared in fields(config):
        value, name = getattr(config, declared.name), f"{prefix}{declared.name}"
        if is_dataclass(value):
            expand_paths(value, f"{name}.")
        elif declared.metadata.get("path"):
            if value == "" and declared.default == "???":
                raise ConfigError(f"{name} is empty: it has to be given")
            setattr(config, declared.name, expanded(value, name))


def expanded(value: Any, name: str) -> Any:
    """A path, or a list or tree of them, with the user's home in the place of ~."""
    if isinstance(value, list):
        return [expanded(item, name) for item in value]
    if isinstance(value, dict):
        return {key: expanded(item, f"{name}.{key}") for key, item in value.items()}
    if value == "":
        raise ConfigError(f"{name} is empty: type a path, or leave {name} out")
    if not isinstance(value, str):
        return value
    found = os.path.expanduser(value)  # noqa: PTH111 - Path.expanduser would rewrite what else was typed
    if found.startswith("~") and not Path(found).exists():
        raise ConfigError(f"{name}={value}: nobody of that name has a home folder here")
    return found


def explain_type(key: str, message: str) -> str:
    """What OmegaConf says of a value that a key cannot have, in the words of somebody who types keys.

    A message that is not among the known ones is passed on, its first line.
    """
    for pattern, words in TYPE_MISTAKES.items():
        found = re.search(pattern, message)
        if found:
            typed, *choices = found.groups() or ("",)
            return f"{key} {words.format(shortened(typed), *choices, key=key)}"
    return f"{key}: {shortened((message.splitlines() or ['cannot have this value'])[0], 300)}"


# What OmegaConf 2.3 and 2.4 say, as patterns, and what is said instead after the key.
TYPE_MISTAKES = {
    r"Value '(.*)' of type '\w+' could not be converted to Integer": "must be a whole number, got {0}",
    r"Value '(.*)' of type '\w+' could not be converted to Float": "must be a number, got {0}",
    r"Value '(.*)' is not a valid bool": "must be true or false, got {0}",
    r"Invalid value '(.*)', expected one of \[(.*)\]": "must be one of {1}, got {0}",
    r"Invalid value assigned: \w+ is not a ListConfig": "is a list: type '{key}=[A,B]'",
    r"Cannot convert '\w+' to string: '(.*)'": "must be one text, got {0}",
    r"is not Optional|NoneType is not a subclass": "cannot be null",
    r"Cannot merge DictConfig with ListConfig": "must be a list, [A,B], where it is one, and else NAME: VALUE pairs",
    r"Cannot assign \w+ to Dict": "has keys with values: type '{key}={{NAME: VALUE}}'",
    r"Invalid type assigned: \w+ is not a subclass of \w+. value: (.*)": "is a section of keys, and cannot be {0}",
}


def always_numbers(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a config dataclass whose values are a number or a bool in every configuration; those that may
    be null are not among them.
    """
    hints = get_type_hints(type(config))
    for declared in fields(config):
        value, key = getattr(config, declared.name), prefix + declared.name
        if is_dataclass(value):
            yield from always_numbers(value, f"{key}.")
        elif hints[declared.name] in (bool, int, float):
            yield key


def to_come(value: Any) -> bool:
    """Whether OmegaConf will put another value in its place."""
    return isinstance(value, str) and (value == "???" or "${" in value)
