"""A training that stands still says where, once, and goes on."""

import threading
import time

import pytest
from train_loops import measure, run

from nmt.train.distributed import Ranks
from nmt.train.watchdog import Watchdog

SHORT = 0.002  # minutes


def printed(capfd: pytest.CaptureFixture[str], count: int, about: str = "trainer.stall_minutes") -> str:
    """What went to standard error, once the message ``about`` something is there so many times; waits for it."""
    text, end = "", time.monotonic() + 60
    while text.count(about) < count and time.monotonic() < end:
        time.sleep(0.01)
        text += capfd.readouterr().err
    return text


def stand_still_here(capfd, count):
    return printed(capfd, count)


def test_it_prints_rank_step_and_stacks_once_for_each_time(capfd):
    with Watchdog(SHORT, Ranks(1, 3)) as watchdog:
        watchdog.progress(340)
        text = stand_still_here(capfd, 1)
        time.sleep(5 * 60 * SHORT)
        assert "trainer.stall_minutes" not in capfd.readouterr().err
        watchdog.progress(341)
        again = printed(capfd, 1)
    assert text.startswith(
        "process 1 of 3 (from 0): neither an update nor a validation has ended for 0.002 minutes, at step 340"
    )
    assert "in stand_still_here" in text
    assert "at step 341" in again
    assert not [t for t in threading.enumerate() if t.name == "watchdog"]


def test_none_watches_nothing():
    with Watchdog(None, Ranks()) as watchdog:
        watchdog.progress(1)
        assert not [t for t in threading.enumerate() if t.name == "watchdog"]


def test_a_training_that_stands_still_says_where(tmp_path, capfd):
    """Here in its validation, which goes on afterwards; updates and validations are progress."""

    def slow(model, step):
        if step == 5:
            # On a busy machine the first updates may have stood still, too.
            assert "in slow" in printed(capfd, 1, "at step 5 ")
        return measure(model, step)

    result, _ = run(tmp_path, slow, max_steps=10, stall_minutes=SHORT)
    assert result.step == 10
