"""Two processes never train into one run directory, and a killed one keeps nobody out."""

import fcntl
import os
import subprocess
import sys
import threading

import pytest

from nmt.errors import RunError
from nmt.runs.lock import FILE, sole_writer
from nmt.runs.results import TEXTS, read_results, write_results

HOLDING = """
import sys
from pathlib import Path
from nmt.runs.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_only_looks_keeps_nobody_out(tmp_path):
    """As nmt.report does beside a sweep: it has the lock for a moment."""
    (tmp_path / FILE).touch()
    with (tmp_path / FILE).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        ending = threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN))
        ending.start()
        with sole_writer(tmp_path):
            pass
        ending.join()


def test_a_second_writer_is_refused_until_the_first_one_is_gone(tmp_path):
    """However it goes: here by SIGKILL."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(RunError, match=rf"^{tmp_path} is being written by process {other.pid} on "),
            sole_writer(tmp_path),
        ):
            pytest.fail("two writers")
        other.kill()
        other.wait()
    with sole_writer(tmp_path):
        assert (tmp_path / FILE).read_text().startswith(f"process {os.getpid()} on ")
    with sole_writer(tmp_path):
        pass


def test_what_killed_trainings_left_half_written_is_removed(tmp_path):
    """Of every file; what only looks alike stays, as do results that nmt.eval is writing now."""
    drafts = [".config.yaml.12.tmp", "checkpoints/.previous.pt.3.tmp", "scores/test/.results.json.5.tmp"]
    others = [".hidden", "config.yaml.12.tmp", "scores/test/.hypotheses.txt.5.tmp", "checkpoints/last.pt"]
    for name in (*drafts, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    with (tmp_path / others[2]).open("a") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        with sole_writer(tmp_path):
            pass
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*others, FILE}


def test_two_that_score_one_set_keep_both_scores(tmp_path):
    """The second waits for the first, which may be killed, and adds its metric to what the first one wrote."""
    holding = HOLDING.replace("sole_writer", "one_after_another")
    texts = [["a"]] * len(TEXTS)
    write_results(tmp_path, {"scores": {"bleu": 1}, "by_length": []}, texts)
    second = threading.Thread(target=write_results, args=(tmp_path, {"scores": {"chrf": 2}, "by_length": []}, texts))
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert read_results(tmp_path)["scores"] == {"bleu": 1}
        first.kill()
    second.join()
    assert read_results(tmp_path)["scores"] == {"bleu": 1, "chrf": 2}
