"""Ctrl-C and SIGTERM, noticed now and acted upon between two updates."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Self


class StopSignals:
    """While entered, the first SIGINT or SIGTERM only sets ``received``; a second one raises KeyboardInterrupt.

    Python delivers signals to the main thread alone; in any other thread this does nothing.
    """

    def __init__(self) -> None:
        self.received = False
        self.raises_at_once = False
        self.previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def handle(self, number: int, frame: object) -> None:
        """Called by the interpreter between two of its instructions."""
        second, self.received = self.received, True
        if second or self.raises_at_once:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def raising_at_once(self) -> Iterator[None]:
        """Inside this context a signal raises KeyboardInterrupt at once: for work whose result may be lost."""
        self.raises_at_once = True
        try:
            if self.received:
                raise KeyboardInterrupt
            yield
        finally:
            self.raises_at_once = False
