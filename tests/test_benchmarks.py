"""benchmarks/: what the reports make of samples, from samples written by hand; tests/slow runs the scripts."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
# Milliseconds of a step by name and source, in search; training takes three times as long.
STEPS = {
    ("global", 100): 2.0,
    ("global", 6400): 128.0,
    ("local_p", 100): 1.0,
    ("local_p", 6400): 1.1,
    ("local_p/dense", 100): 1.3,
    ("local_p/dense", 6400): 130.0,
    ("local_p/windows", 100): 0.8,
    ("local_p/windows", 6400): 1.1,
}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("attention_report")


def case(report: ModuleType, name: str, source: int, step: float, machine: tuple[float, ...] = (1.0, 5.0, 1.0)):
    """Three rounds on a machine that is five times slower in the second; 10 steps, and 100 ms once a batch."""
    samples = []
    for turn, slow in enumerate(machine):
        times = {"search": step, "training": 3 * step, "prepare": 1.0, "zero": 1.0, "hand_over": 1.0}
        sample = {key: slow * value for key, value in times.items()}
        samples.append({"round": turn, **sample, "batch": 10 * sample["training"] + 100 * slow})
    return report.Case(name, source, 1, 1, 10, {}, samples)


def test_ratios_are_taken_within_a_round(report):
    """What slows the machine down for a round changes none; a round that one side lacks is left out."""
    one, other = case(report, "a", 5, 3.0), case(report, "b", 5, 2.0, (1.0, 5.0))
    assert report.ratio(one, [other], report.cost("search")) == pytest.approx(1.5)
    better = case(report, "c", 5, 1.0)
    assert report.ratio(one, [other, better], report.cost("search")) == pytest.approx(3)


def test_what_a_batch_does_once_is_spread_over_its_steps(report):
    """A training step of 6 ms, and 100 ms a batch over 50 steps."""
    assert report.spread_out(case(report, "a", 5, 2.0, (1.0,))) == pytest.approx(6 + 100 / 50)


def test_every_promise_is_judged(report):
    cases = [case(report, name, source, step) for (name, source), step in STEPS.items()]
    decoder = [case(report, name, 25, step) for name, step in {"global": 2.0, "local_p": 2.5}.items()]
    found = {(v.promise, v.place): (round(v.found, 2), v.kept) for v in report.verdicts(cases, decoder)}
    place = "local_p, N=1, 1 thread"
    assert found["a step at S=6400 over one at S=100", f"{place}, search"] == (1.1, True)
    rule = "local attention over the better of its two ways"
    assert found[rule, f"S=100, {place}, search"] == (1.25, False)
    assert found[rule, f"S=6400, {place}, search"] == (1.0, True)
    assert found["a whole decoder step at S=25 over one with global", f"{place}, training"] == (1.25, False)
    assert len(found) == 2 + 4 + 2


def test_a_report_is_a_page_a_plot_and_its_figures(report, tmp_path):
    """From attention.json the same page can be made again."""
    cases = [case(report, name, source, step) for (name, source), step in STEPS.items()]
    decoder = [case(report, name, 25, 2.0) for name in ("global", "local_p")]
    text = report.write_report({"machine": "one"}, cases, decoder, tmp_path)
    assert "| local_p/dense | 6400 | 1 | 1 | 130 |" in text
    assert "search 64, training 64" in text
    assert {p.name for p in tmp_path.iterdir()} == {f"attention.{kind}" for kind in ("json", "md", "png", "svg")}
    tree = json.loads((tmp_path / "attention.json").read_text())
    again = [[report.Case(**c) for c in tree[part]] for part in ("cases", "decoder")]
    assert report.report(tree["settings"], *again) == text == (tmp_path / "attention.md").read_text()
