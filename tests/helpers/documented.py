"""The command lines in the project's pages, configurations and help."""

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nmt.cli
from nmt.cli.help import Command

ROOT = Path(__file__).parents[2]
PAGES = ("*.md", "docs/**/*.md", "data/*.md", "benchmarks/results/*.md", "configs/**/*.yaml")
BEGINNINGS = ("python -m nmt", "python scripts/", "python benchmarks/", "python teaching/", "nmt-", "torchrun ")
PIPED = re.compile(r"echo [^|]*\| ")
SHELL = ("<", ">", "|", "&&", ";")


class Line(NamedTuple):
    """One command line, as a shell would cut it, up to where it is redirected."""

    place: str  # file and line number, or the command whose --help shows it
    words: list[str]

    def __str__(self) -> str:
        return f"{self.place}: {' '.join(self.words)}"

    @property
    def file(self) -> str | None:
        """The script that it starts, if it is one."""
        return self.words[1] if self.words[1].endswith(".py") else None

    @property
    def module(self) -> str:
        """What it starts, as after ``python -m``."""
        if "-m" in self.words[:-1] and self.words[0] in ("python", "torchrun"):
            return self.words[self.words.index("-m") + 1]
        return (
            self.words[0].replace("nmt-align", "nmt-eval-align").replace("nmt-look", "nmt-eval-look").replace("-", ".")
        )

    @property
    def typed(self) -> list[str]:
        """The words after that."""
        if self.file is not None:
            return self.words[2:]
        if self.words[0] in ("python", "torchrun"):
            return self.words[self.words.index("-m") + 2 :]
        return self.words[1:]


def commands() -> dict[str, tuple[str, Command]]:
    """Of ``python -m`` MODULE: the module of nmt.cli with its ``main``, and its COMMAND."""
    names = [f"nmt.cli.{found.name}" for found in pkgutil.iter_modules(nmt.cli.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return {m.COMMAND.module: (m.__name__, m.COMMAND) for m in modules if hasattr(m, "COMMAND")}


def documented() -> list[Line]:
    """All there are; one that stands in several places once."""
    found: list[Line] = []
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            found += lines_of(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    for module, (_, command) in commands().items():
        for example in command.examples:
            found += lines_of(f"python -m {module} {example}", f"examples of {module}")
    return list({" ".join(line.words): line for line in found}.values())


def lines_of(text: str, name: str, *, one_seed: bool = True) -> Iterator[Line]:
    """The commands of a file: lines that begin as one, after `#`, `$`, `-` or `command:`, with what is continued."""
    rows = iter(enumerate(text.splitlines(), 1))
    for number, row in rows:
        line = row.strip().removeprefix("# ").removeprefix("$ ").removeprefix("- ").removeprefix("command: ").strip()
        line = PIPED.sub("", line, count=1)
        if not line.startswith(BEGINNINGS):
            continue
        while line.endswith("\\"):
            line = line[:-1] + next(rows, (0, ""))[1].strip().removeprefix("# ")
        if (cut := words(line, one_seed)) is not None:
            yield Line(f"{name}:{number}", cut)


def words(line: str, one_seed: bool = True) -> list[str] | None:
    """A line as the shell cuts it; None where it goes on as a sentence after a colon.

    Variables keep their names, `...` and words in capitals stand for what the reader has, and of several seeds one is
    as good as all, unless ``one_seed`` is false.
    """
    found = []
    for word in shlex.split(line.replace("$", "").replace(",...", ""), comments=True):
        if word.startswith(SHELL):
            break
        if word.endswith(":"):
            return None
        if not word.isupper():
            found.append(re.sub(r"^seed=(\d+),.*", r"seed=\1", word) if one_seed else word)
    return found
