"""The loop as a whole: stopping, choosing the best, and what it leaves alone."""

import pytest
import torch
from train_fakes import FakeBatches, FakeModel, weights
from train_loops import found, lines, measure, run

from nmt.device import Precision
from nmt.errors import ConfigError, UserError
from nmt.runs import checkpoint, retention
from nmt.train.config import TrainerConfig
from nmt.train.log import Validation
from nmt.train.loop import Ending
from nmt.train.optim import OptimConfig, OptimizerName, ScheduleName
from nmt.train.training_state import TrainingState


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


@pytest.mark.parametrize("schedule", ScheduleName)
def test_early_stopping_works_with_any_schedule(tmp_path, schedule):
    values = [5.0, 4.0, 4.5, 3.0, 3.0, float("nan"), 3.5, 1.0]

    def scripted(model, step):
        return found(values[step // 2 - 1])

    optim = OptimConfig(warmup=0, schedule=schedule, plateau_patience=1, halve_after=0)
    result, _ = run(tmp_path, scripted, optim=optim, validate_every=2, patience=3)
    assert (result.ending, result.step, result.best_step) == (Ending.patience, 14, 8)
    assert checkpoint.load(tmp_path / checkpoint.BEST)["step"] == 8
    assert checkpoint.load(tmp_path / checkpoint.LAST)["step"] == 14
    again, _ = run(tmp_path, scripted, optim=optim, validate_every=2, patience=3, resume=True)
    assert (again.ending, again.step) == (Ending.patience, 14)


@pytest.mark.parametrize(
    ("metric", "best"),
    [("loss", 1.0), ("ppl", 1.0), ("aer", 1.0), ("bleu", 3.0), ("chrf", 3.0), ("ter", 1.0)],
)
def test_the_direction_of_each_metric_is_known(metric, best):
    state = TrainingState()
    for state.step, value in enumerate([2.0, 3.0, 1.0, 2.0], 1):
        state.record_validation({metric: value}, metric)
    assert state.best_metrics == {metric: best}


def test_the_lowest_alignment_error_is_the_best_checkpoint(tmp_path):
    """Whatever loss and BLEU say; and of those that are retained."""
    errors = {5: 0.5, 10: 0.2, 15: 0.4, 20: 0.3}

    def scripted(model, step):
        return Validation({"loss": 1 - errors[step], "bleu": 100 * errors[step], "aer": errors[step]})

    result, _ = run(tmp_path, scripted, metric="aer", keep_best=2)
    assert (result.best_step, result.best_metrics["aer"]) == (10, 0.2)
    assert checkpoint.load(tmp_path / checkpoint.BEST)["step"] == 10
    assert [checkpoint.load(path)["step"] for path in retention.retained_checkpoints(tmp_path)] == [10, 20]


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


def test_the_last_updates_are_reported_too(tmp_path):
    """Of 8 updates, in reports of 5; if they were all skipped, training was no success."""
    run(tmp_path / "few", max_steps=8, validate_every=100)
    assert [line["step"] for line in lines(tmp_path / "few", "train")] == [5, 8]
    model = FakeModel()
    with pytest.raises(UserError, match="step 3: the last 3 updates"):
        run(tmp_path / "none", model=model, batches=PoisonedLater(model, 1), max_steps=3, max_skipped=2)
    assert not (tmp_path / "none" / checkpoint.BEST).exists()


def test_a_validation_that_cannot_be_made_costs_no_update(tmp_path):
    """Once its cause is mended, training goes on as if it had been made."""
    _, expected = run(tmp_path / "whole")

    def fails(model, step):
        if step == 10:
            raise ConfigError("out of memory: lower decode.batch_size")
        return measure(model, step)

    with pytest.raises(ConfigError, match="batch_size"):
        run(tmp_path / "cut", fails)
    assert checkpoint.saved_step(tmp_path / "cut" / checkpoint.LAST) == 10
    _, model = run(tmp_path / "cut", resume=True)
    assert torch.equal(weights(model), weights(expected))
    assert [line["step"] for line in lines(tmp_path / "cut", "validation")] == [5, 10, 15, 20]


def test_weights_that_make_no_translation_are_not_saved(tmp_path):
    def fails(model, step):
        if step == 10:
            raise UserError("the model's probabilities are not finite")
        return measure(model, step)

    with pytest.raises(UserError, match="not finite"):
        run(tmp_path, fails)
    assert checkpoint.saved_step(tmp_path / checkpoint.LAST) == 5


def test_the_schedule_follows_the_epochs(tmp_path):
    """Of 7 batches each: the last batch of an epoch still has its epoch's learning rate."""
    optim = OptimConfig(warmup=0, name=OptimizerName.sgd, lr=1.0, schedule=ScheduleName.luong, halve_after=1)
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
        def forward(self, batch, want_maps=False, r_drop=0.0, cutoff=0.0):
            raise torch.OutOfMemoryError("CUDA out of memory")

    batches = FakeBatches()
    with pytest.raises(ConfigError, match=r"data\.batching\.tokens"):
        run(tmp_path, model=Greedy(), batches=batches)
    assert batches.progress == 0


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_steps": 0}, r"trainer\.max_steps must be at least 1, got 0"),
        ({"max_minutes": -1.0}, r"trainer\.max_minutes must be above 0"),
        ({"clip": 0.0}, r"trainer\.clip must be above 0"),
        ({"patience": 0}, r"trainer\.patience must be at least 1"),
        ({"label_smoothing": 1.0}, r"trainer\.label_smoothing"),
        ({"precision": Precision.int8}, r"trainer\.precision=int8: only search computes in int8"),
        ({"max_steps": None}, r"trainer\.max_steps.* training has no end"),
    ],
)
def test_impossible_values_are_refused_by_their_key(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**values)
