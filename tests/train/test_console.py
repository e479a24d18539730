"""Output that nobody reads does not end a training."""

import io
import os
import sys

import pytest

from nmt.train.console import Unread, unread_output_ignored


@pytest.fixture
def closed_pipe():
    """A text stream into a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


def test_what_is_written_to_a_closed_pipe_is_lost_in_silence(closed_pipe):
    stream = Unread(closed_pipe)
    for _ in range(3):
        stream.write("x" * 100_000)
        stream.flush()
    closed_pipe.close()  # flushing what is left would fail, had it not been sent to nowhere


def test_printing_goes_on_after_the_pipe_was_closed(closed_pipe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    monkeypatch.setattr(sys, "stderr", None)
    with unread_output_ignored():
        print("lost", flush=True)
        print("lost, too", file=sys.stderr, flush=True)
    closed_pipe.close()
    assert sys.stderr is None


def test_what_is_read_arrives():
    stream = io.StringIO()
    Unread(stream).write("heard")
    assert stream.getvalue() == "heard"
    assert not Unread(stream).isatty()
