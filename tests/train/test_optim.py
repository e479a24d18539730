"""Optimizers and learning rates against closed formulas and torch's own classes."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from train_fakes import FakeModel, weights

from nmt.errors import ConfigError
from nmt.train.optim import OptimConfig, OptimizerName, Schedule, ScheduleName, build_optimizer, update

ADAM, ADAMW, SGD = OptimizerName.adam, OptimizerName.adamw, OptimizerName.sgd


def schedule(max_steps: int | None = None, **config) -> Schedule:
    c = OptimConfig(**{"warmup": 0, **config})
    return Schedule(build_optimizer(nn.Linear(2, 2), c), c, max_steps)


def torch_rates(scheduler_class, steps: int, **options) -> list[float]:
    """Learning rates of torch's scheduler over a peak of 2."""
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=2.0)
    scheduler = scheduler_class(optimizer, **options)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimizer step was made
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return rates


def test_inverse_sqrt_is_the_transformers():
    """Vaswani et al. 2017, equation 3, which peaks at (d w)^-1/2."""
    d, w = 512, 40
    s = schedule(lr=(d * w) ** -0.5, warmup=w, schedule=ScheduleName.inverse_sqrt)
    for step in range(1, 200):
        assert s.set(step, 0.0) == pytest.approx(d**-0.5 * min(step**-0.5, step * w**-1.5), rel=1e-12)


def test_cosine_is_torchs_after_the_warmup():
    s = schedule(lr=2.0, min_lr=0.5, warmup=5, decay_steps=25, schedule=ScheduleName.cosine)
    expected = torch_rates(torch.optim.lr_scheduler.CosineAnnealingLR, 21, T_max=20, eta_min=0.5)
    assert [s.set(step, 0.0) for step in range(5, 26)] == pytest.approx(expected, rel=1e-12)
    assert s.set(26, 0.0) == s.set(1000, 0.0) == 0.5


def test_cosine_ends_with_the_run_unless_told_otherwise():
    assert schedule(100, schedule=ScheduleName.cosine).set(100, 0.0) == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(ConfigError, match=r"optim\.decay_steps"):
        schedule(None, schedule=ScheduleName.cosine)
    with pytest.raises(ConfigError, match=r"optim\.warmup"):
        schedule(100, schedule=ScheduleName.cosine, warmup=100)


@pytest.mark.parametrize(("after", "epochs"), [(5, 10), (8, 12)])
def test_luong_halves_every_epoch_after_some(after, epochs):
    """Luong et al. 2015, section 4.1: 10 epochs, halved after 5; with dropout 12, after 8."""
    s = schedule(name=SGD, lr=1.0, schedule=ScheduleName.luong, halve_after=after)
    finished = [e + part for e in range(epochs) for part in (0.0, 0.5, 0.999)]
    expected = [0.5 ** max(0, int(e) - after + 1) for e in finished]
    assert [s.set(1000, e) for e in finished] == expected


def test_luong_without_a_first_or_a_second_halving():
    """Null, where a number of epochs beyond every training says the same."""
    for after, every, far in ((None, 1.0, (1e9, 1.0)), (2.0, None, (2.0, 1e9))):
        s = schedule(name=SGD, lr=1.0, schedule=ScheduleName.luong, halve_after=after, halve_every=every)
        same = schedule(name=SGD, lr=1.0, schedule=ScheduleName.luong, halve_after=far[0], halve_every=far[1])
        rates = [s.set(1000, epoch) for epoch in (0.0, 1.99, 2.0, 3.0, 500.0)]
        assert rates == [same.set(1000, epoch) for epoch in (0.0, 1.99, 2.0, 3.0, 500.0)]
        assert rates[-1] == (1.0 if after is None else 0.5)


