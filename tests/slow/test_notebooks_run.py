"""Every cell of every notebook runs, in order, in a fresh process and, where Jupyter is, in its kernel."""

import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import notebooks
import pytest
from notebooks import NOTEBOOKS

import nmt

pytestmark = pytest.mark.slow
SMALL = {"UPDATES": 8, "PAIRS": 200, "WIDTH": 16}
PICTURES = {"one_sentence": 3, "transformer": 3, "your_own_attention": 2}
BY_HAND = {"one_sentence": 4, "transformer": 2, "your_own_attention": 0}  # comparisons with the model's own numbers


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_cells_run_in_order(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(nmt.__file__).parents[1]))
    words = [sys.executable, notebooks.__file__, str(path), *(f"{name}={size}" for name, size in SMALL.items())]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert json.loads(lines[-1]).count("NotebookFigure") == PICTURES[path.stem]
    compared = [line for line in lines if re.search(r"as in the|too:", line)]
    assert [line.split()[-1] for line in compared] == ["True"] * BY_HAND[path.stem], compared
    if path.stem == "transformer":
        order = [line.split()[-1] for line in lines if "shuffled outputs" in line]
        assert order == ["True", "False"]
    if path.stem == "your_own_attention":
        assert any(line.startswith("Unmasked: padding") for line in lines)
        assert any(line.startswith("Averaged: queries") for line in lines)


@pytest.mark.skipif(not (find_spec("nbclient") and find_spec("ipykernel")), reason="needs nbclient and ipykernel")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_jupyter_shows_a_bar_and_pictures(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(nmt.__file__).parents[1]))
    nbformat, nbclient = importlib.import_module("nbformat"), importlib.import_module("nbclient")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    first = next(cell for cell in book.cells if cell.cell_type == "code")
    first.source += "".join(f"\n{name} = {size}" for name, size in SMALL.items())
    nbclient.NotebookClient(book, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES[path.stem]
    assert any("| step 8" in output.text for output in outputs if output.output_type == "stream"), "no progress bar"
