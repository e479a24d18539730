"""plugins= and trust= on the command line, which have to be known before the configuration is composed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import BooleanNode, OmegaConf
from omegaconf.errors import ValidationError

from nmt.cli.on_run import as_list
from nmt.cli.options import Command
from nmt.errors import ConfigError
from nmt.plugins import load_plugins, trusting


@contextmanager
def plugins_loaded(overrides: Sequence[str], command: Command) -> Iterator[list[str]]:
    """A context with the plug-ins that the overrides name, and with their trust in run directories.

    Gives the overrides back with ``plugins`` as a list where one name was typed.  Raises ConfigError for plug-ins that
    cannot be loaded, for a sweep over them, and for trust= where the command has no such key.
    """
    words, names, trust = [], [], False
    for word, override in zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True):
        if override.key_or_group == "plugins" and not override.is_delete():
            if override.is_sweep_override():
                raise ConfigError("plugins is a list, as in plugins=[a.py,b.py], and the same for all jobs of a sweep")
            value = override.value()
            if isinstance(value, str | QuotedString):
                word = f"plugins=[{word.partition('=')[2]}]"
            names = [text_of(name) for name in as_list(value)] if value else []
        if override.key_or_group == "trust":
            if "trust" not in {f.name for f in fields(command.schema)}:
                raise ConfigError(
                    f"trust: {command.module} executes no copies of plug-ins; name your file or a copy in "
                    "plugins=[FILE]"
                )
            trust = truth(override.value())
        words.append(word)
    own = load_plugins(names)
    with trusting(trust, own):
        yield words


def truth(value: object) -> bool:
    """A typed boolean, as the configuration reads it (true, yes, on, 1); what is none is refused there."""
    try:
        return bool(OmegaConf.create({"trust": BooleanNode(text_of(value))}).trust)
    except ValidationError:
        return False


def text_of(value: object) -> str:
    """A typed value without its quotes."""
    return value.text if isinstance(value, QuotedString) else str(value)
