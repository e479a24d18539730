"""Loggers that hand the figures of a training to wandb, trackio or mlflow, packages that need not be installed.

What a tracker has been given stays there.  A resumed run therefore goes on with the tracker's run, whose id is in
RUN/loggers/NAME.json, and the steps that were given before are not given again.
"""

import functools
import html
import io
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nmt.atomic import whole_file
from nmt.errors import ConfigError, RunError, shortened
from nmt.libraries import needed
from nmt.train.json_log import json_value
from nmt.train.logger import Logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "loggers"
PROJECT = "nmt"  # where the environment names none


TOLD = ("hparams", "scalars", "text", "figure", "close")  # what is handed to a package


def goes_on(method: Callable[..., None]) -> Callable[..., None]:
    """A method of a tracker whose failure, such as a server that does not answer, is a note and not the training's end.

    A disk that refuses (RunError) ends it, as it does for log.jsonl.
    """

    @functools.wraps(method)
    def told(self: "Tracker", *arguments: Any, **named: Any) -> None:
        try:
            method(self, *arguments, **named)
        except RunError:
            raise
        except Exception as error:
            self.note_failure(error)

    return told


class Tracker(Logger):
    """What the trackers have in common: the id of their run, and the last step of each group that they were given.

    Once a training has begun, a tracker that fails does not end it: what it did not take is lost to it, and said once.
    """

    name = ""  # as typed in logger.more, which is that of the package and of the extra, too
    failed = False

    def __init_subclass__(cls) -> None:
        for name in TOLD:
            if name in cls.__dict__:
                setattr(cls, name, goes_on(cls.__dict__[name]))

    def __init__(self, directory: Path, step: int) -> None:
        self.directory, self.package = directory, self.check()
        self.path = directory / FOLDER / f"{self.name}.json"
        known: dict[str, Any] = {}
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            self.given: dict[str, int] = dict(known["given"])
            self.id: str | None = known["id"]
        except (OSError, ValueError, KeyError, TypeError):  # a new run, or one whose record is damaged
            self.given, self.id = {}, None
        self.resumed = self.id is not None

    @classmethod
    def check(cls) -> Any:
        return needed(cls.name, f"logger.more=[{cls.name}]", extra=cls.name)

    def is_new(self, group: str, step: int) -> bool:
        """Whether a step of a group was not given before; from now on it was."""
        if step <= self.given.get(group, -1):
            return False
        self.given[group] = step
        return True

    def note_failure(self, error: Exception) -> None:
        """Say, the first time, that the package does not take what it is given."""
        if not self.failed:
            reason = " ".join(str(error).split())
            said = f"{self.name} does not take what is logged ({type(error).__name__}: {shortened(reason, 200)})"
            tqdm.write(f"note: {said}; training goes on, and log.jsonl has everything", file=sys.stderr)
        self.failed = True

    def flush(self) -> None:
        """Keep what a resumed run has to know.  Raises RunError where the disk refuses."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            with whole_file(self.path) as file:
                file.write(json.dumps({"id": self.id, "given": self.given}) + "\n")
        except OSError as error:
            raise RunError(f"{self.path} could not be written: {error.strerror}") from error


class WandbLog(Tracker):
    """Weights & Biases; WANDB_MODE=offline keeps everything in RUN/wandb, for ``wandb sync``."""

    name = "wandb"

    def __init__(self, directory: Path, step: int) -> None:
        super().__init__(directory, step)
        self.id = self.id or uuid.uuid4().hex[:12]
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        try:
            self.run = self.package.init(
                project=project,
                id=self.id,
                name=directory.name,
                dir=str(directory),
                resume="allow",
                reinit="create_new",
            )
        except (self.package.Error, OSError) as error:
            raise refused(self.name, error) from None
        # Test sets are scored with the best checkpoint, an earlier step: wandb's own counter only goes forward.
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")
        self.flush()

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        self.run.config.update(json_value(values), allow_val_change=True)

    def scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self.is_new(group, step):
            self.run.log({"step": step, **{f"{group}/{name}": value for name, value in figures.items()}})
            self.flush()

    def text(self, tag: str, text: str, step: int) -> None:
        if self.is_new(tag + "/text", step):
            shown = self.package.Html(f"<pre>{html.escape(text)}</pre>")
            self.run.log({"step": step, f"{tag}/text": shown})

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """As pixels: wandb knows figures by the name of their class, and NotebookFigure is none that it knows."""
        if self.is_new(tag, step):
            from PIL import Image  # comes with matplotlib

            with io.BytesIO() as file:
                figure.savefig(file, format="png")
                self.run.log({"step": step, tag: self.package.Image(Image.open(file))})

    def close(self) -> None:
        self.flush()
        self.run.finish()


class TrackioLog(Tracker):
    """trackio: settings and figures, in the folder TRACKIO_DIR or where its own settings say."""

    name = "trackio"

    def __init__(self, directory: Path, step: int) -> None:
        super().__init__(directory, step)
        self.id = self.id or f"{directory.name}-{uuid.uuid4().hex[:6]}"
        try:
            self.run = self.package.init(
                project=PROJECT, name=self.id, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )
        except (ValueError, OSError) as error:
            raise refused(self.name, error) from None
        self.flush()

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        self.run.config = {**(self.run.config or {}), **json_value(values)}

    def scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self.is_new(group, step):
            self.run.log({f"{group}/{name}": value for name, value in figures.items()}, step=step)
            self.flush()

    def close(self) -> None:
        self.flush()
        self.run.finish()


class MlflowLog(Tracker):
    """MLflow, in the store that MLFLOW_TRACKING_URI names and the experiment MLFLOW_EXPERIMENT_NAME, or nmt."""

    name = "mlflow"

    def __init__(self, directory: Path, step: int) -> None:
        super().__init__(directory, step)
        from_package = self.package.exceptions.MlflowException, OSError
        try:
            self.client = self.package.MlflowClient()
            if self.id is None:
                experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
                found = self.client.get_experiment_by_name(experiment)
                place = found.experiment_id if found else self.client.create_experiment(experiment)
                self.id = self.client.create_run(place, run_name=directory.name).info.run_id
            else:
                self.client.update_run(self.id, status="RUNNING")
        except from_package as error:
            raise refused(self.name, error) from None
        self.flush()

    def hparams(
        self, values: Mapping[str, Any], numbers: Collection[str] | None = None, name: str | None = None
    ) -> None:
        """The settings as parameters, which MLflow keeps as they were first."""
        if not self.resumed:
            param = self.package.entities.Param
            params = [param(key, str(json_value(value))) for key, value in values.items()]
            for start in range(0, len(params), 100):  # MLflow takes so many at once
                self.client.log_batch(self.id, params=params[start : start + 100])

    def scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self.is_new(group, step):
            metric, now = self.package.entities.Metric, int(1000 * time.time())
            kept = {name: value for name, value in figures.items() if math.isfinite(value)}
            self.client.log_batch(self.id, metrics=[metric(f"{group}/{n}", v, now, step) for n, v in kept.items()])
            self.flush()

    def text(self, tag: str, text: str, step: int) -> None:
        if self.is_new(tag + "/text", step):
            self.client.log_text(self.id, text, f"{tag}/step-{step:08d}.txt")

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        if self.is_new(tag, step):
            self.client.log_figure(self.id, figure, f"{tag}/step-{step:08d}.png")

    def close(self) -> None:
        self.flush()
        self.client.set_terminated(self.id)


def refused(name: str, error: Exception) -> ConfigError:
    """What a tracker says when it does not begin, in one line."""
    reason = " ".join(str(error).split())
    return ConfigError(f"logger.more=[{name}]: {name} does not begin: {reason}")
