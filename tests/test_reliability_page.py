"""docs/reliability.md names tests that there are."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_the_page_names_is_there(file, name):
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_page_names_tests():
    assert len(NAMED) > 10


def test_the_page_of_bad_input_has_the_inputs_and_messages_of_the_tests():
    """Of each part of the program; a test that is written otherwise would fall out of it without a word."""
    page = runpy.run_path(str(ROOT / "docs" / "refusals.py"))
    parts = page["refusals_page"]().split("\n## ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(page["PARTS"].values())
    assert all("| input | the answer has |" in part for part in parts)
    assert "| ` seed=1,2 ` | ` add --multirun ` |" in parts[0]
    assert sum(part.count("\n| ` ") for part in parts) > 150
