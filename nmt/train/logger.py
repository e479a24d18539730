"""What a logger is: TensorBoard, log.jsonl, the trackers of other packages, and those of plug-ins."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Logger:
    """What a training tells its loggers.  Every method here does nothing: a logger overrides those that it keeps."""

    def __init__(self, directory: Path, step: int) -> None:
        """Append to what is kept of the run in ``directory``; ``step`` is the checkpoint's when a run is resumed, or 0.

        Raises ConfigError where it cannot begin, RunError where the disk refuses.
        """

    @classmethod
    def check(cls) -> Any:
        """Raise ConfigError where a package is missing: asked before anything is read or made."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Everything that happens, in the words of docs/log_format.md; the calls below tell parts of it again."""

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        """The settings of the run by dotted key, at every start.

        ``numbers`` are the keys that have a number in every run, None: all that have one here.  ``name`` is what the
        run is called among others.
        """

    def scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        """Figures of updates (group train), of a validation, of the best one so far, or of a test set (scored NAME)."""

    def text(self, tag: str, text: str, step: int) -> None:
        """A text that was said, such as the table of scores of a test set, or a validation sentence (samples/N)."""

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """A picture of the attention of a validation sentence; drawn only where some logger overrides this."""

    def flush(self) -> None:
        """A validation has been told."""

    def close(self) -> None:
        """Nothing is logged any more."""
