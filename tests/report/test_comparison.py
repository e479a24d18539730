"""Tests against the baseline: the pairs, and p-values over seeds against their formula."""

import json
from pathlib import Path

import pytest
from written_runs import write_run

from nmt.errors import ConfigError, RunError
from nmt.eval.significance import SignificanceTest, combined_p_value, compare
from nmt.report import comparison
from nmt.report.comparison import against_baseline, find_baseline
from nmt.runs.summary import read_runs
from nmt.runs.table import columns, configurations, titles

WORDS = ["der", "Hund", "und", "die", "Katze", "gehen", "heute", "Abend", "mit", "uns", "in", "den", "Garten"]
REFERENCES = [" ".join(WORDS[i % 5 : i % 5 + 6]) for i in range(30)]
BOTH = tuple(SignificanceTest)


def worse(lines, every):
    """One word of each line of so many is another."""
    return [f"falsch {line.partition(' ')[2]}" if i % every == 0 else line for i, line in enumerate(lines)]


def write(folder, attention, seed, hypotheses, references=REFERENCES):
    run = write_run(folder / f"{attention}-{seed}", {"name": attention}, seed, 50.0)
    texts = {"source": references, "reference": references, "hypotheses": hypotheses}
    for name, lines in texts.items():
        (run / "scores" / "flickr" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return run


def against_none(folder, tests):
    of = configurations(read_runs([folder]))
    shown = [c for c in columns(read_runs([folder])) if c.metric == "bleu"]
    return of, *against_baseline(of, find_baseline(of, "none"), shown, tests, trials=50)


def test_runs_of_one_seed_are_compared_on_their_own_sentences(tmp_path):
    """Difference and p-values are those of nmt.eval.significance for each pair, combined."""
    said = {("none", 1): 3, ("none", 2): 4, ("global", 1): 10, ("global", 2): 15}
    for (attention, seed), every in said.items():
        write(tmp_path, attention, seed, worse(REFERENCES, every))
    of, found, notes = against_none(tmp_path, BOTH)
    (result,) = found
    pairs = []
    for seed in (1, 2):
        systems = [(name, worse(REFERENCES, said[name, seed])) for name in ("none", "global")]
        pairs.append([c.rows for c in compare(systems, REFERENCES, ["bleu"], trials=50)])
    differences = [rows[0][1].value - rows[0][0].value for rows in pairs]
    assert of[result.configuration].name == "model.attention=global"
    assert result.seeds == [1, 2]
    assert result.difference == pytest.approx(sum(differences) / 2)
    for number, test in enumerate(BOTH):
        p_values = [rows[number][1].p_value or 0.0 for rows in pairs]
        assert result.p_values[test] == pytest.approx(combined_p_value(p_values, differences))
    assert notes == []


def test_other_sentences_and_other_seeds_are_not_compared(tmp_path):
    write(tmp_path, "none", 1, REFERENCES)
    write(tmp_path, "global", 1, REFERENCES[::-1], REFERENCES[::-1])
    write(tmp_path, "global", 2, REFERENCES)
    _, found, notes = against_none(tmp_path, [SignificanceTest.bs])
    assert found == []
    shown = titles([c for c in columns(read_runs([tmp_path])) if c.metric == "bleu"])
    assert len(shown) == 2  # and nobody averages scores on other sentences
    assert all("[text " in title for title in shown)
    assert any("seeds 1, 2 are not paired" in note for note in notes)


def test_the_tests_take_the_language_of_the_set(tmp_path, monkeypatch):
    """And that of the configuration where an earlier version wrote none."""
    asked: list[str] = []
    monkeypatch.setattr(
        comparison, "compare", lambda systems, references, metrics, language, *_: asked.append(language) or []
    )
    for attention in ("none", "global"):
        write(tmp_path, attention, 1, REFERENCES)
    against_none(tmp_path, BOTH)
    for path in tmp_path.glob("*/scores/flickr/results.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"languages": ["en", "ja"]}))
    against_none(tmp_path, BOTH)
    assert asked == ["de", "ja"]


def test_other_sources_of_the_same_references_are_not_compared(tmp_path):
    write(tmp_path, "none", 1, REFERENCES)
    other = write(tmp_path, "global", 1, REFERENCES)
    (other / "scores" / "flickr" / "source.txt").write_text("".join(f"{line}\n" for line in REFERENCES[::-1]))
    _, found, notes = against_none(tmp_path, [SignificanceTest.bs])
    assert found == []
    assert any("has other sentences than" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe\n", "hypotheses.txt is not UTF-8 (byte 1)"), (b"one\n", "hypotheses.txt has 1 lines for ")],
)
def test_translations_that_are_damaged_are_named(tmp_path, content, said):
    for attention in ("none", "global", "bahdanau"):
        run = write(tmp_path, attention, 1, REFERENCES)
        if attention == "global":
            (run / "scores" / "flickr" / "hypotheses.txt").write_bytes(content)
    of, found, notes = against_none(tmp_path, [SignificanceTest.bs])
    assert [of[result.configuration].name for result in found] == ["model.attention=bahdanau"]
    assert any(said in note for note in notes)


def test_results_that_are_none_are_named(tmp_path):
    run = write(tmp_path, "none", 1, REFERENCES)
    (run / "scores" / "flickr" / "results.json").write_text("{}")
    with pytest.raises(RunError, match=r"flickr/results.json: no results: expected scores"):
        read_runs([tmp_path])


def test_runs_without_their_sentences_are_named(tmp_path):
    write(tmp_path, "none", 1, REFERENCES)
    write_run(tmp_path / "other", {"name": "global"}, 1, 50.0)
    _, found, notes = against_none(tmp_path, [SignificanceTest.bs])
    assert found == []
    assert any("none has no bleu flickr [text unknown]" in note for note in notes)


@pytest.mark.parametrize("name", ["none", "model.attention=none", "none-1"])
def test_a_baseline_is_a_configuration_a_value_or_a_folder(tmp_path, name):
    write_run(tmp_path / "none-1", {"name": "none"}, 1, 1.0)
    write_run(tmp_path / "global-1", {"name": "global"}, 1, 1.0)
    of = configurations(read_runs([tmp_path]))
    assert of[find_baseline(of, name)].name == "model.attention=none"


@pytest.mark.parametrize("name", ["sweep/none-1", "./sweep/none-1/", "/sweep/none-1"])
def test_a_baseline_is_a_folder_with_those_above_it(tmp_path, monkeypatch, name):
    """As it is typed where the runs are, or from the root."""
    write_run(tmp_path / "sweep" / "none-1", {"name": "none"}, 1, 1.0)
    write_run(tmp_path / "sweep" / "global-1", {"name": "global"}, 1, 1.0)
    monkeypatch.chdir(tmp_path)
    of = configurations(read_runs([Path("sweep")]))
    assert of[find_baseline(of, f"{tmp_path}{name}" if name[0] == "/" else name)].name == "model.attention=none"


def test_an_unknown_baseline_lists_the_configurations(tmp_path):
    write_run(tmp_path / "none-1", {"name": "none"}, 1, 1.0)
    write_run(tmp_path / "global-1", {"name": "global"}, 1, 1.0)
    of = configurations(read_runs([tmp_path]))
    with pytest.raises(ConfigError, match=r"baseline=x is none of 'model\.attention=global'; 'model\.attention=none'"):
        find_baseline(of, "x")


def test_p_values_over_seeds():
    """By hand, from the formula; seeds that disagree in the direction are no evidence."""
    assert combined_p_value([0.03], [1.0]) == 0.03
    assert combined_p_value([0.02, 0.04], [1.0, 2.0]) == pytest.approx(4 * (0.01 + 0.02) / 2)
    assert combined_p_value([0.02, 0.04], [-1.0, -2.0]) == pytest.approx(4 * (0.01 + 0.02) / 2)
    assert combined_p_value([0.001, 0.001], [1.0, -1.0]) == 1.0
    with pytest.raises(ValueError, match="no p-values"):
        combined_p_value([], [])


def test_a_combined_p_value_is_one_under_the_null():
    """Equal seeds are the most dependent there can be: P(p <= x) is at most x."""
    draws = [(i + 0.5) / 1000 for i in range(1000)]
    for x in (0.01, 0.05, 0.2):
        assert sum(combined_p_value([p] * 3, [1.0] * 3) <= x for p in draws) / 1000 <= x
