"""What a run says of itself: console, log.jsonl and TensorBoard, with the same facts."""

import contextlib
import json
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import psutil
import torch
from tqdm import tqdm

from nmt.atomic import whole_file
from nmt.errors import RunError
from nmt.eval.figures.panels import Heads, Layers
from nmt.eval.metrics import METRICS
from nmt.train.optim import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class LoggerConfig:
    """Console, log.jsonl and TensorBoard (logger.*)."""

    every: int = field(default=50, metadata={"help": "steps from one line of training figures to the next"})
    tensorboard: bool = field(default=True, metadata={"help": "write TensorBoard events beside log.jsonl"})
    samples: int = field(default=4, metadata={"help": "validation sentences logged as text"})
    heatmaps: int = field(default=4, metadata={"help": "validation sentences whose attention is drawn"})
    heatmap_layers: Layers = field(
        default=Layers.all, metadata={"help": "all, last or mean: a panel for each layer, for the last, or their mean"}
    )
    heatmap_heads: Heads = field(
        default=Heads.mean, metadata={"help": "mean or all: of each layer the mean of its heads, or a panel for each"}
    )
    self_attention: bool = field(
        default=False, metadata={"help": "draw the self-attention of encoder and decoder, too, where there is any"}
    )

    def __post_init__(self) -> None:
        at_least("logger", self, every=1, samples=0, heatmaps=0)


