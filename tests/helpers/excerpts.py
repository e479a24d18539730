"""What the pages include of the sources, as Sphinx's literalinclude cuts it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

INCLUDE = re.compile(r"```\{literalinclude\} (\S+)\n((?::[\w-]+: .*\n)+)```")
OPTION = re.compile(r":([\w-]+): (.*)")
# Others would cut the file in a way that is not looked at here.
KNOWN = {"pyobject", "start-at", "start-after", "end-at", "end-before", "dedent", "language"}


class Excerpt(NamedTuple):
    """Lines of a Python file that a page shows."""

    file: Path
    first: int  # lines counted from 1
    last: int

    @property
    def text(self) -> list[str]:
        """The lines."""
        return self.file.read_text(encoding="utf-8").splitlines()[self.first - 1 : self.last]

    def code_lines(self) -> int:
        """How many lines are neither blank nor comments nor docstrings."""
        docs = {
            line
            for node in ast.walk(ast.parse(self.file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        numbered = enumerate(self.text, self.first)
        return sum(bool(line.strip()) and not line.strip().startswith("#") for n, line in numbered if n not in docs)


def excerpts(page: Path) -> Iterator[Excerpt]:
    """Those of a page; raises ValueError where what an option names is not there."""
    for file, options in INCLUDE.findall(page.read_text(encoding="utf-8")):
        yield cut(page.parent / file, dict(OPTION.findall(options)))


def cut(file: Path, options: dict[str, str]) -> Excerpt:
    """The excerpt that the options of a literalinclude name."""
    if unknown := options.keys() - KNOWN:
        raise ValueError(f"{file.name}: {', '.join(unknown)}")
    lines = file.read_text(encoding="utf-8").splitlines()
    first, last = place(file, options["pyobject"]) if "pyobject" in options else (1, len(lines))

    def find(text: str, start: int) -> int:
        return next((n for n in range(start, last + 1) if text in lines[n - 1]), -1)

    for option, offset in (("start-at", 0), ("start-after", 1)):
        if option in options:
            first = find(options[option], first) + offset
    for option, offset in (("end-at", 0), ("end-before", -1)):
        if option in options:
            last = find(options[option], first) + offset
    if not 0 < first <= last:
        raise ValueError(f"{file.name} has no such lines: {options}")
    return Excerpt(file, first, last)


def place(file: Path, name: str) -> tuple[int, int]:
    """The lines of a class or function, such as Class.method; raises ValueError where there is none."""
    node: ast.AST = ast.parse(file.read_text(encoding="utf-8"))
    for part in name.split("."):
        inside = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part]
        if not inside:
            raise ValueError(f"{file.name} has no {name}")
        node = inside[0]
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node.lineno, node.end_lineno or node.lineno
