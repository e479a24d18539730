"""What is read of run directories written by hand: settings, states, figures of the log."""

import pytest
from written_runs import TRAINED, scored, write_log, write_run

from nmt.errors import RunError
from nmt.runs.lock import sole_writer
from nmt.runs.summary import State, read_run, read_runs


def test_figures_of_the_log(tmp_path):
    run = read_run(write_run(tmp_path / "a", {"name": "global"}, 3, 30.0))
    assert (run.seed, run.minutes, run.speed, run.memory, run.parameters) == (3, 2.0, 200.0, 500.0, 1000)
    assert run.settings["model.attention"] == "global"
    assert "seed" not in run.settings


def test_a_configuration_of_an_earlier_version_is_the_same_with_its_defaults(tmp_path):
    """A key that it lacks has the default that means what it did."""
    old = read_run(write_run(tmp_path / "old", {"name": "global"}, 1))
    new = read_run(write_run(tmp_path / "new", {"name": "global", "score": "general"}, 2))
    other = read_run(write_run(tmp_path / "other", {"name": "global", "score": "dot"}, 2))
    assert old.identity == new.identity != other.identity


def test_a_mechanism_that_this_program_does_not_know_is_read_as_it_is(tmp_path):
    run = read_run(write_run(tmp_path / "a", {"name": "of_my_own", "depth": 3}, 1))
    assert run.settings["model.attention"] == "of_my_own"
    assert run.settings["model.attention.depth"] == "3"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([*TRAINED, *scored("validation", "flickr")], State.finished),
        ([*TRAINED, *scored("validation")], State.unscored),
        (TRAINED, State.unscored),
        (TRAINED[:-1], State.broken_off),
        ([*TRAINED[:-1], {**TRAINED[-1], "ending": "interrupted"}], State.interrupted),
        # Resumed after its end, to train on.
        ([*TRAINED, *scored("validation", "flickr"), {"event": "resume"}, *TRAINED[:2]], State.broken_off),
        ([*TRAINED[:3], {"event": "resume"}, *TRAINED, *scored("validation", "flickr")], State.finished),
        # An earlier version did not log which sets there are.
        ([{"event": "built"}, *TRAINED[1:], *scored("flickr")], State.finished),
    ],
)
def test_states(tmp_path, events, state):
    directory = write_run(tmp_path / "a", {"name": "global"}, 1)
    write_log(directory, *events)
    assert read_run(directory).state is state


def test_a_run_that_is_being_written_is_in_training(tmp_path):
    directory = write_run(tmp_path / "a", {"name": "global"}, 1, 30.0)
    with sole_writer(directory):
        assert read_run(directory).state is State.training
    assert read_run(directory).state is State.finished


def test_a_run_without_a_log_has_no_state(tmp_path):
    directory = write_run(tmp_path / "a", {"name": "global"}, 1, 30.0)
    (directory / "log.jsonl").unlink()
    assert read_run(directory).state is State.unknown
    assert read_run(directory).minutes is None


def test_a_line_that_a_crash_cut_short_is_not_read(tmp_path):
    directory = write_run(tmp_path / "a", {"name": "global"}, 1)
    before = read_run(directory)
    with (directory / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "train", "tok')
    assert read_run(directory) == before


@pytest.mark.parametrize(
    "damage", [b'{"event": "train", "tok', b"", b"\xff\xfe", b"[1, 2]", b"3", b'{"step": 1}', b'{"event": 1}', b"\0\0"]
)
def test_a_damaged_line_is_skipped_and_named(tmp_path, damage):
    """The figures of all other lines count."""
    directory = write_run(tmp_path / "a", {"name": "global"}, 1)
    log, before = directory / "log.jsonl", read_run(directory)
    first, *rest = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([first, damage, *rest]))
    after = read_run(directory)
    assert after.events == before.events
    assert after.notes == (f"{log}, line 2 is damaged and was skipped",)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(RunError, match="no run directory below"):
        read_runs([tmp_path])


def test_links_to_runs_are_followed_and_none_is_counted_twice(tmp_path):
    """Also not where a link leads to its own folder, to the one above, or to a run that is there anyway."""
    sweep, archive = tmp_path / "sweep", tmp_path / "archive"
    for folder in (sweep / "a", archive / "b"):
        write_run(folder, {"name": "global"}, 1)
    (sweep / "b").symlink_to(archive / "b")
    (sweep / "a_again").symlink_to(sweep / "a")
    (sweep / "a" / "above").symlink_to(sweep)
    (sweep / "itself").symlink_to("itself")
    (tmp_path / "other").symlink_to(sweep)
    names = [sweep / "a", sweep / "b"]
    assert [run.directory for run in read_runs([sweep])] == names
    assert [run.directory for run in read_runs([sweep, sweep / "a", tmp_path / "other"])] == names
    assert [run.directory.parent.name for run in read_runs([tmp_path / "other"])] == ["other", "other"]


@pytest.mark.parametrize("text", ["a: [", "- 1", "3", "a: &x\n  b: *x\n", "[" * 5000 + "]" * 5000])
def test_a_damaged_configuration_is_named(tmp_path, text):
    path = write_run(tmp_path / "a", {"name": "global"}, 1) / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=f"{path}: no[t ]"):
        read_runs([tmp_path])
