"""Mean and spread over seeds, on run directories written by hand."""

import pytest
from written_runs import write_log, write_result, write_run

from nmt.runs.summary import read_runs
from nmt.runs.table import configurations, markdown, newest_of_each_seed, remarks, spread, table


@pytest.fixture
def sweep(tmp_path):
    for seed, bleu in {1: 30.0, 2: 31.0, 3: 35.0}.items():
        write_run(tmp_path / f"global-seed_{seed}", {"name": "global"}, seed, bleu)
    write_run(tmp_path / "local_m-seed_1", {"name": "local_m", "half_width": 5}, 1, 20.0)
    write_run(tmp_path / "local_p-seed_1", {"name": "local_p", "half_width": 5}, 1)
    return tmp_path


def rows_of(folder, metrics=None, sets=None):
    runs, _ = newest_of_each_seed(read_runs([folder]))
    return table(runs, metrics, sets)


def test_mean_and_spread_over_seeds(sweep):
    """mean 32, sample variance (4 + 1 + 9) / 2 = 7; configurations are named by what differs and nothing else."""
    rows = rows_of(sweep)
    assert rows[0] == ["configuration", "seeds", "bleu flickr", "chrf flickr", "minutes", "tokens/s", "state"]
    scores = ["32.00 ± 2.65 (30.00 to 35.00)", "64.00 ± 5.29 (60.00 to 70.00)"]
    assert rows[1] == ["model.attention=global", "1, 2, 3", *scores, "2.0", "200", "3 finished"]
    assert rows[2] == ["model.attention=local_m", "1", "20.00", "40.00", "2.0", "200", "1 finished"]
    assert rows[3] == ["model.attention=local_p", "1", "-", "-", "2.0", "200", "1 trained, not scored"]


def test_states_have_a_column_only_where_a_run_is_not_finished(sweep):
    for path in (sweep / "local_p-seed_1").iterdir():
        path.unlink()
    assert "state" not in rows_of(sweep)[0]


def test_runs_without_results_are_named(sweep):
    assert f"no results: {sweep / 'local_p-seed_1'} (trained, not scored)" in remarks(read_runs([sweep]), [])


def test_the_columns_can_be_chosen(sweep):
    assert rows_of(sweep, ["chrf"], ["validation"])[0][2:-3] == ["chrf validation"]


def test_a_key_that_differs_among_those_that_have_it_is_shown(sweep):
    write_run(sweep / "wide", {"name": "local_m", "half_width": 9}, 1, 21.0)
    names = [row[0] for row in rows_of(sweep)]
    assert "model.attention=local_m model.attention.half_width=9" in names
    assert "model.attention=global" in names


def test_of_equal_configuration_and_seed_the_newest_counts(sweep):
    """A sweep that was typed twice has the same seeds twice; what was left out is said."""
    write_run(sweep / "global-seed_1-2", {"name": "global"}, 1, 34.0, hour=1)
    write_run(sweep / "global-seed_2-2", {"name": "global"}, 2, 1.0, hour=-1)
    runs, left_out = newest_of_each_seed(read_runs([sweep]))
    (group,) = [c for c in configurations(runs) if c.name == "model.attention=global"]
    assert [(r.seed, r.directory.name) for r in group.runs] == [
        *((1, "global-seed_1-2"), (2, "global-seed_2"), (3, "global-seed_3"))
    ]
    assert {run.directory.name for run in left_out} == {"global-seed_1", "global-seed_2-2"}
    said = [remark for remark in remarks(runs, left_out) if remark.startswith("left out")]
    assert len(said) == 2
    assert str(sweep / "global-seed_1") in said[0]
    assert "seed 1" in said[0]


def test_a_newer_run_without_results_does_not_hide_one_with_results(sweep):
    newer = write_run(sweep / "global-seed_1-2", {"name": "global"}, 1, hour=5)
    runs, left_out = newest_of_each_seed(read_runs([sweep]))
    assert [run.directory for run in left_out] == [newer]
    assert sum(run.seed == 1 and run.settings["model.attention"] == "global" for run in runs) == 1


def test_results_made_in_another_way_have_columns_that_say_so(sweep):
    """And are not taken for the run's; those of an ensemble are not shown."""
    scores = sweep / "global-seed_1" / "scores"
    how = {"limit": 2, "beam_size": 3}
    folder = scores / "flickr" / "limit_2-beam_size_3"
    write_result(folder, "flickr", {"bleu": 99.0}, sentences=2, set_sentences=1000, difference=how)
    write_result(scores / "with-b-1a2b" / "flickr", "flickr", {"bleu": 99.0})
    head, row, *_ = rows_of(sweep, ["bleu"])
    assert head[2:4] == ["bleu flickr", "bleu flickr (2 of 1,000 sentences, beam_size=3)"]
    assert row[2:4] == ["32.00 ± 2.65 (30.00 to 35.00)", "99.00, 1 of 3 seeds"]


@pytest.mark.parametrize(
    ("other", "title"),
    [
        ({"signature": "tok:zh"}, "bleu flickr [tok:zh]"),
        ({"sentences": 4}, "bleu flickr [4 of 9 sentences]"),
    ],
)
def test_scores_that_cannot_be_compared_are_not_in_one_column(sweep, other, title):
    """Another tokenizer, say, or fewer sentences: no mean over both, and nothing below the title of the other."""
    write_run(sweep / "global-seed_4", {"name": "global"}, 4, 90.0, **other)
    head, row, *_ = rows_of(sweep, ["bleu"])
    assert title in head
    assert row[head.index(title)] == "90.00, 1 of 4 seeds"
    assert "32.00 ± 2.65 (30.00 to 35.00), 3 of 4 seeds" in row
    assert any(r.startswith("not in one column: bleu flickr [") for r in remarks(read_runs([sweep]), []))


def test_scores_of_different_decoding_are_not_passed_over_in_silence(sweep):
    assert not any("not comparable" in remark for remark in remarks(read_runs([sweep]), []))
    write_run(sweep / "beam", {"name": "global"}, 4, 21.0, decode={"beam_size": 1})
    assert any(remark.startswith("not comparable: flickr") for remark in remarks(read_runs([sweep]), []))


def test_a_table_in_markdown_keeps_its_columns(sweep):
    """A signature has bars, which would end a cell."""
    write_log(sweep / "local_p-seed_1")
    lines = markdown([["a|b", "c"], ["1", "2|3"]]).splitlines()
    assert lines == [r"| a\|b | c |", "| --- | --- |", r"| 1 | 2\|3 |"]


@pytest.mark.parametrize(("values", "shown"), [([], "-"), ([1.5], "1.50"), ([1.0, 3.0], "2.00 ± 1.41 (1.00 to 3.00)")])
def test_spread(values, shown):
    assert spread(values, 2) == shown
