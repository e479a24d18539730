"""The words after a command: flags, and overrides (KEY=VALUE, GROUP=CHOICE), which may stand in any order."""

import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.errors import OverrideParseException

from nmt.cli.completion import SHELLS
from nmt.cli.mistakes import explain_flag
from nmt.cli.options import Command, config_groups, is_below, key_options, optional_groups
from nmt.config_checks import not_of_this_locale
from nmt.data.textfile import home_expanded
from nmt.errors import ConfigError

# Flags that Hydra has and that cannot be honoured here, with what takes their place.
REFUSED = {
    ("--config-path", "-cp"): "choices of your own lie in DIR/GROUP/CHOICE.yaml: --config-dir DIR GROUP=CHOICE",
    ("--config-name", "-cn"): "values of your own are a choice, DIR/experiment/NAME.yaml: --config-dir DIR "
    "experiment=NAME",
    ("--experimental-rerun",): "type the command that RUN/origin.json records; resume=RUN goes on with it",
    ("--hydra-help",): "--help is the help of this command; Hydra's own is on https://hydra.cc",
}
HELP_ALL = "--help-all"  # --help all as one word
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class Parser(ArgumentParser):
    """A parser that raises ConfigError instead of printing a usage line and leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def parser() -> Parser:
    """The parser of everything but --version."""
    made = Parser(add_help=False, allow_abbrev=False)
    made.add_argument("overrides", nargs="*")
    made.add_argument("--help", "-h", action="store_true")
    made.add_argument(HELP_ALL, action="store_true")
    made.add_argument("--multirun", "-m", action="store_true")
    made.add_argument("--config-dir", "-cd", action="append", default=[])
    made.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    made.add_argument("--resolve", action="store_true")
    made.add_argument("--package", "-p")
    made.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)
    made.add_argument("--shell-completion", "-sc", choices=SHELLS)
    for flags in REFUSED:
        made.add_argument(*flags, nargs="?", const=True)
    return made


def parse(words: Sequence[str], command: Command) -> Namespace:
    """The flags, and the overrides as Hydra takes them, in ``overrides``.

    Raises ConfigError for flags that do not exist, are not honoured, or do not go together.
    """
    args, unknown = parser().parse_known_intermixed_args(with_help_all(words))
    if unknown:
        raise ConfigError(explain_flag(unknown[0], command))
    for flags, instead in REFUSED.items():
        if getattr(args, flags[0].lstrip("-").replace("-", "_")) is not None:
            raise ConfigError(f"{flags[0]} does nothing here: {instead}")
    shown = [f"--{name.replace('_', '-')}" for name in ("cfg", "info", "shell_completion") if getattr(args, name)]
    if len(shown) > 1:
        raise ConfigError(f"type one of {' and '.join(shown)}, not both")
    if args.multirun and shown:
        raise ConfigError(f"-m runs jobs: it does not go with {shown[0]}")
    if (args.resolve or args.package) and not args.cfg:
        raise ConfigError("--resolve and --package say how --cfg shows a configuration: type --cfg job, too")
    args.config_dir = [existing_folder(folder) for folder in args.config_dir]
    command = replace(command, config_dirs=tuple(args.config_dir))
    args.overrides = with_plus([home_quoted(word) for word in args.overrides], command) + search_path(args)
    groups = config_groups(command.config_dirs)
    booleans = {option.key for option in key_options(command.schema) if option.boolean}
    for word in args.overrides:
        if command.of_runs and Path(word).is_dir():
            raise ConfigError(f"cannot read {word!r}: a run is typed as run={word}")
        check_override(word, groups, booleans)
    return args


def with_help_all(words: Sequence[str]) -> list[str]:
    """The same words, with --help all as one of them: --help alone takes no value, so that overrides may follow it."""
    joined: list[str] = []
    for word in words:
        if word == "all" and joined and joined[-1] in ("--help", "-h"):
            joined[-1] = HELP_ALL
        else:
            joined.append(word)
    return joined


def check_override(word: str, groups: dict[str, dict[str, str]], booleans: Set[str]) -> None:
    """Raise ConfigError for a word that is no override, for a choice of a group that is no name, and for a number but 0
    and 1 where a key is true or false: OmegaConf takes every other number for true."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except (OverrideParseException, ValueError):  # ValueError: of thousands of digits Python makes no number
        raise ConfigError(explain_unreadable(word)) from None
    group = override.key_or_group
    if not group:
        raise ConfigError(f"cannot read {word!r}: expected KEY=VALUE")
    if group not in {*groups, *booleans} or override.is_delete() or isinstance(override.value(), Glob):
        return
    for value in override.sweep_iterator() if override.is_sweep_override() else [override.value()]:
        if group in booleans:
            if isinstance(value, int) and value not in (0, 1):
                raise ConfigError(f"{group} must be true or false, got {value}")
            continue
        name = value.text if isinstance(value, QuotedString) else value
        if not name or not isinstance(name, str | list):
            typed = "null" if name is None else str(name) or "''"
            raise ConfigError(f"{group}={typed} is no choice; choose one of: {', '.join(groups[group])}")


