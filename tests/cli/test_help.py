"""The whole --help all of every command, as it was last reviewed: tests/cli/help/COMMAND.txt.

Whoever adds, changes or removes an option writes the pages anew, and a reviewer sees the difference:

    python tests/cli/test_help.py --write
"""

import difflib
import io
import os
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from nmt.cli import align, app, augment, data, export, look, report, serve, train, translate
from nmt.cli import eval as evaluation
from nmt.cli.first_page import PAGES as FIRST_PAGES
from nmt.cli.first_page import first_comment
from nmt.cli.options import Command, config_groups
from nmt.config import CHOICE_GROUPS, CONFIG_DIR

PAGES = Path(__file__).parent / "help"
COMMANDS = {
    module.COMMAND.module: module.COMMAND
    for module in (train, evaluation, align, look, translate, data, augment, export, report, serve)
}


def printed(command: Command) -> str:
    """What --help all prints: the page, and the values now in force."""
    typed, environment = patch("sys.argv", ["nmt", "--help", "all"]), patch.dict(os.environ)
    # Hydra leaves the program after a page of help.
    with typed, environment, redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        app.run(command, lambda config: None)
    return out.getvalue().rstrip() + "\n"


def file_of(command: Command) -> Path:
    """Where the reviewed page is."""
    return PAGES / f"{command.module}.txt"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_help_is_what_was_reviewed(command):
    reviewed = file_of(command).read_text(encoding="utf-8").splitlines()
    changes = "\n".join(difflib.unified_diff(reviewed, printed(command).splitlines(), "reviewed", "now", lineterm=""))
    assert not changes, f"python tests/cli/test_help.py --write, and look at the difference:\n{changes}"


def test_every_command_has_a_first_page():
    """What --help prints without importing anything: nmt/cli/first_page.py."""
    assert set(FIRST_PAGES) == set(COMMANDS)


def test_each_line_of_a_choice_is_a_whole_phrase():
    """It says something, and does not end where the sentence goes on: in a colon, a comma, or on the next line."""
    for group, choices in config_groups().items():
        for name, line in choices.items():
            assert line, f"{group}={name} has no line"
            assert line[-1].isalnum() or line[-1] in ".)", f"{group}={name}: {line}"
            assert line.count("(") == line.count(")"), f"{group}={name}: {line}"


def test_a_comment_of_several_lines_begins_with_a_sentence():
    """--help shows the first line alone."""
    for path in sorted(CONFIG_DIR.glob("*/*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        first = first_comment(path)
        following = lines[lines.index(f"# {first}") + 1] if first else ""
        assert first.endswith(".") or not following.startswith("#"), f"{path.name}: {first}"


def test_documentation_of_a_choice_begins_with_a_whole_line():
    for group in CHOICE_GROUPS.values():
        for choice in group.configs:
            first, _, following = (choice.__doc__ or "").strip().partition("\n")
            assert first
            assert not following.partition("\n")[0].strip(), f"{choice.__name__}: the first line goes on"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    PAGES.mkdir(exist_ok=True)
    for each in COMMANDS.values():
        file_of(each).write_text(printed(each), encoding="utf-8")
