"""--shell-completion bash: a script that completes keys, choices and values of all commands, without running Python.

Hydra's own completion starts the program at every press of the tab key, and does not know ``python -m``.  This one is
written once, with all that can be typed in it; after an update, or for other folders of --config-dir, it is written
anew.  It is what can be typed, as functions and variables of the shell, and then completion.bash, .zsh or .fish.
"""

import importlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nmt.cli.options import Command, config_groups, key_options, optional_groups
from nmt.cli.start import COMMANDS

SHELLS = ("bash", "zsh", "fish")
FOLDERS = ("run", "init_from", "reverse", "runs")  # keys whose values are folders


def completion_script(shell: str, config_dirs: Sequence[Path], flags: Sequence[str]) -> str:
    """What a shell has to read: the choices of the folders ``config_dirs`` are among those that are completed."""
    commands = [
        replace(importlib.import_module(f"nmt.cli.{name}").COMMAND, config_dirs=tuple(config_dirs))
        for name in COMMANDS.values()
    ]
    scripts = ["nmt-" + module.rpartition(".")[2] for module in COMMANDS]
    keys = {command.module: "\n".join(keys_of(command)) for command in commands}
    choices = {
        f"{command.module} {key}": " ".join(names) for command in commands for key, names in choices_of(command).items()
    }
    if shell == "fish":
        parts = fish_parts(COMMANDS, scripts, flags, keys, choices)
    else:
        parts = posix_parts(COMMANDS, scripts, flags, keys, choices)
    return "\n".join(parts) + "\n" + Path(__file__).with_suffix(f".{shell}").read_text(encoding="utf-8")


def posix_parts(
    modules: Iterable[str], scripts: Iterable[str], flags: Iterable[str], keys: dict[str, str], choices: dict[str, str]
) -> list[str]:
    """What can be typed, for bash and zsh."""

    def cases(texts: dict[str, str]) -> str:
        return "".join(f"    {shlex.quote(name)}) echo {shlex.quote(text)} ;;\n" for name, text in texts.items())

    return [
        f"_nmt_modules={shlex.quote(' '.join(modules))}",
        f"_nmt_scripts={shlex.quote(' '.join(scripts))}",
        f"_nmt_flags() {{ echo {shlex.quote(' '.join(flags))}; }}",
        f'_nmt_keys() {{\n  case "$1" in\n{cases(keys)}  esac\n}}',
        f'_nmt_choices() {{\n  case "$1 $2" in\n{cases(choices)}  esac\n}}',
    ]


def fish_parts(
    modules: Iterable[str], scripts: Iterable[str], flags: Iterable[str], keys: dict[str, str], choices: dict[str, str]
) -> list[str]:
    """The same for fish."""

    def cases(texts: dict[str, str]) -> str:
        lines = (
            f"        case {shlex.quote(name)}\n            echo {shlex.quote(text)}\n" for name, text in texts.items()
        )
        return "".join(lines)

    return [
        f"set -g _nmt_modules {shlex.quote(' '.join(modules))}",
        f"set -g _nmt_scripts {' '.join(scripts)}",
        f"function _nmt_flags\n    echo {shlex.quote(' '.join(flags))}\nend",
        f'function _nmt_keys\n    switch "$argv[1]"\n{cases(keys)}    end\nend',
        f'function _nmt_choices\n    switch "$argv[1] $argv[2]"\n{cases(choices)}    end\nend',
    ]


def keys_of(command: Command) -> list[str]:
    """All that may stand before an equals sign after a command, each once."""
    return list(dict.fromkeys([*groups_of(command), *(option.key for option in key_options(command.schema))]))


def groups_of(command: Command) -> dict[str, list[str]]:
    """The groups that can be chosen after a command, and the names of their choices."""
    rows = config_groups(command.config_dirs)
    return {group: list(rows[group]) for group in (*command.groups, *optional_groups(command)) if group in rows}


def choices_of(command: Command) -> dict[str, list[str]]:
    """The values of each key that has few: names of choices and of Enums, true and false; FOLDERS for folders."""
    found: dict[str, list[str]] = {}
    for option in key_options(command.schema):
        if option.key in FOLDERS:
            found[option.key] = ["FOLDERS"]
        elif option.choices or option.boolean:
            found[option.key] = ["true", "false"] if option.boolean else list(option.choices)
    return found | groups_of(command)
