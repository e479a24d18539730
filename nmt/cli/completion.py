"""--shell-completion bash: a script that completes keys, choices and values of all commands, without running Python.

Hydra's own completion starts the program at every press of the tab key, and does not know ``python -m``.  This one is
written once, with all that can be typed in it; after an update, or for other folders of --config-dir, it is written
anew.
"""

import importlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nmt.cli.options import Command, config_groups, key_options, optional_groups
from nmt.cli.start import COMMANDS

SHELLS = ("bash", "zsh")
FUNCTIONS = Path(__file__).with_suffix(".bash")
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
FOLDERS = ("run", "init_from", "reverse", "runs")  # keys whose values are folders


def completion_script(shell: str, config_dirs: Sequence[Path], flags: Sequence[str]) -> str:
    """What a shell has to read: the choices of the folders ``config_dirs`` are among those that are completed."""
    commands = [
        replace(importlib.import_module(f"nmt.cli.{name}").COMMAND, config_dirs=tuple(config_dirs))
        for name in COMMANDS.values()
    ]
    scripts = ["nmt-" + module.rpartition(".")[2] for module in COMMANDS]
    keys = [case(command.module, "\n".join(keys_of(command))) for command in commands]
    choices = [
        case(f"{command.module} {key}", " ".join(names))
        for command in commands
        for key, names in choices_of(command).items()
    ]
    parts = [
        ZSH * (shell == "zsh") + f"_nmt_modules={shlex.quote(' '.join(COMMANDS))}",
        f"_nmt_scripts={shlex.quote(' '.join(scripts))}",
        f"_nmt_flags() {{ echo {shlex.quote(' '.join(flags))}; }}",
        '_nmt_keys() {\n  case "$1" in\n' + "".join(keys) + "  esac\n}",
        '_nmt_choices() {\n  case "$1 $2" in\n' + "".join(choices) + "  esac\n}",
    ]
    text = "\n".join(parts) + "\n" + FUNCTIONS.read_text(encoding="utf-8")
    # zsh does not split what a variable holds into words.
    return text.replace("torchrun $_nmt_scripts", f"torchrun {' '.join(scripts)}")


def case(pattern: str, text: str) -> str:
    """A branch of a shell's case that prints a text."""
    return f"    {shlex.quote(pattern)}) echo {shlex.quote(text)} ;;\n"


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
