"""The loop as a whole: resuming, stopping, choosing the best, and being interrupted."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch

from nmt.device import Precision, seed_everything
from nmt.errors import ConfigError, RunError, UserError
from nmt.train import checkpoint, kept
from nmt.train.log import LoggerConfig, RunLog, Validation
from nmt.train.loop import Batches, Ending, Result, train
from nmt.train.optim import OptimConfig, OptimizerName, ScheduleName
from nmt.train.standing import Standing
from nmt.train.trainer_config import Metric, TrainerConfig

from .fakes import FakeBatches, FakeModel, weights

CPU = torch.device("cpu")
QUIET = LoggerConfig(every=5, tensorboard=False)


def found(loss: float) -> Validation:
    return Validation({"loss": loss, "bleu": -loss})


def measure(model, step: int) -> Validation:
    """The loss of a fixed batch; draws random numbers on the way, as sampling would."""
    seed_everything(step)
    output = model(FakeBatches().longest())
    return found((output.nll.sum() / output.tokens).item())


def run(
    directory: Path,
    validate=measure,
    *,
    resume: bool = False,
    model: FakeModel | None = None,
    batches: Batches | None = None,
    optim: OptimConfig | None = None,
    **config,
) -> tuple[Result, FakeModel]:
    """Train a fresh model from fixed seeds; a resumed one starts from other seeds, which must not matter."""
    torch.manual_seed(99 if resume else 0)
    random.seed(99 if resume else 0)
    model = model or FakeModel(dropout=0.3)
    trainer = TrainerConfig(
        **{"max_steps": 20, "validate_every": 5, "metric": Metric.loss, "precision": Precision.fp32, **config}
    )
    step = checkpoint.saved_step(directory / checkpoint.LAST) if resume else 0
    with RunLog(directory, QUIET, step=step) as log:
        result = train(
            model,
            batches or FakeBatches(),
            validate,
            config=trainer,
            optim=optim or OptimConfig(lr=0.02),
            log=log,
            directory=directory,
            device=CPU,
            resume=resume,
        )
    return result, model


def lines(directory: Path, event: str) -> list[dict]:
    found = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def test_training_learns_and_keeps_the_best(tmp_path):
    result, model = run(tmp_path, max_steps=60)
    losses = {line["step"]: line["loss"] for line in lines(tmp_path, "validation")}
    assert list(losses) == list(range(5, 61, 5))
    assert losses[60] < losses[5] - 0.2
    best = min(losses, key=losses.__getitem__)
    assert (result.ending, result.step, result.best_step) == (Ending.steps, 60, best)
    assert result.best_metrics["loss"] == losses[best]
    fresh = FakeModel()
    fresh.load_state_dict(checkpoint.load(tmp_path / checkpoint.BEST)["model"])
    assert measure(fresh.eval(), 0).metrics["loss"] == pytest.approx(losses[best], rel=1e-12)
    fresh.load_state_dict(checkpoint.load(tmp_path / checkpoint.LAST)["model"])
    assert torch.equal(weights(fresh), weights(model))
    figures = lines(tmp_path, "train")
    assert [f["step"] for f in figures] == list(range(5, 61, 5))
    assert {"loss", "ppl", "lr", "gradient_norm", "tokens_per_second", "data_wait", "memory", "epoch"} <= set(
        figures[0]
    )
    assert 0 <= figures[0]["data_wait"] <= 1


@pytest.mark.parametrize(
    "optim",
    [
        OptimConfig(lr=0.02, schedule=ScheduleName.inverse_sqrt, warmup=4),
        OptimConfig(lr=0.02, schedule=ScheduleName.plateau, plateau_patience=1),
        OptimConfig(name=OptimizerName.sgd, lr=0.5, momentum=0.9, schedule=ScheduleName.luong, halve_after=1),
    ],
    ids=lambda o: o.schedule.name,
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(tmp_path, optim):
    """Dropout, order, averages, learning rate and early stopping go on; validations draw random numbers."""

    def worse(model, step):
        measure(model, step)
        return found(step)

    config = {"accumulate": 2, "optim": optim}
    whole, model = run(tmp_path / "whole", worse, max_steps=23, **config)
    run(tmp_path / "parts", worse, max_steps=10, **config)
    parts, resumed = run(tmp_path / "parts", worse, max_steps=23, resume=True, **config)
    assert torch.equal(weights(model), weights(resumed))
    assert (whole.best_step, whole.best_metrics) == (parts.best_step, parts.best_metrics)
    records = [[(r["step"], r["lr"], r["loss"]) for r in lines(tmp_path / d, "train")] for d in ("whole", "parts")]
    assert records[0] == records[1]
    assert len(records[0]) == 4


def test_weights_of_validations_are_kept_over_resumptions(tmp_path):
    """Each as it was validated, with its metrics; ``resume`` goes on choosing among those that are there."""
    seen = {}

    def validate(model, step):
        seen[step] = weights(model)
        return found(abs(step - 10.0))

    for steps in (14, 20):
        run(tmp_path, validate, resume=steps > 14, max_steps=steps, validate_every=2, keep_last=2, keep_best=3)
    states = {state["step"]: state for state in map(checkpoint.load, kept.kept(tmp_path))}
    assert list(states) == [8, 10, 12, 18, 20]
    fresh = FakeModel()
    for step, state in states.items():
        fresh.load_state_dict(state["model"])
        assert torch.equal(weights(fresh), seen[step])
        assert state["metrics"]["loss"] == abs(step - 10.0)
        assert "optimizer" not in state


def test_an_average_of_the_weights_is_validated_kept_and_resumed(tmp_path):
    """best.pt is what was validated; last.pt has that to use, and both to go on from to the last bit."""
    seen = {}

    def validate(model, step):
        seen[step] = weights(model)
        return found(float(-step))

    whole, model = run(tmp_path / "whole", validate, ema=0.9)
    kept = checkpoint.load(tmp_path / "whole" / checkpoint.BEST)["model"]
    last = checkpoint.load(tmp_path / "whole" / checkpoint.LAST)
    fresh = FakeModel()
    for state in (kept, last["model"]):
        fresh.load_state_dict(state)
        assert torch.equal(weights(fresh), seen[whole.step])
    fresh.load_state_dict(last["ema"]["model"])
    assert torch.equal(weights(fresh), weights(model))
    assert not torch.equal(weights(model), seen[whole.step])
    before = dict(seen)
    run(tmp_path / "parts", validate, max_steps=10, ema=0.9)
    _, resumed = run(tmp_path / "parts", validate, resume=True, ema=0.9)
    assert torch.equal(weights(model), weights(resumed))
    assert all(torch.equal(before[step], seen[step]) for step in (5, 10, 15, 20))


class Interrupting(FakeBatches):
    """Sends a signal to this process when batch number ``when`` is drawn."""

    def __init__(self, when: int, number: signal.Signals) -> None:
        super().__init__()
        self.left, self.number = when, number

    def __iter__(self):
        for batch in super().__iter__():
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)
            yield batch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_goes_on(tmp_path, number, capsys):
    before = signal.getsignal(number)
    result, _ = run(tmp_path / "parts", batches=Interrupting(8, number))
    assert (result.ending, result.step) == (Ending.interrupted, 8)
    assert checkpoint.saved_step(tmp_path / "parts" / checkpoint.LAST) == 8
    assert "resume=true" in capsys.readouterr().out
    assert signal.getsignal(number) is before
    _, resumed = run(tmp_path / "parts", resume=True)
    _, model = run(tmp_path / "whole")
    assert torch.equal(weights(model), weights(resumed))


def test_an_interrupted_validation_is_made_up_for(tmp_path):
    """It ends at once; the resumed run begins with it and makes the same choices."""
    calls = []

    def interrupted(model, step):
        calls.append(step)
        if step == 10:
            torch.rand(1)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the validation went on")
        return measure(model, step)

    result, _ = run(tmp_path / "parts", interrupted)
    assert (result.ending, result.step, calls) == (Ending.interrupted, 10, [5, 10])
    parts, resumed = run(tmp_path / "parts", resume=True)
    whole, model = run(tmp_path / "whole")
    assert torch.equal(weights(model), weights(resumed))
    assert (parts.best_step, parts.best_metrics) == (whole.best_step, whole.best_metrics)
    assert [line["step"] for line in lines(tmp_path / "parts", "validation")] == [5, 10, 15, 20]


@pytest.mark.parametrize("schedule", ScheduleName)
def test_early_stopping_works_with_any_schedule(tmp_path, schedule):
    values = [5.0, 4.0, 4.5, 3.0, 3.0, float("nan"), 3.5, 1.0]

    def scripted(model, step):
        return found(values[step // 2 - 1])

    optim = OptimConfig(schedule=schedule, plateau_patience=1, halve_after=0)
    result, _ = run(tmp_path, scripted, optim=optim, validate_every=2, patience=3)
    assert (result.ending, result.step, result.best_step) == (Ending.patience, 14, 8)
    assert checkpoint.load(tmp_path / checkpoint.BEST)["step"] == 8
    assert checkpoint.load(tmp_path / checkpoint.LAST)["step"] == 14
    again, _ = run(tmp_path, scripted, optim=optim, validate_every=2, patience=3, resume=True)
    assert (again.ending, again.step) == (Ending.patience, 14)


@pytest.mark.parametrize(
    ("metric", "best"),
    [(Metric.loss, 1.0), (Metric.ppl, 1.0), (Metric.aer, 1.0), (Metric.bleu, 3.0), (Metric.chrf, 3.0)],
)
def test_the_direction_of_each_metric_is_known(metric, best):
    standing = Standing()
    for standing.step, value in enumerate([2.0, 3.0, 1.0, 2.0], 1):
        standing.validate({metric.name: value}, metric)
    assert standing.best_metrics == {metric.name: best}


def test_the_lowest_alignment_error_is_the_best_checkpoint(tmp_path):
    """Whatever loss and BLEU say; and of those that are kept."""
    errors = {5: 0.5, 10: 0.2, 15: 0.4, 20: 0.3}

    def scripted(model, step):
        return Validation({"loss": 1 - errors[step], "bleu": 100 * errors[step], "aer": errors[step]})

    result, _ = run(tmp_path, scripted, metric=Metric.aer, keep_best=2)
    assert (result.best_step, result.best_metrics["aer"]) == (10, 0.2)
    assert checkpoint.load(tmp_path / checkpoint.BEST)["step"] == 10
    assert [checkpoint.load(path)["step"] for path in kept.kept(tmp_path)] == [10, 20]


def test_training_ends_after_epochs_and_validates_there(tmp_path):
    result, _ = run(tmp_path, max_steps=None, max_epochs=2.0, validate_every=1000)
    assert (result.ending, result.step) == (Ending.epochs, 14)
    assert [line["step"] for line in lines(tmp_path, "validation")] == [14]


def test_the_time_budget_counts_training_alone_and_over_resumptions(tmp_path, monkeypatch):
    """A clock that only moves, by 6 seconds, when a batch is drawn, and by an hour in each validation."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Slow(FakeBatches):
        def __iter__(self):
            for batch in super().__iter__():
                now[0] += 6.0
                yield batch

    def slow(model, step):
        now[0] += 3600.0
        return measure(model, step)

    result, _ = run(tmp_path, slow, batches=Slow(), max_steps=None, max_minutes=1.2)
    assert (result.ending, result.step) == (Ending.minutes, 12)
    result, _ = run(tmp_path, slow, batches=Slow(), max_steps=None, max_minutes=2.0, resume=True)
    assert (result.ending, result.step, result.minutes) == (Ending.minutes, 20, pytest.approx(2.0))
    assert lines(tmp_path, "train")[-1]["data_wait"] == pytest.approx(1.0)


