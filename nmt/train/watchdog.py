"""Says where a training stands still: the stacks of a process that has made no progress for a time."""

import faulthandler
import sys
import threading
import time
from types import TracebackType
from typing import Self

from nmt.train.distributed import Ranks

LOOKS = 20  # how often it looks at the clock within the time


class Watchdog:
    """Prints the stacks of all threads once where ``progress`` is not called for ``minutes``, and then goes on waiting.

    Each rank has one of its own, so that the stacks of all ranks are printed where one waits for another.  It changes
    nothing: what stands still for a reason, as a long validation does, goes on.
    """

    def __init__(self, minutes: float | None, ranks: Ranks) -> None:
        self.minutes, self.ranks = minutes, ranks
        self.step = 0
        self._since, self._told = time.monotonic(), False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.minutes is not None:
            self.progress(self.step)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def progress(self, step: int) -> None:
        """Something was finished; ``step`` updates have been made."""
        self.step, self._since, self._told = step, time.monotonic(), False

    def _watch(self) -> None:
        limit = 60 * (self.minutes or 0.0)
        while not self._stop.wait(min(limit / LOOKS, threading.TIMEOUT_MAX)):
            if not self._told and time.monotonic() - self._since >= limit:
                self._told = True
                self._tell()

    def _tell(self) -> None:
        who = f"process {self.ranks.rank} of {self.ranks.size} (from 0)" if self.ranks.size > 1 else "training"
        print(
            f"{who}: neither an update nor a validation has ended for {self.minutes:g} minutes, at step {self.step} "
            "(trainer.stall_minutes); it goes on waiting, and stands at:",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
