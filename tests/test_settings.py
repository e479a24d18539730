"""What a key may be is declared once: checked by one function, and shown by --help."""

import importlib
import math
import re
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import product
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nmt.cli import start
from nmt.cli.options import key_options
from nmt.config import CHOICE_GROUPS
from nmt.errors import ConfigError
from nmt.settings import Range, check_ranges, expand_paths, explain_type, setting

GROWING = ("a",)


@dataclass
class Example:
    count: int = setting(3, "how many", least=1)
    share: float = setting(0.5, "how much", least=0, below=1)
    factor: float = setting(0.5, "by what", above=0, most=2)
    place: int = setting(-1, "which", nonzero=True)
    limit: float | None = setting(None, "no more than that; null: no limit", above=0)
    free: float = setting(0.0, "whatever")
    decays: list[float] = setting([0.1, 0.2], "two", least=0, below=1)
    kind: str = setting("a", "what sort", choices=lambda: GROWING)
    kinds: list[str] = setting(["a"], "what sorts", choices=("a", "b"))
    on: bool = setting(False, "a switch", least=1)

    def __post_init__(self) -> None:
        check_ranges(self, "part")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"count": 0}, "part.count must be at least 1, got 0"),
        ({"share": 1.0}, "part.share must be at least 0 and below 1, got 1.0"),
        ({"share": -0.1}, "part.share must be at least 0 and below 1, got -0.1"),
        ({"factor": 0.0}, "part.factor must be above 0 and at most 2, got 0.0"),
        ({"factor": 2.1}, "part.factor must be above 0 and at most 2, got 2.1"),
        ({"place": 0}, "part.place must be other than 0, got 0"),
        ({"limit": 0.0}, "part.limit must be above 0, got 0.0"),
        ({"limit": math.nan}, "part.limit must be above 0 and finite, got nan; type part.limit=null (no limit)"),
        ({"limit": math.inf}, "part.limit must be above 0 and finite, got inf; type part.limit=null (no limit)"),
        ({"share": math.nan}, "part.share must be at least 0 and below 1 and finite, got nan"),
        ({"count": math.inf}, "part.count must be at least 1 and finite, got inf"),
        ({"free": math.inf}, "part.free must be finite, got inf"),
        ({"free": -math.inf}, "part.free must be finite, got -inf"),
        ({"decays": [0.1, 1.0]}, "part.decays must be at least 0 and below 1, got 1.0"),
        ({"kind": "c"}, "part.kind: 'c' is not one of a"),
        ({"kinds": ["b", "c"]}, "part.kinds: 'c' is not one of a, b"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_key(keys: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as caught:
        Example(**keys)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "keys",
    [
        {"count": 1, "share": 0.0, "factor": 2.0, "place": 1},
        {"limit": None},
        {"count": "???", "share": "${other}", "kind": "???", "kinds": ["${other}"], "decays": "???"},
        {"decays": []},
        {"on": False},
    ],
)
def test_what_is_in_range_or_still_to_come_passes(keys: dict[str, Any]):
    Example(**keys)


def test_choices_are_read_when_a_value_is_checked(monkeypatch):
    """A table may have got another row since the dataclass was made."""
    monkeypatch.setitem(globals(), "GROWING", ("a", "c"))
    assert Example(kind="c").kind == "c"


@dataclass
class Inner:
    files: Any = setting(None, "several", path=True)


@dataclass
class Outer:
    folder: str = setting("~/runs", "a folder", path=True)
    text: str = setting("~", "no path")
    inner: Inner = field(default_factory=Inner)


def test_home_is_expanded_in_every_path(monkeypatch):
    """Below sections, in lists and in trees; nowhere else."""
    monkeypatch.setenv("HOME", "/home/somebody")
    made = Outer(inner=Inner(["~/a", "b/~"]))
    expand_paths(made)
    assert (made.folder, made.text, made.inner.files) == ("/home/somebody/runs", "~", ["/home/somebody/a", "b/~"])
    made = Outer(inner=Inner({"x": {"source": "~/x"}}))
    expand_paths(made)
    assert made.inner.files == {"x": {"source": "/home/somebody/x"}}


@pytest.mark.parametrize(("made", "key"), [(Outer(""), "folder"), (Outer(inner=Inner(["a", ""])), "inner.files")])
def test_an_empty_path_is_refused(made, key):
    with pytest.raises(ConfigError, match=f"^{key} is empty"):
        expand_paths(made)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("whole", "x", "whole must be a whole number, got x"),
        ("whole", None, "whole cannot be null"),
        ("number", "x", "number must be a number, got x"),
        ("yes", "perhaps", "yes must be true or false, got perhaps"),
        ("several", 3, "several is a list: type 'several=[A,B]'"),
        ("text", [1], "text must be one text, got [1]"),
        ("tree", 3, "tree has keys with values: type 'tree={NAME: VALUE}'"),
        ("part", 3, "part is a section of keys, and cannot be 3"),
    ],
)
def test_what_omegaconf_says_of_a_type_is_said_in_other_words(key, value, words):
    """The installed OmegaConf's own messages, whatever its version."""
    config = OmegaConf.structured(EveryType)
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.update(config, key, value)
    assert explain_type(key, str(caught.value.msg)) == words


