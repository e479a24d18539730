"""The training loop: updates, reports, validations and checkpoints.

It knows neither the configuration tree nor files: batches, validation, log and checkpoint store are passed in.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum

import torch

from nmt.batch import Batch
from nmt.device import resolve_precision
from nmt.errors import ConfigError, RunError, UserError
from nmt.models.seq2seq import Seq2Seq
from nmt.train.config import TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.interfaces import Batches, CheckpointStore
from nmt.train.log import RunLog, Validation, memory
from nmt.train.optim import OptimConfig
from nmt.train.step import Updater
from nmt.train.stop_signals import StopSignals
from nmt.train.training_state import TrainingState, capture_rng, restore_rng
from nmt.train.watchdog import Watchdog

Validate = Callable[[Seq2Seq, int], Validation]  # model, step -> metrics, samples and figures


class Ending(Enum):
    """Why training ended."""

    steps = "trainer.max_steps"
    minutes = "trainer.max_minutes"
    epochs = "trainer.max_epochs"
    patience = "trainer.patience"
    interrupted = "interrupted"


@dataclass(frozen=True)
class TrainingResult:
    """How training ended.  The model has the weights of the last step; the checkpoint store has the best ones."""

    ending: Ending
    step: int
    minutes: float  # of training, validations not counted
    best_step: int
    best_metrics: dict[str, float]
    signal: int = 0  # the number of the signal that ended it, if one did


class Trainer:
    """Trains one model; ``run`` is the loop.

    ``validate(model, step)`` is called on rank 0, in eval mode, without gradients; the random numbers that it draws do
    not change training.
    """

    def __init__(
        self,
        model: Seq2Seq,
        batches: Batches,
        validate: Validate,
        *,
        config: TrainerConfig,
        optim: OptimConfig,
        log: RunLog,
        checkpoints: CheckpointStore,
        device: torch.device,
        ranks: Ranks | None = None,
    ) -> None:
        """Moves ``model`` to ``device``."""
        self.model = model.to(device).train()
        self.batches, self.validation_of = batches, validate
        self.config, self.optim = config, optim
        self.log, self.checkpoints = log, checkpoints
        self.device, self.ranks = device, ranks or Ranks()
        self.precision = resolve_precision(config.precision, device)
        self.updater = Updater(model, config, optim, self.precision, device, self.ranks)
        self.state = TrainingState()
        self.signals = StopSignals()
        self.watchdog = Watchdog(config.stall_minutes, self.ranks)
        self.last_tick = 0.0  # the clock when ``count_seconds`` was last called
        self.reported_seconds = 0.0  # ``state.seconds`` at the latest report
        self.data_seconds = 0.0  # spent waiting for batches since then

    def run(self, resume: bool = False) -> TrainingResult:
        """Update and validate until one of the limits in the configuration is reached.

        After each validation the last state is saved, the best weights if it was the best, and those that
        trainer.keep_last and trainer.keep_best ask for.  The first Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 saves the last
        state after the update at hand and returns; with ``resume`` training continues from there as if nothing had
        happened.

        Raises ConfigError if the longest batch does not fit in memory, UserError if gradients stay non-finite,
        RunError if there is nothing to resume or the disk refuses.
        """
        with self.signals, self.watchdog:
            if resume:
                self.restore()
            begun = self.state.step
            self.updater.try_longest(self.batches.longest())
            self.last_tick, self.reported_seconds = time.perf_counter(), self.state.seconds
            with contextlib.closing(iter(self.batches)) as stream:  # it may have a thread of its own
                while (ending := self.validate_when_due()) is None:
                    group, epoch = self.next_batches(stream)
                    self.state.step += 1
                    self.updater.step(group, self.state.step, epoch)
                    self.after_update()
        return self.finish(ending, trained=self.state.step > begun)

    def validate_when_due(self) -> Ending | None:
        """Before each update: validate if it is time to, and return the reason to end now, if there is one."""
        ending = self.ending()
        if ending not in (None, Ending.interrupted) and self.updater.statistics.updates:
            self.report()
        if self.validation_due(ending):
            self.validate()
            ending = self.ending()
        if ending is Ending.interrupted:
            self.save()
        return ending

    def ending(self) -> Ending | None:
        """The reason to end now, if there is one; all ranks see the same."""
        config, state = self.config, self.state
        out_of_time = config.max_minutes is not None and state.seconds >= 60 * config.max_minutes
        interrupted, out_of_time = self.ranks.sum(self.signals.received, out_of_time and self.ranks.main)
        if interrupted:
            return Ending.interrupted
        if config.max_steps is not None and state.step >= config.max_steps:
            return Ending.steps
        if config.max_epochs is not None and self.batches.progress >= config.max_epochs:
            return Ending.epochs
        if config.patience is not None and state.validations_since_best >= config.patience:
            return Ending.patience
        return Ending.minutes if out_of_time else None

    def validation_due(self, ending: Ending | None) -> bool:
        """Every trainer.validate_every steps and at the end, but not twice at one step."""
        step = self.state.step
        if ending is Ending.interrupted or step == self.state.validated_step:
            return False
        return ending is not None or step % self.config.validate_every == 0

    def next_batches(self, stream: Iterator[Batch]) -> tuple[list[Batch], float]:
        """The batches of one update, and the epochs before it: the last batch of an epoch still belongs to it."""
        began, epoch = time.perf_counter(), self.batches.progress
        group = [next(stream) for _ in range(self.config.accumulate)]
        self.data_seconds += time.perf_counter() - began
        return group, epoch

    def after_update(self) -> None:
        """Count the time, report every logger.every steps and before a validation, and move the progress bar."""
        self.count_seconds()
        self.watchdog.progress(self.state.step)
        step = self.state.step
        if step % self.log.config.every == 0 or step % self.config.validate_every == 0:
            self.report()
        self.show_progress()

    def count_seconds(self) -> None:
        """Add the time since the last call to the time of training."""
        now = time.perf_counter()
        self.state.seconds += now - self.last_tick
        self.last_tick = now

    def report(self) -> None:
        """Log the figures of the updates since the last report; data_wait is the share of time spent on batches.

        Raises UserError where too many updates in a row were skipped.
        """
        figures, skipped_in_a_row = self.updater.statistics.read(self.ranks)  # only here the host waits for the device
        self.count_seconds()
        seconds = self.state.seconds - self.reported_seconds
        figures |= {"lr": self.updater.lr, "epoch": self.batches.progress, "minutes": self.state.seconds / 60}
        figures |= {"tokens_per_second": figures.pop("tokens") / seconds, "data_wait": self.data_seconds / seconds}
        figures |= memory(self.device)
        self.log.training(self.state.step, figures)
        self.reported_seconds, self.data_seconds = self.state.seconds, 0.0
        if skipped_in_a_row >= self.config.max_skipped:
            raise UserError(
                f"step {self.state.step}: the last {skipped_in_a_row} updates had a gradient that is not finite and "
                "were skipped; lower optim.lr or trainer.clip, or use trainer.precision=fp32"
            )

    def show_progress(self) -> None:
        """Show how much of training is done: the share of the limit that is nearest."""
        config, state = self.config, self.state
        limits = (
            (state.step, config.max_steps),
            (state.seconds / 60, config.max_minutes),
            (self.batches.progress, config.max_epochs),
        )
        done = max((value / limit for value, limit in limits if limit is not None), default=0.0)
        self.log.progress(state.step, done, state.seconds * (1 - done) / done if done else None)

    def validate(self) -> None:
        """Validate on rank 0, tell the other ranks what it found, and save.

        An interrupted validation changes nothing; a resumed run makes it anew.  After a ConfigError (the validation
        does not fit in memory, say) the last state is saved before the error is raised: no update is lost.
        """
        rng, began = capture_rng(self.device), time.perf_counter()
        with self.updater.validated() as model:
            found, failure = self.run_validation(model) if self.ranks.main else (None, None)
        metrics, failed = self.ranks.broadcast((None if found is None else dict(found.metrics), failure is not None))
        restore_rng(rng, self.device)
        if failed:
            self.save()
            self.log.say(f"{self.checkpoints.last_name} is saved; resume=true goes on from it")
            raise failure or ConfigError("the first process could not validate")
        if metrics is not None:
            improved = self.state.record_validation(metrics, self.config.metric)
            self.updater.schedule.validated(improved)
            if found is not None:
                facts = {"epoch": self.batches.progress, "minutes": self.state.seconds / 60}
                facts["seconds"] = time.perf_counter() - began
                self.log.validation(self.state.step, found, improved=improved, **facts)
            self.save(metrics, improved)
        if found is not None and found.figures:
            del found
            gc.collect()  # they are cycles, which would pile up in a long training and scatter its memory
        self.watchdog.progress(self.state.step)
        self.last_tick = time.perf_counter()

    def run_validation(self, model: Seq2Seq) -> tuple[Validation | None, ConfigError | None]:
        """Validate the average of the weights, which ``model`` has; None and None where a signal interrupts it."""
        model.eval()
        try:
            with self.signals.raising_at_once(), torch.no_grad():
                return self.validation_of(model, self.state.step), None
        except KeyboardInterrupt:
            return None, None  # ``signals.received`` is set, and the loop ends
        except ConfigError as error:  # no other UserError: weights that make no translation must not be saved
            return None, error
        finally:
            model.train()

    def save(self, metrics: dict[str, float] | None = None, best: bool = False) -> None:
        """Save the last state and before it, after a validation, its weights: a crash in between loses nothing.

        ``metrics`` are those of a validation at the present step, if there was one.  The weights of validations are
        saved without the optimizer, because nobody resumes from them.
        """
        rng = self.ranks.gather(capture_rng(self.device))
        model, resumable = self.updater.weights(), self.updater.resumable()
        if not self.ranks.main:
            return
        weights = {
            "model": model,
            "step": self.state.step,
            "precision": self.precision.name,
            "metrics": metrics or {},
        }
        if best:
            self.checkpoints.save_best(weights)
        if metrics is not None:
            self.checkpoints.save_validated(weights)
        resumable |= {
            "optimizer_name": str(self.optim.name),  # plain text, also of an Enum
            "batches": self.batches.state_dict(),
            "standing": self.state.state_dict(),  # keys are those of earlier versions, whose runs can be resumed
            "rng": rng,  # one for each rank
        }
        self.checkpoints.save_last(weights | resumable)

    def restore(self) -> None:
        """Continue from the last state, with any number of ranks; those that there were keep their random numbers."""
        saved = self.checkpoints.load_last()
        try:
            if saved["optimizer_name"] != self.optim.name:
                raise RunError(f"optim.name was {saved['optimizer_name']} and is {self.optim.name}")
            self.updater.restore(saved)
            self.batches.load_state_dict(saved["batches"])
            self.state = TrainingState.from_state_dict(saved["standing"])
            if self.ranks.rank < len(saved["rng"]):
                restore_rng(saved["rng"][self.ranks.rank], self.device)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            name = self.checkpoints.last_name
            raise RunError(f"{name} does not fit this configuration or cannot be resumed: {reason}") from error

    def finish(self, ending: Ending, trained: bool) -> TrainingResult:
        """Log how training ended."""
        state = self.state
        number = max(self.ranks.gather(self.signals.received)) if ending is Ending.interrupted else 0
        result = TrainingResult(ending, state.step, state.seconds / 60, state.best_step, state.best_metrics, number)
        text = f"ended at step {result.step:,} after {result.minutes:.1f} minutes of training: {ending.value}"
        if ending is Ending.interrupted:
            text += f"\n{self.checkpoints.last_name} is saved; the same command with resume=true goes on from it"
        elif not trained:
            limit = getattr(self.config, ending.value.removeprefix("trainer."))
            text += f"\nnothing was trained: training was finished before; raise {ending.value} (now {limit}) to go on"
        self.log.event("end", text, **asdict(result))
        return result
