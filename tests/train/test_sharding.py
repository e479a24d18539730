"""trainer.strategy=fsdp: two processes with a share each are one process, and their checkpoints are whole."""

import os
import socket
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.multiprocessing as mp
from train_fakes import WORDS, FakeBatches

from nmt.cli import train
from nmt.device import Precision
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import LocalPConfig
from nmt.models.lstm.config import Tied
from nmt.models.seq2seq import Seq2Seq
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints
from nmt.train.config import Strategy, TrainerConfig
from nmt.train.distributed import Ranks, join_processes
from nmt.train.log import LoggerConfig, RunLog, Validation
from nmt.train.loop import Trainer
from nmt.train.optim import OptimConfig

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "hidden_size": 6,
    "dropout": 0.0,
}  # the rows of no matrix divide evenly between two in all cases
MODELS = {
    "transformer": TransformerConfig(
        heads=2, ffn_size=9, num_layers=2, tied=Tied.all, self_attention=GlobalSelfAttentionConfig(), **SIZES
    ),
    "cross": TransformerConfig(
        **{"heads": 2, "ffn_size": 9, "num_layers": 2, "self_attention": GlobalSelfAttentionConfig(), **SIZES},
        cross_attention=LocalPConfig(hidden_size=5, half_width=2, heads=2),
    ),
    "lstm": LSTMConfig(attention=LocalPConfig(hidden_size=5), num_layers=2, **SIZES),
}


def trained(name: str, ranks: Ranks, folder: Path, strategy: Strategy, *, steps: int, resume: bool = False) -> None:
    """A training in float64 with EMA, clipping, R-Drop and accumulation; first weights differ from rank to rank."""
    torch.manual_seed(ranks.rank)
    model = build_model(MODELS[name], WORDS, WORDS, joint=True, label_smoothing=0.1).double()
    config = TrainerConfig(
        *(steps,), validate_every=2, accumulate=2, clip=0.5, ema=0.9, r_drop=1.0, precision=Precision.fp32
    )  # fmt: skip
    config.strategy = strategy

    def validate(model: Seq2Seq, step: int) -> Validation:
        assert ranks.main
        assert all(type(p.data) is torch.Tensor for p in model.parameters())
        return Validation({"loss": model(FakeBatches().longest()).nll.double().sum().item()})

    done = checkpoint.load(folder / checkpoint.LAST)["step"] if resume else 0
    with RunLog(folder, LoggerConfig(every=1, tensorboard=False), main=ranks.main, step=done) as log:
        batches = FakeBatches(sentences=5, rank=ranks.rank, size=ranks.size)
        store, optim = RunCheckpoints(folder, config), OptimConfig(lr=0.02, eps=1e-3)
        trainer = Trainer(
            model, batches, validate, config=config, optim=optim, log=log, checkpoints=store, device=CPU, ranks=ranks
        )
        trainer.run(resume)
    if strategy is Strategy.fsdp:
        held = sum(p.to_local().numel() for p in model.parameters())  # pyright: ignore[reportAttributeAccessIssue]
        assert held < 0.7 * sum(p.numel() for p in model.parameters())


def worker(rank: int, folder: Path, port: int) -> None:
    """What torchrun would start; one half of each training goes on from the checkpoint of the other half."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with join_processes(CPU) as ranks:
        for name in MODELS:
            trained(name, ranks, folder / name, Strategy.fsdp, steps=3)
            trained(name, ranks, folder / name, Strategy.fsdp, steps=6, resume=True)


def numbers(tree: Any) -> Any:
    """Everything in a checkpoint that training computes, as nested lists and dictionaries of float64 tensors."""
    if isinstance(tree, dict):
        return {key: numbers(value) for key, value in tree.items()}
    return tree.double() if isinstance(tree, torch.Tensor) else None


@pytest.mark.slow  # each process imports torch anew
def test_two_processes_with_shares_are_one_process(tmp_path):
    """In float64, weights, averages and optimizer, over a resumption; and one process goes on from their checkpoint."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(worker, (tmp_path, port), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for name in MODELS:
        trained(name, Ranks(), tmp_path / f"alone-{name}", Strategy.ddp, steps=6)
        folders = tmp_path / name, tmp_path / f"alone-{name}"
        for file in (checkpoint.LAST, checkpoint.BEST):
            shared, alone = (checkpoint.load(folder / file) for folder in folders)
            for key in ("model", "optimizer", "ema"):
                assert (key in shared) == (key in alone)
                torch.testing.assert_close(numbers(shared.get(key)), numbers(alone.get(key)), rtol=1e-9, atol=1e-10)
        trained(name, Ranks(), folders[0], Strategy.ddp, steps=8, resume=True)
        trained(name, Ranks(), folders[1], Strategy.ddp, steps=8, resume=True)
        states = [checkpoint.load(folder / checkpoint.LAST)["model"] for folder in folders]
        torch.testing.assert_close(*states, rtol=1e-9, atol=1e-10)


def test_what_cannot_be_shared_is_refused_with_the_reason(monkeypatch):
    assert "trainer.strategy=fsdp needs optim=adam or adamw" in said(train, "trainer.strategy=fsdp", "optim=sgd")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    message = said(train, "trainer.strategy=fsdp")
    assert "trainer.strategy=fsdp gives each of several processes a share" in message
    assert "torchrun --nproc-per-node=N" in message
    assert "\n" not in message


def said(module: Any, *words: str) -> str:
    """The message with which the command ends."""
    with patch.object(sys, "argv", ["nmt", *words]), pytest.raises(SystemExit) as caught:
        module.main()
    return str(caught.value.code)
