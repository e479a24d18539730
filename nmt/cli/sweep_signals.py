"""A signal to a sweep whose jobs run at the same time on this machine: all save, none begins, none is left behind."""

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from nmt.errors import Stopped
from nmt.train.stop_signals import StopSignals


class Interrupted(NamedTuple):
    """What a job returns instead of its result where a signal ended it, or a job before it in the same process."""

    number: int  # the signal's


class SweepSignals(StopSignals):
    """For the process that has started the jobs: passes the first signal on to them, as SIGTERM, and waits for them.

    Without it ``kill`` would end this process alone and leave the trainings running; and after Ctrl-C, which a terminal
    sends to all of them, the first job that has saved would end the others while they save.
    """

    def handle(self, number: int, frame: object) -> None:
        if not self.received:
            for worker in multiprocessing.active_children():
                if worker.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGTERM)
        super().handle(number, frame)


def run_in_worker(job: Callable[[], Any]) -> Any:
    """Run a job of a sweep in a process that the sweep has started; returns Interrupted for Stopped.

    An exception would make the launcher kill the other processes at once.
    """
    signals = _signals_of_worker()
    try:
        with signals.raising_at_once():  # outside of training there is nothing to save
            return job()
    except Stopped as stopped:
        signals.received = stopped.number  # no further job begins here
        return Interrupted(stopped.number)


@functools.cache
def _signals_of_worker() -> StopSignals:
    """Entered for good: a signal between two jobs must not end the process either, which would be taken for a crash."""
    return StopSignals().__enter__()
