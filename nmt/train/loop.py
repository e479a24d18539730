"""The training loop: batches in, checkpoints and records out.  It knows neither the configuration tree nor Hydra."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import torch

from nmt.batch import Batch
from nmt.device import resolve_precision
from nmt.errors import ConfigError, RunError, UserError
from nmt.models.seq2seq import Seq2Seq
from nmt.runs import checkpoint, retention
from nmt.train.config import TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.interrupt import Interrupts
from nmt.train.log import RunLog, Validation, memory
from nmt.train.optim import OptimConfig
from nmt.train.step import Updater
from nmt.train.training_state import Standing

Validate = Callable[[Seq2Seq, int], Validation]


class Batches(Protocol):
    """An endless, reproducible stream of CPU batches (nmt.data.batching.TrainBatches)."""

    @property
    def progress(self) -> float:
        """Epochs handed out: a whole number exactly where one ends."""
        ...

    def __iter__(self) -> Generator[Batch, None, None]: ...

    def longest(self) -> Batch:
        """The batch that needs the most memory."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Position of the next batch not yet handed out."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to such a position; before iteration begins."""
        ...


class Ending(Enum):
    """Why training ended."""

    steps = "trainer.max_steps"
    minutes = "trainer.max_minutes"
    epochs = "trainer.max_epochs"
    patience = "trainer.patience"
    interrupted = "interrupted"


@dataclass(frozen=True)
class Result:
    """What training came to.  The model has the weights of the last step; checkpoints/best.pt those of the best."""

    ending: Ending
    step: int
    minutes: float
    best_step: int
    best_metrics: dict[str, float]


def train(
    model: Seq2Seq,
    batches: Batches,
    validate: Validate,
    *,
    config: TrainerConfig,
    optim: OptimConfig,
    log: RunLog,
    directory: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    resume: bool = False,
) -> Result:
    """Train ``model`` in place until one of the limits in ``config`` is reached.

    ``validate(model, step)`` is called on rank 0, in eval mode, without gradients; whatever it draws from the random
    number generators is put back.  Each validation is followed by checkpoints/last.pt, best.pt if it was the best, and
    what ``config.keep_last`` and ``config.keep_best`` ask for (nmt/runs/retention.py).
    The first Ctrl-C or SIGTERM saves last.pt after the update at hand and returns; with ``resume`` training goes on
    from last.pt as if nothing had happened.

    Raises ConfigError if the longest batch does not fit in memory, UserError if gradients stay non-finite, RunError
    if there is nothing to resume.
    """
    with Interrupts() as interrupts:
        loop = Loop(model, batches, validate, config, optim, log, directory, device, ranks or Ranks(), interrupts)
        if resume:
            loop.restore()
        loop.updater.try_longest(batches.longest())
        ending = loop.run()
    standing = loop.standing
    result = Result(ending, standing.step, standing.seconds / 60, standing.best_step, standing.best_metrics)
    text = f"ended at step {result.step:,} after {result.minutes:.1f} minutes of training: {ending.value}"
    if ending is Ending.interrupted:
        text += f"\n{directory / checkpoint.LAST} is saved; the same command with resume=true goes on from it"
    log.event("end", text, **asdict(result))
    return result


class Loop:
    """What ``train`` keeps while it runs."""

    def __init__(
        self,
        model: Seq2Seq,
        batches: Batches,
        validate: Validate,
        config: TrainerConfig,
        optim: OptimConfig,
        log: RunLog,
        directory: Path,
        device: torch.device,
        ranks: Ranks,
        interrupts: Interrupts,
    ) -> None:
        self.model = model.to(device).train()
        self.batches, self.evaluate = batches, validate
        self.config, self.log, self.directory = config, log, directory
        self.device, self.ranks, self.interrupts = device, ranks, interrupts
        self.precision = resolve_precision(config.precision, device)
        self.optim = optim
        self.updater = Updater(model, config, optim, self.precision, device, ranks)
        self.standing = Standing()
        self.waited = self.reported = self.clock = 0.0

    def run(self) -> Ending:
        """Update and validate until there is a reason to end."""
        self.clock, self.reported = time.perf_counter(), self.standing.seconds
        with contextlib.closing(iter(self.batches)) as stream:  # it may have a thread of its own
            while True:
                ending = self.ending()
                if ending not in (None, Ending.interrupted) and self.updater.window.updates:
                    self.account()
                if self.validation_due(ending):
                    self.validate()
                    ending = self.ending()
                if ending is Ending.interrupted:
                    self.save()
                if ending is not None:
                    return ending
                self.step(stream)

    def ending(self) -> Ending | None:
        """The reason to end now, if any; all ranks see the same one."""
        config, standing = self.config, self.standing
        late = config.max_minutes is not None and standing.seconds >= 60 * config.max_minutes
        interrupted, late = self.ranks.sum(self.interrupts.asked, late and self.ranks.main)
        if interrupted:
            return Ending.interrupted
        if config.max_steps is not None and standing.step >= config.max_steps:
            return Ending.steps
        if config.max_epochs is not None and self.batches.progress >= config.max_epochs:
            return Ending.epochs
        if config.patience is not None and standing.waited >= config.patience:
            return Ending.patience
        return Ending.minutes if late else None

    def validation_due(self, ending: Ending | None) -> bool:
        """Every so many steps and at the end, but not twice at one step."""
        step = self.standing.step
        if ending is Ending.interrupted or step == self.standing.validated:
            return False
        return ending is not None or step % self.config.validate_every == 0

    def step(self, stream: Iterator[Batch]) -> None:
        """One update, and every so many of them a report."""
        began = time.perf_counter()
        epoch = self.batches.progress  # taken first: the last batch of an epoch belongs to it
        group = [next(stream) for _ in range(self.config.accumulate)]
        self.waited += time.perf_counter() - began
        step = self.standing.step = self.standing.step + 1
        self.updater.step(group, step, epoch)
        self.tick()
        if step % self.log.config.every == 0 or step % self.config.validate_every == 0:
            self.account()
        self.progress()

    def account(self) -> None:
        """Report the updates since the last report.  Raises UserError where too many in a row were skipped."""
        facts, streak = self.updater.window.read(self.ranks)  # the host waits for the device here alone
        self.tick()
        self.report(facts)
        if streak >= self.config.max_skipped:
            raise UserError(
                f"step {self.standing.step}: the last {streak} updates had a gradient that is not finite and were "
                "skipped; lower optim.lr or trainer.clip, or use trainer.precision=fp32"
            )

    def tick(self) -> None:
        """Add the time since the last tick to the time of training."""
        now = time.perf_counter()
        self.standing.seconds += now - self.clock
        self.clock = now

    def report(self, facts: dict[str, float]) -> None:
        """Log the figures of ``Window.read`` and more; data_wait is the share of the time spent waiting for batches."""
        seconds = self.standing.seconds - self.reported
        facts |= {"lr": self.updater.lr, "epoch": self.batches.progress, "minutes": self.standing.seconds / 60}
        facts |= {"tokens_per_second": facts.pop("tokens") / seconds, "data_wait": self.waited / seconds}
        facts |= memory(self.device)
        self.log.training(self.standing.step, facts)
        self.reported, self.waited = self.standing.seconds, 0.0

    def progress(self) -> None:
        """Show how far training is: as far as the limit that is nearest."""
        config, standing = self.config, self.standing
        limits = (
            (standing.step, config.max_steps),
            (standing.seconds / 60, config.max_minutes),
            (self.batches.progress, config.max_epochs),
        )
        done = max((value / limit for value, limit in limits if limit is not None), default=0.0)
        self.log.progress(standing.step, done, standing.seconds * (1 - done) / done if done else None)

    def validate(self) -> None:
        """Validate on rank 0, tell the others, and save.  An interruption leaves everything as it was.

        So does a ConfigError, before which last.pt is saved: what was learnt since the last validation is not lost.
        """
        rng, began = checkpoint.capture_rng(self.device), time.perf_counter()
        found: Validation | None = None
        failure: ConfigError | None = None
        if self.ranks.main:
            self.model.eval()
            try:
                with self.updater.average.in_place(), self.interrupts.raising(), torch.no_grad():
                    found = self.evaluate(self.model, self.standing.step)
            except KeyboardInterrupt:
                pass  # ``interrupts`` has taken note of it; ``resume`` makes up for this validation
            except ConfigError as error:  # not every UserError: weights that make no translation must not be saved
                failure = error
            finally:
                self.model.train()
        metrics, failed = self.ranks.share((None if found is None else dict(found.metrics), failure is not None))
        checkpoint.restore_rng(rng, self.device)
        if failed:
            self.save()
            self.log.say(f"{self.directory / checkpoint.LAST} is saved; resume=true goes on from it")
            raise failure or ConfigError("the first process could not validate")
        if metrics is not None:
            improved = self.standing.validate(metrics, self.config.metric)
            self.updater.schedule.validated(improved)
            if found is not None:
                facts = {"epoch": self.batches.progress, "minutes": self.standing.seconds / 60}
                facts["seconds"] = time.perf_counter() - began
                self.log.validation(self.standing.step, found, improved=improved, **facts)
            self.save(metrics, improved)
        self.clock = time.perf_counter()

    def save(self, metrics: dict[str, float] | None = None, best: bool = False) -> None:
        """Write last.pt and before it, after a validation, best.pt and those to keep: a crash in between costs nothing.

        Those have no optimizer: nobody resumes from them.
        """
        rng = self.ranks.gather(checkpoint.capture_rng(self.device))
        if not self.ranks.main:
            return
        state = {
            "model": self.updater.average.model_state(self.model),
            "step": self.standing.step,
            "precision": self.precision.name,
            "metrics": metrics or {},
        }
        if best:
            checkpoint.save(self.directory / checkpoint.BEST, state)
        if metrics is not None:
            retention.retain(self.directory, state, self.config.keep_last, self.config.keep_best, self.config.metric)
        state |= {
            "optimizer": self.updater.optimizer.state_dict(),
            "optimizer_name": self.optim.name.name,
            "schedule": self.updater.schedule.state_dict(),
            "batches": self.batches.state_dict(),
            "standing": asdict(self.standing),
            "rng": rng,  # one for each rank
            **self.updater.average.state_dict(self.model),
        }
        checkpoint.save(self.directory / checkpoint.LAST, state)

    def restore(self) -> None:
        """Take everything from last.pt.  Random numbers go on only with the same number of ranks."""
        path = self.directory / checkpoint.LAST
        state = checkpoint.load(path)
        try:
            self.updater.average.restore(self.model, state)
            if state["optimizer_name"] != self.optim.name.name:
                raise RunError(f"optim.name was {state['optimizer_name']} and is {self.optim.name.name}")
            groups = self.updater.optimizer.state_dict()["param_groups"]  # settings are those of now
            self.updater.optimizer.load_state_dict(state["optimizer"] | {"param_groups": groups})
            self.updater.schedule.load_state_dict(state["schedule"])
            self.batches.load_state_dict(state["batches"])
            self.standing = Standing(**state["standing"])
            if len(state["rng"]) == self.ranks.size:
                checkpoint.restore_rng(state["rng"][self.ranks.rank], self.device)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise RunError(f"{path} does not fit this configuration or cannot be resumed: {reason}") from error