def explain_unreadable(word: str) -> str:
    """Why Hydra cannot read an override: the character that needs quotes, and how to type them."""
    key, equals, value = word.partition("=")
    if re.search(r"[\ud800-\udfff]", word):  # bytes that the locale does not understand
        return not_of_this_locale(word)
    wrong = re.search(r"[^\w./@+~-]", key)
    if equals and wrong:
        return f"cannot read {word.lstrip('+')!r}: {wrong[0]!r} cannot stand in a key"
    needs = re.search(r"[^\w\s/\-+.$%*@?|\\:,\[\]{}()'\"]|[^\x00-\x7f]", value) or re.search(r"[\[\]{}()'\"]", value)
    if not equals or not key or needs is None:
        return f"cannot read {word!r}: expected KEY=VALUE"
    if value[0] in "[{":
        example = as_typed(f"{key}=[{quoted(f'A{needs[0]}B')}]")
        return f"cannot read {word!r}: quote what holds a {needs[0]!r}, as in {example}"
    return f"cannot read {word!r}: {needs[0]!r} needs quotes: {as_typed(f'{key}={quoted(value)}')}"


def as_typed(word: str) -> str:
    """A word as it is typed in a shell."""
    return shlex.quote(word) if re.search(r'[$`\\!"]', word) else f'"{word}"'


def existing_folder(typed: str) -> Path:
    """The folder that --config-dir names; raises ConfigError where there is none."""
    try:
        folder = home_expanded(typed, "--config-dir").resolve()
        if folder.is_dir():
            return folder
    except OSError as error:
        raise ConfigError(f"--config-dir={typed}: {error.strerror}") from None
    raise ConfigError(f"--config-dir: there is no folder {typed}")


def home_quoted(word: str) -> str:
    """The same override with its paths below ~ in quotes, without which Hydra reads none: runs=~/runs."""
    key, equals, value = word.partition("=")
    if any(quote in value for quote in "'\""):
        return word
    return key + equals + re.sub(r"(?<![^\[,{:\s])~[\w./-]*", lambda path: quoted(path[0]), value)


def with_plus(words: Sequence[str], command: Command) -> list[str]:
    """The same overrides, with the signs that Hydra wants before what is not there by default.

    + before a choice of a group that has no default, ++ before a key with a name of the user's own
    (data.tests.NAME.source), which may be there or not.
    """
    groups, named = optional_groups(command), [option.key for option in key_options(command.schema) if option.named]
    found = []
    for word in words:
        key = word.partition("=")[0]
        if key in groups:
            word = f"+{word}"
        elif not key.startswith("~") and is_below(key.lstrip("+"), named):
            word = f"++{word.lstrip('+')}"
        found.append(word)
    return found


def search_path(args: Namespace) -> list[str]:
    """The folders of --config-dir as an override for Hydra, if there are any."""
    if not args.config_dir:
        return []
    if any(word.lstrip("+").startswith("hydra.searchpath") for word in args.overrides):
        raise ConfigError("type either --config-dir or hydra.searchpath, not both")
    return [f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in args.config_dir)}]"]


def quoted(text: str) -> str:
    """Text in quotes, so that Hydra takes every character as it is."""
    return QuotedString(text, Quote.single).with_quotes()


def words_for_hydra(args: Namespace) -> list[str]:
    """The command line that asks Hydra itself for what ``args`` ask to be shown."""
    asked = [("--cfg", args.cfg), ("--package", args.package), ("--info", args.info)]
    shown = [word for flag, value in asked if value for word in (flag, value)]
    return [*args.overrides, *shown, *["--resolve"] * args.resolve]
