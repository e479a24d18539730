"""Every page of docs/mechanisms has a question, a formula, code, a picture, its cost in figures, and an exercise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs" / "mechanisms").glob("*.md") if path.name != "index.md")
SCRIPT = (ROOT / "scripts" / "draw_mechanisms.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_the_page_is_whole(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "**Question.**" in text
    assert re.search(r"\n\n    \S", text.partition("**Cost")[0]), "no formula"
    assert re.search(r"20\d\d", text), "no paper"
    code = re.findall(r"```\{literalinclude\} (\S+)\n:pyobject: (\S+)", text)
    assert code, "no code"
    for file, name in code:
        assert re.search(rf"(class|def) {name.rpartition('.')[2]}\b", (path.parent / file).read_text(encoding="utf-8"))
    [cost] = re.findall(r"\*\*Cost\.\*\*(.*?)\n\n", text, re.DOTALL)
    assert path.stem == "none" or re.search(r"\d\.\d|tenth", cost), "a cost without a figure"
    exercise = text.partition("**Exercise.**")[2]
    assert "<details><summary>" in exercise
    assert exercise.rstrip().endswith("</details>")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_its_pictures_are_there_and_the_script_draws_them(path):
    pictures = re.findall(r"!\[[^]]+\]\((\w+)\.svg\)", path.read_text(encoding="utf-8"))
    assert pictures or path.stem == "none"  # without attention there is nothing to draw
    for name in pictures:
        assert (path.parent / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert re.search(rf"^(draw|transformer|encoder \w+) {name}\b|mechanisms/{name}\.svg", SCRIPT, re.MULTILINE), (
            name
        )
