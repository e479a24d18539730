"""Paired tests draw as sacreBLEU does and print its numbers, but for which differences they count."""

import json
import math
import random
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from nmt.errors import ConfigError, DataError
from nmt.eval.metrics import score_corpus
from nmt.eval.significance import Comparison, SeedComparison, SignificanceTest, SystemScore, compare

WORDS = ["der", "die", "das", "Haus", "Hund", "Baum", "rot", "groß", "und", "läuft", ",", "."]
RNG = random.Random(3)
REFERENCES = [" ".join(RNG.choices(WORDS, k=12)) for _ in range(40)]


def system(share: float, seed: int) -> list[str]:
    """References with a share of wrong words."""
    rng = random.Random(seed)
    return [" ".join("falsch" if rng.random() < share else w for w in line.split()) for line in REFERENCES]


@pytest.mark.parametrize("test", SignificanceTest)
def test_values_are_those_of_the_sacrebleu_command(tmp_path, test):
    systems = {"good": system(0.2, 1), "bad": system(0.25, 2)}
    (tmp_path / "ref").write_text("\n".join(REFERENCES))
    for name, lines in systems.items():
        (tmp_path / name).write_text("\n".join(lines))
    options = [f"--paired-{test.value}", f"--paired-{test.value}-n", "60", "-w", "4", "-f", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", "ref", "-i", "good", "bad", "-m", "bleu", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    said = [row["BLEU"] for row in json.loads(done.stdout)]
    (found,) = compare(list(systems.items()), REFERENCES, ["bleu"], tests=[test], trials=60)
    assert [row.system for row in found.rows] == ["good", "bad"]
    assert found.rows[0].p_value is None
    for row, theirs in zip(found.rows, said, strict=True):
        assert row.value == pytest.approx(theirs["score"], abs=1e-4)
        if row.p_value is not None:
            their_own = row.one_sided if test is SignificanceTest.bs else row.p_value
            assert their_own == pytest.approx(theirs["p_value"], abs=1e-4)
        if test is SignificanceTest.bs:
            assert row.mean == pytest.approx(theirs["mean"], abs=1e-4)
            assert row.interval == pytest.approx(theirs["ci"], abs=1e-4)
    assert {"bs": "bootstrap", "ar": "randomization"}[test.value] in str(found)
    assert f"{test.value}:60|seed:12345" in found.signature


def test_the_bootstrap_counts_differences_in_either_direction():
    """Against whole test sets that are written down and scored one by one."""
    a, b = system(0.2, 1), system(0.25, 2)
    (found,) = compare([("a", a), ("b", b)], REFERENCES, ["bleu"], tests=[SignificanceTest.bs], trials=30)
    drawn = np.random.default_rng(12345).choice(len(REFERENCES), size=(30, len(REFERENCES)), replace=True)

    def bleu(lines, rows):
        return BLEU().corpus_score([lines[i] for i in rows], [[REFERENCES[i] for i in rows]]).score

    seen = bleu(b, range(len(b))) - bleu(a, range(len(a)))
    differences = [bleu(b, rows) - bleu(a, rows) for rows in drawn]
    mean = sum(differences) / len(differences)
    count = sum(abs(d - mean) >= abs(seen) for d in differences)
    assert found.rows[1].p_value == (count + 1) / 31
    assert f"p = {(count + 1) / 31:.4f}  (one-sided, as sacreBLEU prints it: " in str(found)


def test_a_bootstrap_of_equally_good_systems_is_rarely_significant():
    """Below 0.1 in about a tenth of cases; sacreBLEU's one-sided number is there in a fifth and more."""
    cases, trials = 80, 100
    rows = [
        compare(
            [("a", system(0.25, 2 * case)), ("b", system(0.25, 2 * case + 1))],
            REFERENCES,
            ["bleu"],
            tests=[SignificanceTest.bs],
            trials=trials,
        )[0].rows[1]
        for case in range(cases)
    ]
    assert sum((row.p_value or 0) <= 0.1 for row in rows) / cases < 0.1 + 3 * math.sqrt(0.1 * 0.9 / cases)
    assert sum((row.one_sided or 0) <= 0.1 for row in rows) / cases > 0.18


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter"])
@pytest.mark.parametrize("differing", [1, 2, 5])
def test_randomization_counts_differences_as_large_as_the_one_seen(metric, differing):
    """Against all ways to swap the sentences that differ, whole outputs scored one by one."""
    a, other = system(0.2, 1), system(0.25, 2)
    b = a.copy()
    places = [place for place in range(len(a)) if a[place] != other[place]][:differing]
    for place in places:
        b[place] = other[place]

    def difference(swapped):
        one, two = a.copy(), b.copy()
        for place in swapped:
            one[place], two[place] = two[place], one[place]
        scores = score_corpus([metric], one, REFERENCES), score_corpus([metric], two, REFERENCES)
        return abs(scores[0][metric].value - scores[1][metric].value)

    ways = [[p for p, swap in zip(places, way, strict=True) if swap] for way in product((0, 1), repeat=differing)]
    exact = sum(difference(way) >= difference([]) - 1e-6 for way in ways) / len(ways)
    (found,) = compare([("a", a), ("b", b)], REFERENCES, [metric], tests=[SignificanceTest.ar], trials=4000)
    assert found.rows[1].p_value == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 4000))
    if differing == 1:
        assert found.rows[1].p_value == 1.0


