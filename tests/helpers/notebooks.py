"""The notebooks of docs/notebooks, and a plain way to run one:

    python tests/helpers/notebooks.py NOTEBOOK NAME=VALUE ...

Runs the cells in order in this process and in the folder it was started in.  The values take the place of those of the
cell with the sizes.  The last line prints as JSON what each cell would show.
"""

import ast
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WRITEFILE = "%%writefile "


class Cell(NamedTuple):
    """A cell of code."""

    source: str  # without the magic word
    file: str | None  # %%writefile FILE
    sizes: bool  # whether it is the one with the sizes

    def parsed(self, place: str) -> ast.Module:
        """Its statements.  Raises SyntaxError."""
        return ast.parse(self.source, place)


def code_cells(path: Path) -> list[Cell]:
    """The cells of code, in order."""
    cells = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source, file = "".join(cell["source"]), None
            if source.startswith(WRITEFILE):
                first, _, source = source.partition("\n")
                file = first.removeprefix(WRITEFILE).strip()
            cells.append(Cell(source, file, "parameters" in cell["metadata"].get("tags", [])))
    return cells


def run(path: Path, sizes: dict[str, int]) -> list[str]:
    """Execute all cells; the type of what the last line of each shows, "" where it is no expression or None.

    Raises AssertionError where a figure could not be shown.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(code_cells(path), 1):
        if cell.file is not None:
            Path(cell.file).write_text(cell.source + "\n", encoding="utf-8")
            continue
        module, value = cell.parsed(f"{path.name}, code cell {number}"), cast(Any, None)
        last = module.body.pop() if isinstance(module.body[-1], ast.Expr) else None  # what a notebook shows
        exec(compile(module, f"{path.name}, code cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"{path.name}, code cell {number}", "eval"), names)
        if cell.sizes:
            assert sizes.keys() <= names.keys(), f"{sizes.keys()} are not all sizes of {path.name}"
            names |= sizes
        if "Figure" in type(value).__name__:
            assert value._repr_png_().startswith(b"\x89PNG")
        shown.append("" if value is None else type(value).__name__)
    return shown


if __name__ == "__main__":
    sys.path.insert(0, "")  # for the modules that a notebook writes, as in a notebook
    given = {name: int(value) for name, value in (word.split("=") for word in sys.argv[2:])}
    print(json.dumps(run(Path(sys.argv[1]), given)))
