"""README is one screen: links lead somewhere, the quick start is what make does, figures are those of the pages."""

import re
import tomllib

from documented import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)")


def headings(page: str) -> set[str]:
    """The names that headings have in links."""
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_it_is_short():
    rows = README.splitlines()
    assert len(rows) <= 80
    assert max(map(len, rows)) <= 150


def test_links_lead_somewhere():
    found = [match for match in LINK.findall(README) if ":" not in match[0]]
    assert len(found) > 20
    for path, heading in found:
        target = ROOT / path
        assert target.exists(), path
        assert not heading or heading in headings(target.read_text(encoding="utf-8")), f"{path}#{heading}"


def test_every_page_of_use_and_choice_is_linked():
    """All that the index of the documentation lists, but for what is generated or belongs to another page."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {
        name for block in re.findall(r"^:maxdepth: 1\n\n(.*?)\n```", index, re.S | re.M) for name in block.split()
    }
    linked = {path.removeprefix("docs/").removesuffix(".md") for path, _ in LINK.findall(README)}
    assert listed - linked <= {"completion", "configuration", "refusals", "python_reference", "log_format"}


def test_the_quick_start_is_what_make_does():
    for target in ("demo", "test", "help", "docs"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for command in ("make demo", "make test", "python -m venv .venv", ". .venv/bin/activate", "pip install ."):
        assert re.search(rf"^    {re.escape(command)}(\s|$)", README, re.MULTILINE), command
    [install] = re.findall(r"pip install (-e '[^']+' -c constraints\.txt)", README)
    assert install in MAKEFILE
    for extras in re.findall(r"'\.\[([\w,]+)\]'", README):
        assert set(extras.split(",")) <= EXTRAS
    assert (ROOT / re.findall(r"PYTHON=python sh (\S+)", README)[0]).is_file()


def test_its_figures_are_those_of_the_results():
    figures = re.findall(r"\d+\.\d+ ± \d+\.\d+", README)
    assert len(figures) >= 6
    for figure in figures:
        assert figure in RESULTS, figure
