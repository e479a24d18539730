"""The configuration reference: every key, group and choice, read from the tables and dataclasses that --help reads."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

import nmt.cli
from nmt.cli.options import Command, Option, config_groups, key_options


def configuration_page() -> str:
    """The page, in Markdown."""
    parts = [
        "# Configuration reference\n",
        "Made from the program's own tables when the documentation is built. `python -m COMMAND --help` shows the\n"
        "same, and the values in force. A key is typed as `KEY=VALUE`; `null` is none, `[a,b]` a list. A group is\n"
        "typed as `GROUP=CHOICE`.\n",
    ]
    groups = config_groups()
    for command in commands():
        parts.append(f"## {command.module}\n\n{command.summary}\n")
        parts += [group_table(name, groups[name]) for name in command.groups if name in groups]
        parts.append(key_table(command))
    return "\n".join(parts)


def commands() -> list[Command]:
    """The command of each module of nmt/cli that has one; training, whose keys most others share, comes first."""
    modules = (importlib.import_module(f"nmt.cli.{found.name}") for found in pkgutil.iter_modules(nmt.cli.__path__))
    found = [module.COMMAND for module in modules if isinstance(getattr(module, "COMMAND", None), Command)]
    return sorted(found, key=lambda command: (command.module != "nmt.train", command.module))


def group_table(name: str, choices: dict[str, str]) -> str:
    """The choices of one group."""
    return table((f"`{name}=`", "what it is"), ((f"`{choice}`", text) for choice, text in choices.items()))


def key_table(command: Command) -> str:
    """The keys of one command."""
    return table(("key", "what it is for", "only with"), map(key_row, key_options(command.schema)))


def key_row(option: Option) -> tuple[str, str, str]:
    """One key."""
    return f"`{option.key}`", option.help, ", ".join(f"`{option.group}={name}`" for name in option.only)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(lines(head, rows)) + "\n"


def lines(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield row(head)
    yield row(["---"] * len(head))
    yield from map(row, rows)


def row(cells: Iterable[str]) -> str:
    """One line of a table; a bar within a cell is no border."""
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(cell: str) -> str:
    """Text that Markdown would read as something else."""
    plain = cell.replace("|", "\\|").replace("\n", " ")
    return plain if plain.startswith("`") else plain.replace("*", "\\*").replace("<", "\\<").replace("'[", "'\\[")
