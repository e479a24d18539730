"""benchmarks/: what the reports make of samples, from samples written by hand; tests/slow runs the scripts."""

import importlib
import json
from argparse import Namespace
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch

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
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def report(load) -> ModuleType:
    return load("attention_report")


@pytest.fixture
def ways(load) -> ModuleType:
    return load("self_attention_report")


def case(report: ModuleType, name: str, source: int, step: float, machine: tuple[float, ...] = (1.0, 5.0, 1.0)):
    """Three rounds on a machine that is five times slower in the second; 10 steps, and 100 ms once a batch."""
    samples = []
    for turn, slow in enumerate(machine):
        times = {"search": step, "training": 3 * step, "prepare": 1.0, "zero": 1.0, "gradient": 1.0}
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
    mixtures = [case(report, name, 25, 2.0 + len(name)) for name in ("global", "global/predictions")]
    text = report.write_report({"machine": "one"}, cases, decoder, mixtures, tmp_path)
    assert "| global/predictions | 1 | 20 | 2.50 | 60 | 2.50 |" in text
    assert "| local_p/dense | 6400 | 1 | 1 | 130 |" in text
    assert "search 64, training 64" in text
    assert {p.name for p in tmp_path.iterdir()} == {f"attention.{kind}" for kind in ("json", "md", "png", "svg")}
    tree = json.loads((tmp_path / "attention.json").read_text())
    again = [[report.Case(**c) for c in tree[part]] for part in ("cases", "decoder", "mixtures")]
    assert report.report(tree["settings"], *again) == text == (tmp_path / "attention.md").read_text()


def way(ways: ModuleType, name: str, length: int, training: float, mb: float, causal: bool = False):
    """Three rounds, the second five times slower; a forward pass takes a third."""
    samples = [training, 5 * training, training]
    return ways.Case(name, causal, length, [x / 3 for x in samples], samples, mb / 2, mb)


def quadratic_and_linear(ways: ModuleType):
    """At twice the length global is four times as slow and large, local twice; global/products ends up skipped."""
    cases = []
    for causal, (n, length) in product((False, True), enumerate((64, 128, 256))):
        cases.append(way(ways, "global", length, 10.0 * 4**n, 8.0 * 4**n, causal))
        cases.append(way(ways, "local", length, 25.0 * 2**n, 16.0 * 2**n, causal))
        skipped = ways.Case("global/products", causal, length, skipped_mb=12345.0)
        cases.append(skipped if n == 2 else way(ways, "global/products", length, 20.0 * 4**n, 80.0 * 4**n, causal))
    return cases


def test_ways_are_compared_at_the_same_length_side_and_round(ways):
    cases = quadratic_and_linear(ways)
    training, memory = ways.MEASURES["training"], ways.MEASURES["training MB"]
    local = {c.length: c for c in cases if c.name == "local" and not c.causal}
    assert [ways.of_global(c, cases, training) for c in local.values()] == pytest.approx([2.5, 1.25, 0.625])
    assert [ways.over_half(c, cases, training) for c in local.values()] == [None, 2, 2]
    assert ways.of_global(local[256], cases, memory) == pytest.approx(0.5)
    local[256].training[1] *= 100
    assert ways.of_global(local[256], cases, training) == pytest.approx(0.625)
    assert ways.of_global(local[256], [c for c in cases if c.causal], training) is None


def test_faster_from_holds_up_to_the_longest(ways):
    """Not where a way is faster for a while only, nor of a length that was skipped."""
    side = [c for c in quadratic_and_linear(ways) if not c.causal]
    assert ways.faster_from("local", side) == 256
    assert ways.faster_from("global/products", side) is None
    for case, training in zip([c for c in side if c.name == "local"], (1.0, 1000.0, 1.0), strict=True):
        case.training[:] = [training] * 3
    assert ways.faster_from("local", side) == 256


def test_a_report_of_ways_is_a_page_a_plot_and_its_figures(ways, tmp_path):
    cases = quadratic_and_linear(ways)
    text = ways.write_report({"machine": "one"}, cases, tmp_path)
    assert text.count("| local | both sides | 256 | 0.625 | 2 | 0.5 | 2 | 256 |") == 1
    assert text.count("| global/products | causal | 128 | 2 | 4 | 10 | 4 |  |") == 1
    assert text.count("| local | 128 | 16.7 | 1.25 | 2 | 50 | 1.25 | 2 | 16 | 1 | 2 | 32 | 1 | 2 |") == 2
    assert text.count("| global/products | 256 | skipped: 12,345 MB |") == 2
    assert {p.name for p in tmp_path.iterdir()} == {f"self_attention.{kind}" for kind in ("json", "md", "png", "svg")}
    tree = json.loads((tmp_path / "self_attention.json").read_text())
    again = ways.report(tree["settings"], [ways.Case(**c) for c in tree["cases"]])
    assert again == text == (tmp_path / "self_attention.md").read_text()


@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
def test_every_way_reaches_what_its_report_says(load, ways, causal):
    """Which of 100 inputs the output at 50 depends on."""
    script, options = load("self_attention"), Namespace(batch=1, width=8, heads=2, half_width=3, clock="wall")
    every = range(51) if causal else range(100)
    near = range(47, 51) if causal else range(47, 54)
    for name in ways.COLOURS:
        bench = script.Bench(ways.Case(name, causal, 100), options)
        bench.gradient = torch.zeros(1, 100, 8).index_fill(1, torch.tensor(50), 1.0)
        bench.training()
        seen = bench.x.grad[0].abs().sum(1).nonzero().flatten().tolist()
        expected = {"local": near, "convolution": near, "hard_coded": range(40, 51 if causal else 61)}
        assert seen == list(expected.get(name, every)), name


def test_engines_take_turns_and_are_compared_within_a_round(load):
    """A machine that is ten times slower in the second round changes no ratio."""
    engines = load("engines")
    order: list[tuple[str, int]] = []
    now = [0.0]

    class Fake:
        def __init__(self, name: str, seconds: float) -> None:
            self.name, self.seconds, self.decode, self.slow = name, seconds, Namespace(batch_size=0), 1.0

        def hypotheses(self, texts):
            order.append((self.name, self.decode.batch_size))
            one = isinstance(texts, str)
            now[0] += self.seconds * self.slow * (1 if one else len(texts))
            return [Namespace(tokens="ab")] if one else [[Namespace(tokens="ab")] for _ in texts]

    fakes = {engines.FIRST: Fake("a", 0.2), "other": Fake("b", 0.1)}
    samples = {name: engines.Samples(bleu=30.0) for name in fakes}
    timed = {name: engines.TimedEngine(fake, ["x"] * 20, lambda: now[0]) for name, fake in fakes.items()}
    for slow in (1.0, 10.0, 1.0):
        for fake in fakes.values():
            fake.slow = slow
        engines.measure(timed, samples)
    assert order[:6] == [("a", 32), ("b", 32), ("a", 1), ("a", 1), ("b", 1), ("b", 1)]
    cells = engines.row("other", 1, samples["other"], samples[engines.FIRST])
    assert cells == ["other", "1", "20", "2.00", "20", "2.00", "100.0", "1000.0", "30.0"]


def test_gold_positions_are_means_of_links(load):
    """Of benchmarks/centres.py: two links of a word are averaged; a word without any has none."""
    links = torch.tensor([[0, 0, 1], [0, 0, 4], [0, 2, 3], [1, 1, 0]])
    found = load("centres").gold_positions(links, (2, 3))
    nan = float("nan")
    torch.testing.assert_close(found, torch.tensor([[2.5, nan, 3.0], [nan, 0.0, nan]]), equal_nan=True)
