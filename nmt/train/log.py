"""The records of a training run: console, log.jsonl, TensorBoard and other loggers, with the same facts."""

import contextlib
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import psutil
import torch

from nmt.errors import RunError, UserError
from nmt.eval.figures.panels import Heads, Layers
from nmt.settings import check_ranges, setting
from nmt.train.console import Console, formatted
from nmt.train.json_log import FILE, JSONLog
from nmt.train.logger import Logger
from nmt.train.tensorboard_log import TensorBoardLog
from nmt.train.trackers import MlflowLog, TrackioLog, WandbLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# What can keep the records of a training, by name.  log.jsonl is always kept: later commands read it.
JSONL, TENSORBOARD = "jsonl", "tensorboard"
LOGGERS: dict[str, type[Logger]] = {
    JSONL: JSONLog,
    TENSORBOARD: TensorBoardLog,
    "wandb": WandbLog,
    "trackio": TrackioLog,
    "mlflow": MlflowLog,
}


@dataclass
class LoggerConfig:
    """Console, log.jsonl, TensorBoard and others (logger.*)."""

    every: int = setting(50, "steps from one line of training figures to the next", least=1)
    tensorboard: bool = setting(True, "write TensorBoard events beside log.jsonl")
    more: list[str] = setting(
        [],
        "further loggers, and those of plug-ins (docs/loggers.md)",
        choices=lambda: tuple(LOGGERS),
    )
    samples: int = setting(4, "validation sentences logged as text", least=0)
    heatmaps: int = setting(4, "validation sentences whose attention is drawn", least=0, most=1000)
    heatmap_layers: Layers = setting(
        Layers.all, "all, last or mean: a panel for each layer, for the last, or their mean"
    )
    heatmap_heads: Heads = setting(Heads.mean, "mean or all: of each layer the mean of its heads, or a panel for each")
    self_attention: bool = setting(False, "draw the self-attention of encoder and decoder, too, where there is any")

    def __post_init__(self) -> None:
        check_ranges(self, "logger")

    @property
    def names(self) -> list[str]:
        """The loggers asked for, each once."""
        return list(dict.fromkeys([JSONL, *[TENSORBOARD] * self.tensorboard, *self.more]))

    def check(self) -> None:
        """Raise ConfigError where one of them needs a package that is not there."""
        for name in self.names:
            LOGGERS[name].check()

    @property
    def draws(self) -> bool:
        """Whether one of them shows pictures."""
        return any(LOGGERS[name].figure is not Logger.figure for name in self.names)


