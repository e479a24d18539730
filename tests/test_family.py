"""benchmarks/family.py: what it makes of an aligner's links and of trainings, and that the page has it."""

import importlib
import json
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from nmt.data.pharaoh import Alignment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("family")


def test_the_page_has_the_tables_of_its_file(family):
    page = family.FILE.with_suffix(".md").read_text(encoding="utf-8")
    between = page.partition(family.BEGIN)[2].partition(family.END)[0]
    assert between.strip() == family.tables(family.read()).strip()


def test_each_way_is_trained_once_with_a_seed_and_as_long_as_was_measured(family):
    found = json.loads(family.FILE.read_text(encoding="utf-8"))
    trained = [(run["way"], run["seed"]) for run in found["runs"]]
    assert len(set(trained)) == len(trained)
    assert {run["way"] for run in found["runs"]} <= set(family.WAYS) == set(found["updates"])
    assert all(run["updates"] == found["updates"][run["way"]] for run in found["runs"])


def test_links_of_both_directions_are_sure_and_those_of_one_are_possible(family, tmp_path, capsys):
    (tmp_path / "multi30k").mkdir()
    for side, line in (("en", "A b"), ("de", "C  D e")):
        (tmp_path / "multi30k" / f"{family.TEST}.{side}").write_text(f"{line}\n")
        (tmp_path / "multi30k" / f"train.{side}").write_text(f"{line} f\n" * 2)
    family.text(Namespace(root=tmp_path))
    assert capsys.readouterr().out == "a b ||| c d e\n" + "a b f ||| c d e f\n" * 2
    for name, test in (("forward", "0-0 1-1"), ("reverse", "0-0 1-2")):
        (tmp_path / name).write_text(f"{test}\n0-0\n0-0\n")  # the training text's links are not the test set's
    family.links(Namespace(root=tmp_path, forward=tmp_path / "forward", reverse=tmp_path / "reverse"))
    assert capsys.readouterr().out == "0-0 1p1 1p2\n"


def test_links_outside_the_sure_and_the_possible_are_errors(family):
    gold = [Alignment(frozenset({(0, 0)}), frozenset({(0, 0), (1, 1)}))]
    assert family.aer([[(0, 0), (1, 1)]], gold) == 0
    assert family.aer([[(0, 0), (1, 0)]], gold) == pytest.approx(100 * (1 - 2 / 3))


def test_a_row_has_mean_and_deviation_and_a_dash_where_nothing_attends(family):
    runs = [
        {"way": "LSTM: none", "seed": n, "updates": 1000, "bleu": b, "chrf": 20.0, "nats": 2.5, "aer": None}
        for n, b in ((1, 10.0), (2, 12.0))
    ]
    [row] = [line for line in family.tables({"runs": runs}).splitlines() if line.startswith("| none")]
    assert row == "| none | 1,000 | 2 | 11.00 ± 1.41 | 20.00 ± 0.00 | 2.500 ± 0.000 | - |"
