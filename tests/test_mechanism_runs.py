"""The pictures in docs/mechanisms are those that the runs beside them give, and the figures in the text are theirs."""

import html
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from documented import ROOT
from script_modules import load_script

import nmt
from nmt.device import Precision
from nmt.runs.directory import Run

PAGES = ROOT / "docs" / "mechanisms"
RUNS = PAGES / "runs"
SCRIPT = (ROOT / "scripts" / "draw_mechanisms.sh").read_text(encoding="utf-8")
[SENTENCE] = re.findall(r"^sentence=\$\{SENTENCE:-(.*)\}$", SCRIPT, re.MULTILINE)
[TRANSLATION] = re.findall(r"^translation=\$\{TRANSLATION:-(.*)\}$", SCRIPT, re.MULTILINE)
# Of each picture the run, and what of it is drawn.
DRAWN = {name: (name, "translation") for name in re.findall(r"^draw (\w+)$", SCRIPT, re.MULTILINE)}
DRAWN |= {file: (name, "encoder") for name, file in re.findall(r"^encoder (\w+) (\w+)$", SCRIPT, re.MULTILINE)}
DRAWN |= {name: (name, "alignment") for name in re.findall(r"^align (\w+)$", SCRIPT, re.MULTILINE)}
TRAINED = re.findall(r"^(?:lstm|transformer) (\w+)", SCRIPT, re.MULTILINE)
pytestmark = pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="a source distribution leaves the runs out")
MOST_BYTES = 7_000_000  # of all runs together: whoever clones the project gets them


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("draw_attention")


def percent(text: str) -> float | None:
    """The number of a cell; None for any other text."""
    return float(text) if text.isdecimal() else None


@pytest.mark.parametrize("picture", sorted(DRAWN))
def test_the_run_beside_it_gives_the_picture(picture, script):
    """Title, tokens of both sides, and the percentages, which another processor may round otherwise."""
    name, kind = DRAWN[picture]
    given = ("translation", TRANSLATION) if kind == "alignment" else (kind, None)
    drawn = [text.get_text() for text in script.of_text(RUNS / name, SENTENCE, *given).texts]
    svg = (PAGES / f"{picture}.svg").read_text(encoding="utf-8")
    there = [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", svg)]
    assert [text for text in there if percent(text) is None] == [text for text in drawn if percent(text) is None]
    ours, theirs = ([p for text in texts if (p := percent(text)) is not None] for texts in (there, drawn))
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1)


def test_every_picture_and_every_run_has_a_line_of_the_script():
    assert {path.stem for path in PAGES.glob("*.svg")} == DRAWN.keys()
    assert sorted(path.name for path in RUNS.iterdir()) == sorted(TRAINED)


def test_the_runs_are_small_and_name_no_folder_of_a_machine():
    files = [path for path in RUNS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in files:
        assert not re.search(rb"/(home|tmp|root|work|Users)/", path.read_bytes()), path


def bleu(name: str) -> int:
    """BLEU of a run on the test set, as a page writes it."""
    [file] = (RUNS / name / "scores" / "test").rglob("results.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    return round(found["scores"]["bleu"]["value"])


def test_the_table_has_every_run_with_its_score():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", (PAGES / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: int(score) for name, score in rows} == {name: bleu(name) for name in TRAINED}


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_scores_in_the_text_are_those_of_the_runs(path: Path):
    """As in: BLEU on the test set: `local_p` 29, `global` 80."""
    text = path.read_text(encoding="utf-8")
    for scores in re.findall(r"BLEU\son\sthe\stest\sset:((?:\s`\w+`\s\d+,?)+)", text):
        assert {name: int(score) for name, score in re.findall(r"`(\w+)`\s(\d+)", scores)} == {
            name: bleu(name) for name in re.findall(r"`(\w+)`", scores)
        }


def test_the_page_quotes_what_is_left_without_attention():
    model = nmt.load(RUNS / "none", device="cpu")
    model.decode.precision = Precision.fp32
    translation = model.translate(SENTENCE)
    assert f'"{translation}"' in (PAGES / "none.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_runs_that_are_compared_had_the_same_data_and_as_many_updates(kind):
    lines = re.findall(rf"^{kind} (\w+)(.*)", SCRIPT, re.MULTILINE)
    trained = [Run.open(RUNS / name).config for name, keys in lines if "trainer." not in keys]
    assert all((c.data, c.trainer, c.seed) == (trained[0].data, trained[0].trainer, trained[0].seed) for c in trained)
