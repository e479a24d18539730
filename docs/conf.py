"""How Sphinx makes the documentation: `make docs` writes docs/_build/html, which needs no network to be read."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))  # for what lies beside this file

from notebook_pages import notebook_page  # noqa: E402
from reference import configuration_page  # noqa: E402
from refusals import refusals_page  # noqa: E402

project = "nmt"
author = "the nmt authors"
# Pages are read without a network: formulas are plain text, and nothing is loaded from elsewhere.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "nmt"
html_show_sphinx = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]*)(#[^)\s]*)?\)")


def links_out_of_docs(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a file of the source tree that is not below docs/ becomes the file's name.

    In the source tree, and where a forge shows it, such links work; a built page has nothing that they could lead to.
    """
    here = (DOCS / name).parent

    def plain(found: re.Match[str]) -> str:
        text, target = found[1], (here / found[2]).resolve()
        if target.is_relative_to(DOCS):
            return found[0]
        path = target.relative_to(DOCS.parent).as_posix()
        return f"`{path}`" if text.strip("`").rstrip("/") == path else f"{text} (`{path}`)"

    source[0] = LINK.sub(plain, source[0])


def write_pages(app: Sphinx) -> None:
    """Pages that Git ignores: configuration, from dataclasses and configs/; bad input, from the tests; notebooks."""
    pages = {DOCS / "configuration.md": configuration_page(), DOCS / "refusals.md": refusals_page()}
    pages |= {path.with_suffix(".md"): notebook_page(path) for path in DOCS.glob("notebooks/*.ipynb")}
    for path, page in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != page:
            path.write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", links_out_of_docs)
    app.connect("builder-inited", write_pages)
