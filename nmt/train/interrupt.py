"""Ctrl-C and SIGTERM as something to look at between two updates."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Self


class Interrupts:
    """While entered, the first SIGINT or SIGTERM only sets ``asked``; a second one raises KeyboardInterrupt.

    Signals reach the main thread alone; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self.at_once = False
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
        again, self.asked = self.asked, True
        if again or self.at_once:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Within, a signal raises KeyboardInterrupt at once: for work that may be thrown away."""
        self.at_once = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.at_once = False
