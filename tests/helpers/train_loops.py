"""Short trainings of the fake model, for tests of the loop."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from train_fakes import FakeBatches, FakeModel

from nmt.device import Precision, seed_everything
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints
from nmt.train.config import TrainerConfig
from nmt.train.interfaces import Batches
from nmt.train.log import LoggerConfig, RunLog, Validation
from nmt.train.loop import Trainer, TrainingResult
from nmt.train.optim import OptimConfig

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
    model: Any = None,
    batches: Batches | None = None,
    optim: OptimConfig | None = None,
    device: torch.device = CPU,
    **config,
) -> tuple[TrainingResult, Any]:
    """Train a fresh model from fixed seeds; a resumed one starts from other seeds, which must not matter."""
    torch.manual_seed(99 if resume else 0)
    random.seed(99 if resume else 0)
    model = model or FakeModel(dropout=0.3)
    settings = TrainerConfig(
        **{"max_steps": 20, "validate_every": 5, "metric": "loss", "precision": Precision.fp32, **config}
    )
    step = checkpoint.saved_step(directory / checkpoint.LAST) if resume else 0
    with RunLog(directory, QUIET, step=step) as log:
        trainer = Trainer(
            model,
            batches or FakeBatches(),
            validate,
            config=settings,
            optim=optim or OptimConfig(warmup=0, lr=0.02),
            log=log,
            checkpoints=RunCheckpoints(directory, settings),
            device=device,
        )
        return trainer.run(resume), model


def lines(directory: Path, event: str) -> list[dict]:
    found = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [line for line in found if line["event"] == event]
