"""TensorBoard events of a run: curves, texts, pictures and settings."""

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.errors import DISK, RunError, refusal
from nmt.train.json_log import json_value
from nmt.train.logger import Logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TensorBoardLog(Logger):
    """Writes an event file into a run directory.  Every method raises RunError where the disk refuses."""

    def __init__(self, directory: Path, step: int) -> None:
        """``step``: that of the checkpoint of a resumed run; TensorBoard drops what older files have after it."""
        # Imported here, because every command imports this module with the configuration, and this takes a second.
        from torch.utils.tensorboard.writer import SummaryWriter

        self.directory, self.refused = directory, False
        # The thread that writes prints what the disk refuses, with a traceback, before the main thread is told.
        self.hook_before, threading.excepthook = threading.excepthook, without_refusals(threading.excepthook)
        resumed = any(directory.glob("events.out.tfevents.*"))
        with self.refusals():
            self.writer = SummaryWriter(str(directory), purge_step=step + 1 if resumed else None)

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Raises RunError for an OSError."""
        try:
            yield
        except OSError as error:
            self.refused = True
            path = self.directory / "events.out.tfevents"
            raise RunError(f"{path} could not be written: {refusal(error)}") from error

    def scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        """A point of the curve GROUP/NAME for each figure."""
        with self.refusals():
            for name, value in figures.items():
                self.writer.add_scalar(f"{group}/{name}", value, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """A text, shown as it is, whatever Markdown it holds."""
        with self.refusals():
            self.writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """A picture.  Figures made without pyplot need no closing."""
        with self.refusals():
            self.writer.add_figure(tag, figure, step, close=False)

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        """The settings by dotted key, for the HParams tab, in this run's own event file.

        ``numbers`` are the keys that have a number in every run, None: all that have one here.  Any other value is
        written as text: where a key is a number in one run and text (null) in another, TensorBoard leaves out one of
        them.  ``name`` is what the run's row is called; runs of one name would share a row.

        No experiment summary is written: TensorBoard would take one run's list of keys for that of all runs, whereas
        without one it unites their lists, and the runs of a sweep over model.attention have different keys.
        """
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        settings = {k: "null" if v is None else json_value(v) for k, v in values.items()}
        kept = settings.keys() if numbers is None else numbers
        settings = {k: v if k in kept and isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
        with self.refusals():
            self.writer._get_file_writer().add_summary(hparams_pb(settings, trial_id=name))

    def flush(self) -> None:
        """Write what is still in memory: a validation has been told."""
        with self.refusals():
            self.writer.flush()

    def close(self) -> None:
        """Flush and close the file; nothing may be written any more.  What was refused once is not tried again."""
        try:
            if not self.refused:
                with self.refusals():
                    self.writer.close()
        finally:
            threading.excepthook = self.hook_before


def without_refusals(hook: Any) -> Any:
    """A threading.excepthook that leaves what the disk refuses to the thread that waits for the writing one."""

    def called(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in DISK):
            hook(args)

    return called
