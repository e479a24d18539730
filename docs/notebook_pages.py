"""The notebooks of docs/notebooks as pages: Markdown cells as they are, cells of code as code; nothing is executed."""

import json
from pathlib import Path
from typing import Any

WRITEFILE = "%%writefile "


def notebook_page(path: Path) -> str:
    """The page of a notebook, in MyST Markdown, to lie beside it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, *rest = (part for cell in cells for part in parts(cell))
    here = f"This page is the notebook [{path.name}]({path.name}), without what its cells print and draw."
    return "\n\n".join([title, here, *rest]) + "\n"


def parts(cell: dict[str, Any]) -> list[str]:
    """What the page has of a cell; of the first one its title and the rest apart."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        first, _, rest = text.partition("\n")
        return [first, rest.strip("\n")] if first.startswith("# ") else [text]
    caption = ""
    if text.startswith(WRITEFILE):  # not Python, and better said in a caption
        first, _, text = text.partition("\n")
        caption = f":caption: {first.removeprefix(WRITEFILE)}\n"
    return [f"```{{code-block}} python\n{caption}\n{text}\n```"]