class PoisonedLater(FakeBatches):
    """From batch ``when`` on the model's losses are NaN."""

    def __init__(self, model: FakeModel, when: int) -> None:
        super().__init__()
        self.model, self.left = model, when

    def __iter__(self):
        for batch in super().__iter__():
            self.left -= 1
            self.model.poison = self.left <= 0
            yield batch


def test_gradients_that_stay_nonfinite_end_training_and_spoil_nothing(tmp_path):
    model = FakeModel()
    with pytest.raises(UserError, match=r"step 15: the last 8 updates .* optim\.lr"):
        run(tmp_path, model=model, batches=PoisonedLater(model, 8), max_steps=1000, max_skipped=6)
    state = checkpoint.load(tmp_path / checkpoint.LAST)
    assert state["step"] == 10
    assert all(w.isfinite().all() for w in state["model"].values())
    assert weights(model).isfinite().all()
    assert lines(tmp_path, "train")[-1]["skipped"] == 5


def test_the_schedule_follows_the_epochs(tmp_path):
    """Of 7 batches each: the last batch of an epoch still has its epoch's learning rate."""
    optim = OptimConfig(name=OptimizerName.sgd, lr=1.0, schedule=ScheduleName.luong, halve_after=1)
    run(tmp_path, optim=optim, max_steps=21, validate_every=1)
    assert [line["lr"] for line in lines(tmp_path, "train")] == [1.0] * 7 + [0.5] * 7 + [0.25] * 7


