"""A resumed run is the uninterrupted one, whatever ended it."""

import os
import re
import signal
import time

import pytest
import torch
from train_fakes import FakeBatches, FakeModel, weights
from train_loops import found, lines, measure, run

from nmt.errors import RunError, Stopped
from nmt.runs import checkpoint, retention
from nmt.train.loop import Ending
from nmt.train.optim import OptimConfig, OptimizerName, ScheduleName
from nmt.train.stop_signals import SAME_REQUEST, STOPPING, StopSignals


@pytest.mark.parametrize(
    "optim",
    [
        OptimConfig(lr=0.02, schedule=ScheduleName.inverse_sqrt, warmup=4),
        OptimConfig(warmup=0, lr=0.02, schedule=ScheduleName.plateau, plateau_patience=1),
        OptimConfig(warmup=0, name=OptimizerName.sgd, lr=0.5, momentum=0.9, schedule=ScheduleName.luong, halve_after=1),
        OptimConfig(warmup=0, name=OptimizerName.muon, lr=0.02),
    ],
    ids=lambda o: f"{o.name} {o.schedule}",
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
    assert len(records[0]) == 5  # after 5, 10, 15, 20 and 23 updates


def test_a_rank_that_goes_on_alone_goes_on_with_its_random_numbers(tmp_path):
    """As if the checkpoint were that of three ranks, of which this is the first."""
    _, model = run(tmp_path / "whole")
    run(tmp_path / "parts", max_steps=10)
    state = checkpoint.load(tmp_path / "parts" / checkpoint.LAST)
    other = {**state["rng"][0], "torch": torch.Generator().manual_seed(5).get_state()}
    checkpoint.save(tmp_path / "parts" / checkpoint.LAST, {**state, "rng": [*state["rng"], other, other]})
    _, resumed = run(tmp_path / "parts", resume=True)
    assert torch.equal(weights(model), weights(resumed))


def test_weights_of_validations_are_kept_over_resumptions(tmp_path):
    """Each as it was validated, with its metrics; ``resume`` goes on choosing among those that are there."""
    seen = {}

    def validate(model, step):
        seen[step] = weights(model)
        return found(abs(step - 10.0))

    for steps in (14, 20):
        run(tmp_path, validate, resume=steps > 14, max_steps=steps, validate_every=2, keep_last=2, keep_best=3)
    states = {state["step"]: state for state in map(checkpoint.load, retention.retained_checkpoints(tmp_path))}
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
    best = checkpoint.load(tmp_path / "whole" / checkpoint.BEST)["model"]
    last = checkpoint.load(tmp_path / "whole" / checkpoint.LAST)
    fresh = FakeModel()
    for state in (best, last["model"]):
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


@pytest.mark.parametrize("number", STOPPING)
def test_an_interrupted_run_saves_and_goes_on(tmp_path, number, capsys):
    before = signal.getsignal(number)
    result, _ = run(tmp_path / "parts", batches=Interrupting(8, number))
    assert (result.ending, result.step, result.signal) == (Ending.interrupted, 8, number)
    assert checkpoint.saved_step(tmp_path / "parts" / checkpoint.LAST) == 8
    assert "resume=true" in capsys.readouterr().out
    assert signal.getsignal(number) is before
    _, resumed = run(tmp_path / "parts", resume=True)
    _, model = run(tmp_path / "whole")
    assert torch.equal(weights(model), weights(resumed))


def test_a_signal_that_is_passed_on_at_once_is_the_same_request(monkeypatch):
    """A terminal sends Ctrl-C to all processes, and what has started them may pass it on; a later one ends at once."""
    now = [10.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += SAME_REQUEST / 2
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGINT
        now[0] += SAME_REQUEST
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.number == signal.SIGINT


def test_a_signal_that_was_ignored_stays_ignored(tmp_path):
    """nohup has SIGHUP ignored, so that training goes on when the terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result, _ = run(tmp_path, batches=Interrupting(8, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.ending, result.step) == (Ending.steps, 20)


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


class Wider(FakeModel):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(6, 7)


def test_resuming_what_is_not_there_or_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"last\.pt: there is no such checkpoint"):
        run(tmp_path / "none", resume=True)
    run(tmp_path / "other", max_steps=5)
    with pytest.raises(RunError, match=r"last\.pt does not fit this configuration"):
        run(tmp_path / "other", resume=True, model=Wider())
    with pytest.raises(RunError, match=r"last\.pt does not fit .* optim\.name was adam and is sgd"):
        run(tmp_path / "other", resume=True, optim=OptimConfig(warmup=0, name=OptimizerName.sgd))


def test_a_resumed_run_takes_the_settings_it_is_given(tmp_path):
    """The averages are the old ones, the learning rate and the decay are those typed now."""
    run(tmp_path, max_steps=5, optim=OptimConfig(warmup=0, lr=0.02))
    run(tmp_path, max_steps=10, optim=OptimConfig(warmup=0, lr=0.01, weight_decay=0.5), resume=True)
    matrices, rest = checkpoint.load(tmp_path / checkpoint.LAST)["optimizer"]["param_groups"]
    assert (matrices["lr"], matrices["weight_decay"], rest["weight_decay"]) == (0.01, 0.5, 0.0)


@pytest.mark.parametrize(
    ("config", "key"),
    [({"max_steps": 10}, r"trainer\.max_steps \(now 10\)"), ({"patience": 1}, r"trainer\.patience \(now 1\)")],
)
def test_a_run_that_was_finished_says_that_nothing_was_trained(tmp_path, capsys, config, key):
    def worse(model, step):
        return found(step)

    first, _ = run(tmp_path, worse, **config)
    assert "nothing was trained" not in capsys.readouterr().out
    again, _ = run(tmp_path, worse, resume=True, **config)
    assert again == first
    said = capsys.readouterr().out
    assert re.search(rf"\nnothing was trained: training was finished before; raise {key} to go on\n", said)
