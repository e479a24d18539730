"""Every page of docs/mechanisms has a question, a formula, code, a picture, its cost in figures, and an exercise."""

import re
from math import inf, prod

import pytest
from documented import ROOT, lines_of
from excerpts import cut, excerpts
from hydra.core.override_parser.overrides_parser import OverridesParser

PAGES = sorted(path for path in (ROOT / "docs" / "mechanisms").glob("*.md") if path.name != "index.md")
MOST_MINUTES = 10  # that a page's exercises may train, as docs/mechanisms/index.md says
SCRIPT = (ROOT / "scripts" / "draw_mechanisms.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_the_page_is_whole(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "**Question.**" in text
    assert re.search(r"\n\n    \S", text.partition("**Cost")[0]), "no formula"
    assert re.search(r"20\d\d", text), "no paper"
    [cost] = re.findall(r"\*\*Cost\.\*\*(.*?)\n\n", text, re.DOTALL)
    assert re.search(r"\d\.\d|tenth", cost), "a cost without a figure"
    assert "benchmarks/results" in cost, "a cost that names no table, and does not say that there is none"
    assert re.search(r"\beqs?\. \d|A\.1\.2|number", text.partition("**Cost")[0]), (
        "neither numbers nor why they are missing"
    )
    exercise = text.partition("**Exercise.**")[2]
    assert "<details><summary>" in exercise
    assert exercise.rstrip().endswith("</details>")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_its_code_is_five_to_fifteen_lines_of_the_source(path):
    found = list(excerpts(path))
    assert len(found) == len(re.findall(r"^```\{literalinclude\}", path.read_text(encoding="utf-8"), re.MULTILINE)) > 0
    assert {(e.file.name, e.first): e.code_lines() for e in found if not 5 <= e.code_lines() <= 15} == {}


def test_an_excerpt_is_what_its_options_say(tmp_path):
    file = tmp_path / "code.py"
    file.write_text(
        'class A:\n    def f(self):\n        """No\n        code."""\n\n        # nor\n        return 1\n\n\nx = 1\n'
    )
    assert cut(file, {"pyobject": "A.f"}) == (file, 2, 7)
    assert cut(file, {"pyobject": "A.f"}).code_lines() == 2
    assert cut(file, {"start-at": "class", "end-before": "def"}).text == ["class A:"]
    assert cut(file, {"pyobject": "A", "start-after": "code.", "end-at": "return"}) == (file, 5, 7)
    for wrong in (
        {"pyobject": "A.g"},
        {"pyobject": "A", "start-at": "x ="},
        {"start-at": "x", "end-at": "y"},
        {"lines": "1-2"},
    ):
        with pytest.raises(ValueError, match=r"code\.py"):
            cut(file, wrong)


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_its_pictures_are_there_and_the_script_draws_them(path):
    pictures = re.findall(r"!\[[^]]+\]\((\w+)\.svg\)", path.read_text(encoding="utf-8"))
    assert pictures or path.stem == "none"  # without attention there is nothing to draw
    for name in pictures:
        assert (path.parent / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert re.search(
            rf"^(draw|align|transformer|encoder \w+) {name}\b|mechanisms/{name}\.svg", SCRIPT, re.MULTILINE
        ), name


def minutes_of(text: str) -> float:
    """How long all trainings of a page may take, one job after the other; inf where one has no trainer.max_minutes."""
    total = 0.0
    for line in lines_of(text, "page", one_seed=False):
        if line.module != "nmt.train":
            continue
        overrides = OverridesParser.create().parse_overrides([word for word in line.typed if "=" in word])
        limits = [float(str(o.value())) for o in overrides if o.key_or_group == "trainer.max_minutes"]
        jobs = prod(len(list(o.sweep_iterator())) for o in overrides if o.is_sweep_override())
        total += jobs * limits[-1] if limits else inf
    return total


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_what_a_page_trains_takes_ten_minutes_at_most(path):
    assert minutes_of(path.read_text(encoding="utf-8")) <= MOST_MINUTES


def test_every_job_of_a_sweep_and_every_command_counts():
    command = "    python -m nmt.train -m model.attention=global,none seed=1,2,3 'x=[1,2]' trainer.max_minutes=1.5\n"
    assert minutes_of(command) == 9
    assert minutes_of(f"{command}\n    python -m nmt.train trainer.max_minutes=2\n") == 11
    assert minutes_of("    python -m nmt.train +experiment=demo\n") == inf
    assert minutes_of("    python -m nmt.eval run=runs/x\n") == 0
