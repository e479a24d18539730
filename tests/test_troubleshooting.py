"""Each message that docs/troubleshooting.md quotes is one that the program prints."""

import ast
import errno
import inspect
import os
import re
import zipfile
from functools import cache

import pytest
from documented import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PLACEHOLDER = re.compile(r"\.\.\.|\b(?:FILE|GROUP|KEY|N|NAME|PROCESS|VALUE|WORD)\b")
# Messages that others make: whose they are, as the page says beside them, and a text in which they stand.
FOREIGN = {
    "No space left on device": ("the system", os.strerror(errno.ENOSPC)),
    "Bad CRC-32": ("Python's zipfile", inspect.getsource(zipfile)),
}


def first_cells() -> list[str]:
    """The first column of the table of messages, without its head."""
    table = PAGE.partition("| message |")[2].partition("What has no message:")[0]
    return [row.split("|")[1].strip() for row in table.splitlines()[2:] if row.startswith("|")]


QUOTED = [(cell, message) for cell in first_cells() for message in re.findall(r"`([^`]+)`", cell)]


@cache
def printed() -> str:
    """All strings of nmt but docstrings, one a block: adjacent ones joined, with \\0 for each value of an f-string."""
    found: list[str] = []
    for path in sorted((ROOT / "nmt").rglob("*.py")):
        collect(ast.parse(path.read_text(encoding="utf-8")), found)
    return "\1".join(found)


def collect(node: ast.AST, found: list[str]) -> None:
    """Add to ``found`` the strings of a tree that are no statements of their own, as docstrings are."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.append(node.value)
    if isinstance(node, ast.JoinedStr):
        found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values))
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            collect(child, found)


def is_printed(message: str) -> bool:
    """Whether some string has the fixed parts of a message in their order, with values between them alone."""
    fixed = [re.escape(part) for part in PLACEHOLDER.split(message)]
    return re.search("\0+".join(part for part in fixed if part), printed()) is not None


def test_there_are_messages():
    assert len(QUOTED) > 10
    for cell in first_cells():
        assert "`" in cell, f"{cell}: a row without a message"


@pytest.mark.parametrize(("cell", "message"), QUOTED, ids=[message for _, message in QUOTED])
def test_the_program_prints_it(cell, message):
    if message in FOREIGN:
        whose, text = FOREIGN[message]
        assert whose in cell
        assert message in text
    else:
        assert max(len(part) for part in PLACEHOLDER.split(message)) >= 10, "too little is fixed to be looked for"
        assert is_printed(message)


@pytest.mark.parametrize(
    "message",
    [
        "has no key ...",
        "Could not append",
        "the disk is full",
        "update skipped: the gradient is not finite",
        "The command line prints them as one line",  # stands in a docstring
        "unknown key KEY is damaged: ...",  # parts of two messages
    ],
)
def test_what_it_does_not_print_is_not_found(message):
    assert not is_printed(message)


def test_a_message_over_several_lines_of_the_source_is_found():
    assert is_printed("had a gradient that is not finite and were skipped; lower optim.lr")
