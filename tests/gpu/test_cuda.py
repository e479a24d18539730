"""On a CUDA device everything is as on the CPU: updates, search, resuming; and an update asks the device nothing.

Run by make test-gpu on a machine that has one; tests/models/test_fake_cuda.py finds mistakes of devices elsewhere.
"""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_close
from model_cases import NAMES, batch_of, build
from train_fakes import FakeBatches
from train_loops import found, run

from nmt.device import Precision, set_up
from nmt.search import DecodeConfig, translate_ids
from nmt.train.config import TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
TRAINED = [
    "lstm: global",
    "lstm: global concat",
    "lstm: global unfed",
    "lstm: bahdanau",
    "lstm: local_p",
    "lstm: local_p concat",
    "lstm: local_m unfed",
    "transformer: before",
    "transformer: local rotary",
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products in the precision of their inputs, and not in TF32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        yield


def updated(model: Any, device: torch.device, **config: Any) -> tuple[list[torch.Tensor], dict[str, float]]:
    """The parameters after three updates by plain gradients on ``device``, and the figures of the log."""
    model = copy.deepcopy(model).to(device).train()
    optim = OptimConfig(warmup=0, name=OptimizerName.sgd, lr=0.05)
    updater = Updater(model, TrainerConfig(**config), optim, Precision.fp32, device, Ranks())
    for number in (1, 2, 3):
        updater.step([batch_of()], number, 0.0)
    figures, _ = updater.statistics.read(Ranks())
    return [p.detach().cpu() for p in model.parameters()], figures


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_updates_are_those_of_the_cpu(name, dtype):
    """Three updates with label smoothing and clipping."""
    model = build(name).to(dtype)
    expected, there = updated(model, CPU)
    got, here = updated(model, CUDA)
    atol = 1e-9 if dtype is torch.float64 else 2e-4
    for mine, theirs in zip(got, expected, strict=True):
        assert_close(mine, theirs, atol)
    assert here == pytest.approx(there, rel=1e-8 if dtype is torch.float64 else 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_maps_are_those_of_the_cpu(name):
    """In float64, for every configuration: -log p and gradients, and the maps in float32."""
    model, batch = build(name), batch_of()
    expected = model(batch, want_maps=True)
    gradients = torch.autograd.grad(expected.loss_sum, list(model.parameters()))
    model = model.to(CUDA)
    got = model(batch.to(CUDA), want_maps=True)
    assert_close(got.nll.cpu(), expected.nll, 1e-9)
    here = torch.autograd.grad(got.loss_sum, list(model.parameters()))
    for mine, theirs in zip(here, gradients, strict=True):
        assert_close(mine.cpu(), theirs, 1e-8)
    if got.maps is not None and expected.maps is not None:
        real = expected.nll != 0  # maps of padding mean nothing
        mine, theirs = (m.weights.detach().cpu().permute(0, 3, 1, 2, 4)[real] for m in (got.maps, expected.maps))
        assert_close(mine, theirs, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_search_is_that_of_the_cpu(name):
    """The same ids, and scores, of beam search in float64."""
    model = build(name)
    sources = [row[:length].tolist() for row, length in zip(batch_of().source, batch_of().source_lengths, strict=True)]
    config = DecodeConfig(beam_size=4, n_best=2, max_length=12, precision=Precision.fp32)
    expected = translate_ids(model, sources, config, CPU)
    got = translate_ids(model.to(CUDA), sources, config, CUDA)
    for mine, theirs in zip(got, expected, strict=True):
        assert [h.ids for h in mine] == [h.ids for h in theirs]
        assert [h.score for h in mine] == pytest.approx([h.score for h in theirs], abs=1e-8)


@pytest.mark.parametrize("name", ["lstm: global", "lstm: global uni reversed", "lstm: global deep residual"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_encoder_is_that_of_the_cpu(name, bf16):
    """cuDNN's layers against the equations' in float32, over sentences of very different lengths, padded and not."""
    model, batch = build(name).float(), batch_of()
    expected = model(batch).nll
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        got = model.to(CUDA)(batch.to(CUDA)).nll.cpu()
    torch.testing.assert_close(got, expected, rtol=0, atol=0.3 if bf16 else 2e-4)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_an_update_does_not_wait_for_the_device(name, r_drop):
    """torch reports, and here refuses, whatever makes the host wait; the first update may, while it allocates."""
    model = build(name, dropout=0.1).float().to(CUDA).train()
    config = TrainerConfig(r_drop=r_drop, ema=0.99)
    updater = Updater(model, config, OptimConfig(warmup=0), Precision.bf16, CUDA, Ranks())
    updater.step([batch_of()], 1, 0.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        updater.step([batch_of()], 2, 0.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def batches() -> FakeBatches:
    """Four batches of six sentences."""
    pairs = [
        ([4 + i * k % 8 for k in range(1 + i % 7)], [4 + (i + k) % 8 for k in range(1 + i % 5)]) for i in range(24)
    ]
    made = FakeBatches()
    made.batches = [batch_of(pairs[n : n + 6]) for n in range(0, 24, 6)]
    return made


@pytest.mark.parametrize("name", ["lstm: local_p", "transformer: before"])
def test_resuming_is_exact(name, tmp_path, monkeypatch):
    """With deterministic=true a run that stops and goes on ends with the weights of one that does not, bit by bit."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_up(None, deterministic=True)
    try:
        whole = trained(name, tmp_path / "whole", 12)
        trained(name, tmp_path / "parts", 6)
        parts = trained(name, tmp_path / "parts", 12, resume=True)
    finally:
        set_up(None, deterministic=False)
    for mine, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def trained(name: str, directory: Path, steps: int, resume: bool = False) -> Any:
    """A model after so many updates of a run."""
    model = build(name, dropout=0.2, seed=5 if resume else 1).float().to(CUDA)
    directory.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # an operation that has no deterministic form
        run(
            directory,
            lambda model, step: found(float(step)),
            resume=resume,
            model=model,
            batches=batches(),
            optim=OptimConfig(warmup=0, lr=0.01),
            device=CUDA,
            max_steps=steps,
            validate_every=3,
        )
    return model
