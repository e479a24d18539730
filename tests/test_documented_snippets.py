"""Every Python snippet of README and docs runs, in a folder whose runs are tiny ones."""

import json
import re
import shutil
from pathlib import Path

import matplotlib as mpl
import pytest
from documented import ROOT
from tiny_runs import MODELS, make_run

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


@pytest.mark.parametrize(("place", "code"), SNIPPETS, ids=[place for place, _ in SNIPPETS])
def test_the_snippet_runs(place, code, run, tmp_path, monkeypatch):
    """Each by itself, with every run directory that it names."""
    for name in sorted(set(re.findall(r"runs/[\w-]+", code))):
        shutil.copytree(run, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    before = copied()  # a snippet may add a row to a table
    exec(compile(code, place, "exec"), {"__name__": "snippet"})
    restore_tables(before)