def test_validations_leave_no_trace_in_training(tmp_path):
    """However often they come, and whatever random numbers they draw."""
    _, rare = run(tmp_path / "rare", validate_every=20)
    _, often = run(tmp_path / "often", validate_every=1)
    assert torch.equal(weights(rare), weights(often))


def test_validation_sees_the_model_in_eval_mode_without_gradients(tmp_path):
    seen = []

    def look(model, step):
        seen.append((model.training, torch.is_grad_enabled()))
        return found(1.0)

    _, model = run(tmp_path, look, max_steps=5)
    assert seen == [(False, False)]
    assert model.training


def test_memory_runs_out_before_the_first_batch_is_drawn(tmp_path):
    class Greedy(FakeModel):
        def forward(self, batch, want_maps=False, consistency=0.0):
            raise torch.OutOfMemoryError("CUDA out of memory")

    batches = FakeBatches()
    with pytest.raises(ConfigError, match=r"data\.batching\.tokens"):
        run(tmp_path, model=Greedy(), batches=batches)
    assert batches.progress == 0


def test_resuming_what_is_not_there_or_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"last\.pt: there is no such checkpoint"):
        run(tmp_path / "none", resume=True)
    run(tmp_path / "other", max_steps=5)
    with pytest.raises(RunError, match=r"last\.pt does not fit this configuration"):
        run(tmp_path / "other", resume=True, model=Wider())
    with pytest.raises(RunError, match=r"last\.pt does not fit .* optim\.name was adam and is sgd"):
        run(tmp_path / "other", resume=True, optim=OptimConfig(name=OptimizerName.sgd))


