"""What a training run prints: lines on standard output and, on a terminal or in a notebook, a progress bar."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from tqdm import tqdm

from nmt.eval.metrics import METRICS

# How a figure is printed.  Others, but for the metrics of text, are for log.jsonl and TensorBoard alone.
FORMATS = {
    "epoch": "epoch {:.2f}",
    "minutes": "{:.1f} min",
    "loss": "loss {:.4f}",
    "ppl": "ppl {:.2f}",
    "bleu": "bleu {:.2f}",
    "chrf": "chrf {:.2f}",
    "aer": "AER {:.1%}",
    "lr": "lr {:.3g}",
    "tokens_per_second": "{:,.0f} tokens/s",
}
SECONDS_BETWEEN_LINES = 60.0  # without a progress bar, figures of training are printed no more often


class Unread:
    """A stream of text whose writes and flushes may fail: then what is written goes nowhere, and nobody is told."""

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` None is a standard stream that was closed before Python began."""
        self.stream = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # open as long as the process

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        with self.losing():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose what was not yet written."""
        with self.losing():
            self.stream.flush()

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """Where the stream refuses, send to nowhere what it still has and what follows."""
        try:
            yield
        except OSError:
            with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def unread_output_ignored() -> Iterator[None]:
    """A context in which printing never fails: a closed pipe or terminal, or a full disk, does not end a training.

    Whatever is printed is in log.jsonl, too.
    """
    out, err = (cast(TextIO, Unread(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook, whose output is no terminal and yet can overwrite a line."""
    ipython = sys.modules.get("IPython")  # not imported for this: a kernel has imported it
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def progress_bar() -> tqdm | None:
    """From 0 to 1, with a text; None where no line can be overwritten."""
    if sys.stderr.isatty():
        where: dict[str, Any] = {"file": sys.stderr, "dynamic_ncols": True}
    elif in_notebook():
        where = {"file": sys.stdout}  # the stream of the other lines, or each of them would begin another block
    else:
        return None
    return tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar:16}| {desc}", miniters=0, leave=False, **where)


class Console:
    """Prints texts and figures.  Those of training stand in a progress bar where there can be one, else on lines."""

    def __init__(self) -> None:
        self.latest_figures = ""  # of training, for the progress bar
        self.printed = -math.inf  # when the latest line of them was printed
        self.bar = progress_bar()

    def say(self, text: str) -> None:
        """Print a text, above the progress bar if there is one."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def training(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of training: for the progress bar or, without one, a line at most once a minute."""
        self.latest_figures = formatted(figures)
        if self.bar is None and time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
            self.printed = time.monotonic()
            self.say(f"step {step:,}  {self.latest_figures}")

    def progress(self, step: int, fraction: float, seconds_left: float | None) -> None:
        """Move the progress bar; cheap enough for every step."""
        if self.bar is None:
            return
        left = "" if seconds_left is None else f"{tqdm.format_interval(int(seconds_left))} left  "
        self.bar.n = min(fraction, 1.0)
        self.bar.set_description_str(f"step {step:,}  {left}{self.latest_figures}", refresh=False)
        self.bar.update(0)

    def close(self) -> None:
        """Remove the progress bar."""
        if self.bar is not None:
            self.bar.close()


def formatted(figures: Mapping[str, float]) -> str:
    """The figures that are printed, in the order of FORMATS and METRICS."""
    formats = FORMATS | {name: f"{name} {{:.2f}}" for name in METRICS if name not in FORMATS}
    return "  ".join(text.format(figures[name]) for name, text in formats.items() if name in figures)
