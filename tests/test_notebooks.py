"""The notebooks are well formed, hold no results, and use only what the package has; tests/slow executes them."""

import ast
import importlib
import json
import re

import pytest
from notebooks import NOTEBOOKS, code_cells

NAMES = [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_form_is_that_of_notebooks_without_outputs(path):
    """nbformat 4.5, as its schema has it."""
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert found.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    ids = [cell["id"] for cell in found["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name) for name in ids)
    for cell in found["cells"]:
        of_code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source", *of_code}
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not re.search(r"""["'(\s]/[a-z]+/|\b[A-Z]:\\\\""", "".join(cell["source"])), "an absolute path"
    assert found["cells"][0]["source"][0].startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_cells_are_python_that_uses_what_there_is(path):
    cells = code_cells(path)
    [sizes] = [cell for cell in cells if cell.sizes]
    assert cells[0] is sizes
    assert all(isinstance(line, ast.Assign) for line in sizes.parsed(path.name).body)
    written = {cell.file.removesuffix(".py") for cell in cells if cell.file is not None}
    for cell in cells:
        for node in ast.walk(cell.parsed(path.name)):
            if isinstance(node, ast.ImportFrom) and node.module not in written:
                module = importlib.import_module(node.module or "")
                assert not [a.name for a in node.names if not hasattr(module, a.name)], ast.unparse(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nmt":
                assert hasattr(importlib.import_module("nmt"), node.attr), ast.unparse(node)


def test_there_are_notebooks():
    assert NAMES == ["one_sentence", "transformer", "your_own_attention"]


def test_an_attention_of_ones_own_has_forty_lines():
    [mine] = [cell for path in NOTEBOOKS for cell in code_cells(path) if cell.file == "near_attention.py"]
    assert len(mine.source.splitlines()) <= 42