def test_a_resumed_run_takes_the_settings_it_is_given(tmp_path):
    """The averages are the old ones, the learning rate and the decay are those typed now."""
    run(tmp_path, max_steps=5, optim=OptimConfig(lr=0.02))
    run(tmp_path, max_steps=10, optim=OptimConfig(lr=0.01, weight_decay=0.5), resume=True)
    matrices, rest = checkpoint.load(tmp_path / checkpoint.LAST)["optimizer"]["param_groups"]
    assert (matrices["lr"], matrices["weight_decay"], rest["weight_decay"]) == (0.01, 0.5, 0.0)


def test_the_stream_of_batches_is_closed(tmp_path):
    """It may have a thread, which would live as long as the process."""
    closed = []

    class Closing(FakeBatches):
        def __iter__(self):
            try:
                yield from super().__iter__()
            finally:
                closed.append(self.progress)

    batches = Closing()
    run(tmp_path, max_steps=3, batches=batches)
    assert closed == [3 / 7]


class Wider(FakeModel):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(6, 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_steps": 0}, r"trainer\.max_steps must be at least 1, got 0"),
        ({"max_minutes": -1.0}, r"trainer\.max_minutes must be above 0"),
        ({"clip": 0.0}, r"trainer\.clip must be above 0"),
        ({"patience": 0}, r"trainer\.patience must be at least 1"),
        ({"label_smoothing": 1.0}, r"trainer\.label_smoothing"),
        ({"max_steps": None}, r"trainer\.max_steps.* training has no end"),
    ],
)
def test_impossible_values_are_refused_by_their_key(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**values)