def test_plateau_is_torchs():
    """A reduction after ``plateau_patience`` validations without improvement: torch counts one less."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(60, generator=generator).tolist()
    s = schedule(lr=2.0, schedule=ScheduleName.plateau, plateau_patience=3, factor=0.7, min_lr=0.2)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=2.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.7, patience=2, threshold=0.0, min_lr=0.2)
    best = math.inf
    for loss in losses:
        s.validated(loss < best)
        best = min(best, loss)
        theirs.step(loss)
        assert s.set(1000, 0.0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert s.reductions > 3


@pytest.mark.parametrize("kind", ScheduleName)
def test_every_schedule_warms_up_linearly_to_its_peak(kind):
    s = schedule(1000, lr=0.8, warmup=8, schedule=kind)
    assert [s.set(step, 0.0) for step in range(1, 9)] == pytest.approx([0.1 * i for i in range(1, 9)])
    assert s.set(9, 0.0) == pytest.approx(0.8, rel=0.1)


def test_schedule_state_comes_back():
    first = schedule(lr=2.0, schedule=ScheduleName.plateau, plateau_patience=2)
    for improved in (True, False, False, False):
        first.validated(improved)
    second = schedule(lr=2.0, schedule=ScheduleName.plateau, plateau_patience=2)
    second.load_state_dict(first.state_dict())
    for s in (first, second):
        s.validated(False)
    assert first.set(9, 0.0) == second.set(9, 0.0) == 0.5


@pytest.mark.parametrize("name", OptimizerName)
def test_biases_never_decay(name):
    """With gradients of zero only decay moves anything."""
    model = FakeModel()
    optimizer = build_optimizer(model, OptimConfig(warmup=0, name=name, lr=0.1, weight_decay=0.5))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    update(optimizer, list(model.parameters()), None)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n.endswith("weight")}


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_clipping_bounds_the_step_and_reports_the_norm(clip):
    """With SGD at rate 1 the step is the gradient."""
    model = FakeModel()
    optimizer = build_optimizer(model, OptimConfig(warmup=0, name=SGD, lr=1.0))
    before = weights(model)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    norm = update(optimizer, list(model.parameters()), clip)
    assert norm == pytest.approx(gradient.norm().item())
    scale = 1.0 if clip is None else min(1.0, clip / gradient.norm().item())
    torch.testing.assert_close(before - weights(model), scale * gradient, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "config",
    [
        OptimConfig(warmup=0, name=ADAM),
        OptimConfig(warmup=0, name=ADAMW),
        OptimConfig(warmup=0, name=SGD, momentum=0.9),
        OptimConfig(warmup=0, name=OptimizerName.muon),
    ],
)
def test_a_gradient_that_is_not_finite_leaves_no_trace(config, bad):
    """Weights, averages and step counts are those of a run that never met it, to the last bit."""
    torch.manual_seed(0)
    clean = FakeModel()
    hit = copy.deepcopy(clean)
    good = [[torch.randn_like(p) for p in clean.parameters()] for _ in range(3)]
    poison = [torch.full_like(p, bad) if p.ndim == 1 else torch.randn_like(p) for p in clean.parameters()]
    torch.use_deterministic_algorithms(True)  # which makes memory that nobody has written to NaN
    try:
        for model, sequence in ((clean, good), (hit, [poison, good[0], poison, good[1], poison, poison, good[2]])):
            optimizer = build_optimizer(model, config)
            for grads in sequence:
                for p, g in zip(model.parameters(), grads, strict=True):
                    p.grad = g.clone()
                update(optimizer, list(model.parameters()), 1.0)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(weights(clean), weights(hit))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, r"optim\.lr must be above 0, got 0\.0"),
        ({"betas": [0.9]}, r"optim\.betas must be two numbers"),
        ({"betas": [0.9, 1.0]}, r"optim\.betas"),
        ({"weight_decay": -1.0}, r"optim\.weight_decay must be at least 0, got -1"),
        ({"warmup": -1}, r"optim\.warmup must be at least 0"),
        ({"factor": 1.0}, r"optim\.factor"),
        ({"min_lr": 1.0}, r"optim\.min_lr must be at most optim\.lr"),
        ({"warmup": 9, "decay_steps": 9}, r"optim\.decay_steps must be above optim\.warmup"),
    ],
)
def test_impossible_values_are_refused_by_their_key(values, message):
    with pytest.raises(ConfigError, match=message):
        OptimConfig(**values)