def test_equal_systems_do_not_differ_and_very_unequal_ones_do():
    systems = [("a", system(0.1, 1)), ("same", system(0.1, 1)), ("worse", system(0.6, 2))]
    for found in compare(systems, REFERENCES, ["bleu", "chrf"], "de", trials=100):
        assert [row.p_value for row in found.rows[:2]] == [None, 1.0]
        assert found.rows[2].p_value == pytest.approx(1 / 101)


def test_mistakes_are_named():
    with pytest.raises(DataError, match="two systems"):
        compare([("a", REFERENCES)], REFERENCES, ["bleu"])
    with pytest.raises(DataError, match="runs/b: 39 hypotheses"):
        compare([("runs/a", REFERENCES), ("runs/b", REFERENCES[1:])], REFERENCES, ["bleu"])
    with pytest.raises(ConfigError, match="'blue'"):
        compare([("a", REFERENCES), ("b", REFERENCES)], REFERENCES, ["blue"])


def pairs_of(differences, p_values) -> SeedComparison:
    """A comparison of pairs with these differences and p-values."""
    return SeedComparison(
        [
            (seed, Comparison("test", "BLEU", "", [SystemScore("a", 30.0, None), SystemScore("b", 30.0 + d, p)]))
            for seed, (d, p) in enumerate(zip(differences, p_values, strict=True), 1)
        ]
    )


def test_p_values_of_seeds_are_combined():
    """One pair says what it says; pairs that agree say more by Stouffer's method, pairs that contradict say nothing."""
    one = pairs_of([1.0], [0.04])
    assert one.stouffer == pytest.approx(0.04)
    assert one.twice_mean == pytest.approx(0.04)
    # 1.959964 is the point that a normal variable exceeds, up or down, with probability 0.05: Z = sqrt(2) of it.
    both = pairs_of([1.0, 2.0], [0.05, 0.05])
    assert both.stouffer == pytest.approx(math.erfc(1.959964 * math.sqrt(2) / math.sqrt(2)), rel=1e-4)
    assert pairs_of([1.0, -1.0], [0.01, 0.01]).stouffer == pytest.approx(1.0)
    assert pairs_of([1.0, -0.5], [0.01, 0.01]).twice_mean == 1.0
    assert pairs_of([0.0, 0.0], [1.0, 1.0]).stouffer == 1.0
    shown = str(both)
    assert "Stouffer's method p = " in shown
    assert "twice the mean p = " in shown
    assert "seed 2: b 32.00, a 30.00, difference +2.00  p = 0.0500" in shown


def test_combined_p_values_are_rarely_small_by_chance():
    """Where systems are equal: below 0.05 in at most 5% of cases, for twice the mean also where all pairs are one."""
    rng, trials = random.Random(1), 3000
    drawn = [[(rng.choice((-1, 1)), rng.random()) for _ in range(3)] for _ in range(trials)]
    independent = [pairs_of(*zip(*rows, strict=True)) for rows in drawn]
    dependent = [pairs_of(*zip(*([rows[0]] * 3), strict=True)) for rows in drawn]
    margin = 3 * math.sqrt(0.05 * 0.95 / trials)
    assert abs(sum(c.stouffer < 0.05 for c in independent) / trials - 0.05) < margin
    for cases in (independent, dependent):
        assert sum(c.twice_mean < 0.05 for c in cases) / trials < 0.05 + margin
