"""The comparison with other frameworks leaves no cell empty, and no claim without what it was found in."""

import re

import pytest
from documented import ROOT

PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
COLUMNS = ["", "nmt", "OpenNMT-py", "eole", "JoeyNMT", "fairseq", "Sockeye", "Marian"]
WITHOUT = re.compile(
    r"not found|not looked for|not compared|none\b|no\b|no converter found|no figure|a call of torch|a notice"
)
EVIDENCE = re.compile(r"\]\(|\w/\w+|\w\.(py|md|txt)\b|METADATA|PKG-INFO|\(its files\)|\bas above\b")


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def rows() -> list[list[str]]:
    """Those of the tables that have a column for each project, without their heads."""
    found, inside = [], False
    for line in PAGE.splitlines():
        inside = line.startswith("|") and (inside or line.startswith("| | nmt |"))
        if inside and not line.startswith(("| |", "|---")):
            found.append(cells(line))
    return found


def test_there_are_rows():
    assert len(rows()) > 25


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_cell_says_where_it_is_from(row):
    assert len(row) == len(COLUMNS)
    for cell in row[1:]:
        assert cell
        assert WITHOUT.match(cell) or EVIDENCE.search(cell), cell


def test_speeds_are_those_of_the_results():
    """Each figure of the table stands in benchmarks/results/peers.md."""
    results = (ROOT / "benchmarks" / "results" / "peers.md").read_text(encoding="utf-8")
    table = PAGE.split("## Speed on two cores")[1]
    figures = re.findall(r"\d[\d,]*, \d[\d,]*(?= \|)", table)
    assert len(figures) >= 12
    for figure in figures:
        assert figure in results, figure