@dataclass
class EveryType:
    whole: int = 1
    number: float = 1.0
    yes: bool = True
    text: str = ""
    several: list[int] = field(default_factory=list)
    tree: dict[str, int] = field(default_factory=dict)
    part: Inner = field(default_factory=Inner)


def test_lists_are_not_shared():
    Example().decays.append(9.0)
    assert Example().decays == [0.1, 0.2]


def test_a_range_holds_what_its_bounds_say():
    """Against comparisons one by one."""
    bounds = (None, -1.0, 0.0, 1.5)
    for least, above, most, below in product(bounds, repeat=4):
        for value in (-2.0, -1.0, 0.0, 1.0, 1.5, 2.0):
            expected = (least is None or value >= least) and (above is None or value > above)
            expected = expected and (most is None or value <= most) and (below is None or value < below)
            assert Range(least, above, most, below).holds(value) == expected


def test_a_range_reads_in_a_few_words():
    assert str(Range(least=1)) == "at least 1"
    assert str(Range(least=0, most=1)) == "0 to 1"
    assert str(Range(above=0)) == "above 0"
    assert str(Range()) == ""


def config_dataclasses(schema: type) -> set[type]:
    """A dataclass and all that its fields can hold, every choice of a group included."""
    found = {schema}
    for kind in get_type_hints(schema).values():
        group = next((g for g in CHOICE_GROUPS.values() if g.base is kind), None)
        for inner in (kind,) if group is None else group.configs:
            if is_dataclass(inner):
                found |= config_dataclasses(inner)  # type: ignore[arg-type]
    return found


COMMANDS = [importlib.import_module(f"nmt.cli.{name}").COMMAND for name in start.COMMANDS.values()]
CONFIGS = sorted({c for command in COMMANDS for c in config_dataclasses(command.schema)}, key=lambda c: c.__name__)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_number_of_every_section_is_checked(kind: type):
    """No key with a number takes nan or an infinity, and none takes a value beyond the bounds that --help shows."""
    hints = get_type_hints(kind)
    for declared in fields(kind):
        if not {hints[declared.name], *get_args(hints[declared.name])} & {int, float}:
            continue
        assert "range" in declared.metadata, f"{kind.__name__}.{declared.name} is declared without setting()"
        made = object.__new__(kind)
        for other in fields(kind):
            setattr(made, other.name, "???")
        for value in outside(declared.metadata["range"]):
            setattr(made, declared.name, [value] if get_origin(hints[declared.name]) is list else value)
            with pytest.raises(ConfigError, match=rf"(^|\.){declared.name} must be"):
                made.__post_init__()


def outside(range_: Range) -> list[float]:
    """Numbers that a range excludes: nan, both infinities, and one beyond each bound."""
    just = {range_.least: -1, range_.above: 0, range_.most: 1, range_.below: 0}
    beyond = [bound + step for bound, step in just.items() if bound is not None]
    return [math.nan, math.inf, -math.inf, *beyond, *[0] * range_.nonzero]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.module)
def test_help_shows_each_range_and_names_no_choice_twice(command):
    """A key's own text names all of its choices, or at most one of them in passing; then --help lists them."""
    for option in key_options(command.schema):
        if str(option.range):
            assert option.help.endswith(f"({option.range})"), option
        for name in option.choices:
            assert option.help.count(str(name)) >= 1, option
        assert not doubled(option.text, option.choices), option


def doubled(text: str, choices: tuple[str, ...]) -> bool:
    """Whether a help text names several, but not all, of its choices, so that the list would repeat them."""
    words = re.findall(r"\w+", text)
    return 1 < sum(name in words for name in choices) < len(choices)


def test_a_text_that_names_some_of_its_choices_is_found():
    assert doubled("one of bleu, chrf or ter", ("none", "bleu", "chrf", "ter"))
    assert not doubled("one of none, bleu, chrf or ter", ("none", "bleu", "chrf", "ter"))