class Sample(NamedTuple):
    """One validation sentence, as text."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Validation:
    """What one validation found."""

    metrics: Mapping[str, float]  # among them the one that trainer.metric names
    samples: Sequence[Sample] = ()
    figures: Mapping[str, "Figure"] = field(default_factory=dict)  # by TensorBoard tag, one for each sentence


# How the console shows a fact; those not listed are for log.jsonl and TensorBoard alone.
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
QUIET_SECONDS = 60.0  # off a terminal, training figures are printed no more often
LINE_ENDS = re.compile("[\x85\u2028\u2029]")  # in a sample JSON leaves them as they are, and str.splitlines cuts there


class RunLog:
    """The one writer of a run's records.  Every method does nothing on ranks other than the first.

    log.jsonl has one object a line: ``event`` (train, validation, or any name given to ``event``), ``time`` (seconds
    since 1970), ``step`` where there is one, and the facts.  A resumed run has an event ``resume`` with the step of its
    checkpoint; what was logged of later steps is gone from log.jsonl and TensorBoard alike, because it happens again.
    """

    def __init__(self, directory: Path, config: LoggerConfig, *, main: bool = True, step: int = 0) -> None:
        """Append to the records in ``directory``; ``step`` is the checkpoint's when a run is resumed, else 0."""
        self.config = config
        self.main = main
        self.bar: tqdm | None = None
        self.latest = ""  # training figures for the bar
        self.printed = -math.inf
        self.file = self.writer = None
        if not main:
            return
        self.path = directory / "log.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        resumed = self.path.exists()
        if resumed:
            forget(self.path, step)
        self.file = self.path.open("a", encoding="utf-8")
        if config.tensorboard:
            # Here, because config.py imports this file in every command and this import takes a second.
            from torch.utils.tensorboard.writer import SummaryWriter

            self.writer = SummaryWriter(str(directory), purge_step=step + 1 if resumed else None)
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=1.0, bar_format="{percentage:3.0f}%|{bar:16}| {desc}", miniters=0, leave=False, dynamic_ncols=True
            )
        if resumed:
            self.event("resume", step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def say(self, text: str) -> None:
        """Print, above the progress bar if there is one."""
        if self.main:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def event(self, name: str, text: str | None = None, /, **facts: Any) -> None:
        """A line of log.jsonl and, if given, a text for the console and TensorBoard's text tab.

        Raises RunError where the disk refuses.
        """
        if self.file is None:
            return
        line = {"event": name, "time": round(time.time(), 3), **{k: plain(v) for k, v in facts.items()}}
        text_line = json.dumps(line, ensure_ascii=False, allow_nan=False)
        try:
            self.file.write(LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", text_line) + "\n")
            self.file.flush()
        except OSError as error:
            raise RunError(f"{self.path} could not be written: {error.strerror}") from error
        if text is not None:
            self.say(text)
            if self.writer is not None:
                self.writer.add_text(name, preformatted(text), facts.get("step", 0))

    def hparams(self, values: Mapping[str, Any]) -> None:
        """The settings by dotted key, for TensorBoard's HParams tab, in this run's own event file.

        No experiment summary is written: TensorBoard would take one run's list of keys for all runs, where without one
        it unites them, and a sweep over model.attention has runs with different keys.
        """
        self.event("hparams", values=dict(values))
        if self.writer is not None:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb

            settings = {k: "null" if v is None else plain(v) for k, v in values.items()}
            settings = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
            self.writer._get_file_writer().add_summary(hparams_pb(settings))

    def training(self, step: int, facts: Mapping[str, float]) -> None:
        """Figures of the updates since the last such line."""
        self.event("train", step=step, **facts)
        self.scalars("train", step, facts)
        self.latest = shown(facts)
        if self.main and self.bar is None and time.monotonic() - self.printed >= QUIET_SECONDS:
            self.printed = time.monotonic()
            self.say(f"step {step:,}  {self.latest}")

    def validation(self, step: int, validation: Validation, *, improved: bool, **facts: float) -> None:
        """Metrics, samples and pictures; ``facts`` go to log.jsonl and console alone."""
        samples = [s._asdict() for s in validation.samples]
        self.event("validation", step=step, **validation.metrics, improved=improved, **facts, samples=samples)
        mark = "  best so far" if improved else ""
        self.say(f"step {step:,}  {shown(facts)}  validation {shown(validation.metrics)}{mark}")
        self.scalars("validation", step, validation.metrics)
        if improved:
            self.scalars("best", step, validation.metrics)  # what the HParams tab compares runs by
        if self.writer is None:
            return
        for number, sample in enumerate(validation.samples, 1):
            lines = "\n".join(f"{name:10}  {text}" for name, text in sample._asdict().items())
            self.writer.add_text(f"samples/{number}", preformatted(lines), step)
        for tag, figure in validation.figures.items():
            self.writer.add_figure(tag, figure, step, close=False)  # closing is pyplot's business, and it is not used
        self.writer.flush()

    def scored(self, step: int, name: str, text: str, numbers: Mapping[str, float]) -> None:
        """Figures of a whole set with the checkpoint of a step, and a text that shows them."""
        self.event("scored", set=name, step=step, **numbers)
        self.say(text)
        self.scalars(f"scored {name}", step, numbers)
        if self.writer is not None:
            self.writer.add_text(f"scored {name}", preformatted(text), step)

    def scalars(self, group: str, step: int, facts: Mapping[str, float]) -> None:
        """To TensorBoard alone."""
        if self.writer is not None:
            for name, value in facts.items():
                self.writer.add_scalar(f"{group}/{name}", value, step)

    def progress(self, step: int, fraction: float, seconds_left: float | None) -> None:
        """Move the bar; cheap enough for every step."""
        if self.bar is None:
            return
        left = "" if seconds_left is None else f"{tqdm.format_interval(int(seconds_left))} left  "
        self.bar.n = min(fraction, 1.0)
        self.bar.set_description_str(f"step {step:,}  {left}{self.latest}", refresh=False)
        self.bar.update(0)

    def close(self) -> None:
        """Flush everything; more may not be logged."""
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()
        if self.file is not None:
            with contextlib.suppress(OSError):  # each line was flushed, and what could not be was said
                self.file.close()


def forget(path: Path, step: int) -> None:
    """Take out of a log.jsonl what was logged after a step, and a line that a crash cut short.

    Raises RunError where the disk refuses.
    """
    kept = []
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            if (json.loads(line).get("step") or 0) <= step:
                kept.append(line + b"\n")
    try:
        with whole_file(path, "wb") as file:
            file.writelines(kept)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from error


def memory(device: torch.device) -> dict[str, float]:
    """MiB: this process's resident memory and, on CUDA, the most that was ever allocated on the device."""
    used = {"memory": psutil.Process().memory_info().rss / 2**20}
    if device.type == "cuda":
        used["device_memory"] = torch.cuda.max_memory_allocated(device) / 2**20
    return used


def shown(facts: Mapping[str, float]) -> str:
    """The facts that the console shows, in the order of FORMATS and METRICS."""
    formats = FORMATS | {name: f"{name} {{:.2f}}" for name in METRICS if name not in FORMATS}
    return "  ".join(text.format(facts[name]) for name, text in formats.items() if name in facts)


def preformatted(text: str) -> str:
    """Markdown that shows ``text`` as it is, whatever marks it holds."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def plain(value: Any) -> Any:
    """The nearest thing that JSON has: enum names, paths as text, null for numbers that are not finite."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | None) else str(value)
