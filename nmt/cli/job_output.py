"""What jobs print that run at the same time: every line says whose it is."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Marked:
    """A stream whose lines begin with a mark.  It is no terminal, so that nobody draws a progress bar on it."""

    def __init__(self, stream: TextIO, mark: str) -> None:
        self.stream, self.mark = stream, mark
        self.rest = ""  # of a line that has no end yet

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are whole, at once, so that those of other processes come between lines only."""
        *whole, self.rest = (self.rest + text).split("\n")
        if whole:
            self.stream.write("".join(f"{self.mark}{line}".rstrip() + "\n" for line in whole))
        return len(text)

    def isatty(self) -> bool:
        """No."""
        return False

    def finish(self) -> None:
        """Write a last line that has no end."""
        if self.rest:
            self.write("\n")
        self.stream.flush()


@contextlib.contextmanager
def marked_lines(name: str) -> Iterator[None]:
    """A context in which everything printed begins with the name of a job in brackets."""
    out, err = (Marked(stream, f"[{name}] ") for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(cast(TextIO, out)), contextlib.redirect_stderr(cast(TextIO, err)):
        try:
            yield
        finally:
            out.finish()
            err.finish()
