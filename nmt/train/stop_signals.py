"""Signals that ask a training to end, noticed now and acted upon between two updates."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Self

from nmt.errors import Stopped

# Ctrl-C; what kill and batch systems send; a terminal that is closed; what batch systems send before the time is up.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

# A signal within so many seconds of the first is the same request: a terminal sends Ctrl-C to every process, and
# torchrun, batch systems and sweeps pass on what they get.
SAME_REQUEST = 1.0


class StopSignals:
    """While entered, the first of STOPPING only sets ``received`` to its number; a later one raises Stopped.

    A signal that was ignored, as SIGHUP is under nohup, stays ignored.  Python delivers signals to the main thread
    alone; in any other thread this does nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        self.since = 0.0  # of time.monotonic: when the first signal came
        self.raises_at_once = False
        self.previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def handle(self, number: int, frame: object) -> None:
        """Called by the interpreter between two of its instructions."""
        if self.received:
            if time.monotonic() - self.since < SAME_REQUEST:
                return
        else:
            self.received, self.since = number, time.monotonic()
            if not self.raises_at_once:
                return
        raise Stopped(self.received)

    @contextlib.contextmanager
    def raising_at_once(self) -> Iterator[None]:
        """Inside this context a signal raises Stopped at once: for work whose result may be lost."""
        self.raises_at_once = True
        try:
            if self.received:
                raise Stopped(self.received)
            yield
        finally:
            self.raises_at_once = False
