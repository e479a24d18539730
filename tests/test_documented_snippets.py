"""Every Python snippet of README and docs runs, in a folder whose runs are tiny ones."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import pytest
from documented import ROOT
from tiny_runs import MODELS, make_run

from nmt.cli import look
from nmt.plugins import copied, restore_tables

FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SNIPPETS = [
    (f"{page.relative_to(ROOT)} {number}", code)
    for page in PAGES
    for number, code in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_run(tmp_path_factory.mktemp("runs") / "run", MODELS["local_p"])
    events = [{"event": "validation", "time": t, "step": t, "loss": 1 / t} for t in (1, 2)]
    (made / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return made


def test_there_are_snippets():
    assert any(place.startswith("docs/start.md") for place, _ in SNIPPETS)


def test_python_stands_in_fences():
    """An indented block would not be run."""
    lines = [(page.name, line) for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    assert [
        found
        for found in lines
        if re.match(r" {4,}(import \w|from [\w.]+ import|>>> |.*\bnmt\.(load|train)\()", found[1])
    ] == []


def look_at(cross_attention, encoder_tokens, decoder_tokens, include_layers):
    """What BertViz's head_view is given, with one tensor a layer, (1, heads, T, S)."""
    assert [layer.shape for layer in cross_attention] == [(1, 1, len(decoder_tokens), len(encoder_tokens))]


@pytest.mark.parametrize(("place", "code"), SNIPPETS, ids=[place for place, _ in SNIPPETS])
def test_the_snippet_runs(place, code, run, tmp_path, monkeypatch):
    """Each by itself, with every run directory that it names; those in docs/mechanisms are there."""
    for name in sorted(set(re.findall(r"(?<!mechanisms/)runs/[\w-]+", code))):
        shutil.copytree(run, tmp_path / name)
    if "docs/mechanisms/runs" in code and (ROOT / "PKG-INFO").exists():
        pytest.skip("a source distribution leaves the runs out")
    (tmp_path / "docs" / "mechanisms").mkdir(parents=True)
    (tmp_path / "docs" / "mechanisms" / "runs").symlink_to(ROOT / "docs" / "mechanisms" / "runs")
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    if "bertviz" in code:
        monkeypatch.setitem(
            sys.modules, "bertviz", SimpleNamespace(head_view=look_at)
        )  # a package that need not be here
        shutil.copytree(run, "run")
        monkeypatch.setattr(sys, "argv", ["look", "run=run", "source=one two", "to=bertviz", "output=look.json"])
        look.main()
    before = copied()  # a snippet may add a row to a table
    exec(compile(code, place, "exec"), {"__name__": "snippet"})
    restore_tables(before)