class Sample(NamedTuple):
    """One validation sentence, as text."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Validation:
    """The result of one validation."""

    metrics: Mapping[str, float]  # among them the one that trainer.metric names
    samples: Sequence[Sample] = ()
    figures: Mapping[str, "Figure"] = field(default_factory=dict)  # by TensorBoard tag, one for each sentence


class RunLog:
    """Writes all records of a run.  On ranks other than the first every method does nothing.

    log.jsonl has one object a line: ``event`` (train, validation, or any name given to ``event``), ``time`` (seconds
    since 1970), ``step`` where there is one, and the facts.  A resumed run has an event ``resume`` with the step of its
    checkpoint; what was logged of later steps is removed from log.jsonl and TensorBoard, because it happens again.
    """

    def __init__(self, directory: Path, config: LoggerConfig, *, main: bool = True, step: int = 0) -> None:
        """Append to the records in ``directory``; ``step`` is the checkpoint's when a run is resumed, else 0."""
        self.config = config
        self.console: Console | None = None
        self.loggers: list[Logger] = []
        if not main:
            return
        directory.mkdir(parents=True, exist_ok=True)
        resumed = (directory / FILE).exists()
        try:
            for name in config.names:
                self.loggers.append(LOGGERS[name](directory, step))
        except BaseException:
            self.close()
            raise
        self.console = Console()
        if resumed:
            self.event("resume", step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        """Close; an error that ends the run is an event ``failed`` with its ``reason``, where the disk takes it."""
        if isinstance(error, Exception):
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(RunError):
                self.event("failed", reason=reason)
        # What ended the training is said, not what comes of it.
        with contextlib.nullcontext() if kind is None else contextlib.suppress(RunError):
            self.close()

    def say(self, text: str) -> None:
        """Print a text, above the progress bar if there is one."""
        if self.console is not None:
            self.console.say(text)

    def event(self, name: str, text: str | None = None, /, **facts: Any) -> None:
        """A line of log.jsonl and, if given, a text for the console and the loggers.

        Raises RunError where the disk refuses.
        """
        self.tell(lambda logger: logger.event(name, facts))
        if text is not None:
            self.say(text)
            self.tell(lambda logger: logger.text(name, text, facts.get("step", 0)))

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        """The settings by dotted key: see ``Logger.hparams``."""
        self.event("hparams", values=dict(values))
        self.tell(lambda logger: logger.hparams(values, numbers, name))

    def training(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of the updates since the last call."""
        self.event("train", step=step, **figures)
        self.tell(lambda logger: logger.scalars("train", step, figures))
        if self.console is not None:
            self.console.training(step, figures)

    def validation(self, step: int, validation: Validation, *, improved: bool, **facts: float) -> None:
        """Metrics, samples and pictures; ``facts`` go to log.jsonl and console alone."""
        samples = [s._asdict() for s in validation.samples]
        self.event("validation", step=step, **validation.metrics, improved=improved, **facts, samples=samples)
        mark = "  best so far" if improved else ""
        self.say(f"step {step:,}  {formatted(facts)}  validation {formatted(validation.metrics)}{mark}")

        def told(logger: Logger) -> None:
            logger.scalars("validation", step, validation.metrics)
            if improved:
                logger.scalars("best", step, validation.metrics)  # what the HParams tab compares runs by
            for number, sample in enumerate(validation.samples, 1):
                lines = "\n".join(f"{name:10}  {text}" for name, text in sample._asdict().items())
                logger.text(f"samples/{number}", lines, step)
            for tag, figure in validation.figures.items():
                logger.figure(tag, figure, step)
            logger.flush()

        self.tell(told)

    def scored(self, step: int, name: str, text: str, numbers: Mapping[str, float]) -> None:
        """Figures of a whole set with the checkpoint of a step, and a text that shows them."""
        self.event("scored", set=name, step=step, **numbers)
        self.say(text)

        def told(logger: Logger) -> None:
            logger.scalars(f"scored {name}", step, numbers)
            logger.text(f"scored {name}", text, step)

        self.tell(told)

    def progress(self, step: int, fraction: float, seconds_left: float | None) -> None:
        """Move the progress bar; cheap enough for every step."""
        if self.console is not None:
            self.console.progress(step, fraction, seconds_left)

    def close(self) -> None:
        """Flush everything; nothing may be logged any more.  Raises RunError where the disk refuses."""
        if self.console is not None:
            self.console.close()
        self.tell(lambda logger: logger.close())

    def tell(self, call: Callable[[Logger], None]) -> None:
        """Call every logger.  One of a plug-in that fails is told nothing more, which is said, and training goes on.

        Raises RunError where the disk refuses.
        """
        for logger in list(self.loggers):
            try:
                call(logger)
            except UserError:
                raise
            except Exception as error:
                if isinstance(logger, JSONLog | TensorBoardLog):
                    raise
                self.loggers.remove(logger)
                frame = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(frame.filename).name}, line {frame.lineno}"
                self.say(
                    f"warning: logger {type(logger).__name__} failed ({where}: {type(error).__name__}: {error}) and is "
                    f"told nothing more; {FILE} has everything"
                )


def memory(device: torch.device) -> dict[str, float]:
    """This process's resident memory and, on CUDA, the most that was ever allocated on the device, in MiB."""
    used = {"memory": psutil.Process().memory_info().rss / 2**20}
    if device.type == "cuda":
        used["device_memory"] = torch.cuda.max_memory_allocated(device) / 2**20
    return used
