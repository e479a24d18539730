"""Two processes are one process with the same global batch."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from train_fakes import WORDS, FakeBatches, FakeModel, OneOfTwo, rows, weights

from nmt.device import Precision
from nmt.errors import UserError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import ATTENTIONS, GlobalConfig, HardConfig, MonotonicConfig
from nmt.models.lstm.config import EncoderBlock, Tied
from nmt.models.transformer.config import LocalSelfAttentionConfig
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints
from nmt.train.config import Normalization, TrainerConfig
from nmt.train.distributed import Ranks, join_processes, one_message
from nmt.train.log import LoggerConfig, RunLog, Validation
from nmt.train.loop import Trainer
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"hidden_size": 8, "dropout": 0.0}
# In training their weights depend on random numbers, which each process draws for itself.
DRAWING = (HardConfig, MonotonicConfig)
REAL = {
    **{a.name: LSTMConfig(attention=a(), num_layers=2, **SIZES) for a in ATTENTIONS if a not in DRAWING},
    "monotonic": LSTMConfig(attention=MonotonicConfig(noise=0.0), num_layers=2, **SIZES),
    "non-local": LSTMConfig(attention=GlobalConfig(score="concat"), encoder_block=EncoderBlock.non_local, **SIZES),
    "transformer": TransformerConfig(
        heads=2, ffn_size=8, num_layers=2, tied=Tied.all, self_attention=LocalSelfAttentionConfig(half_width=1), **SIZES
    ),
}


def work(ranks: Ranks, directory: Path, config: TrainerConfig, resume: bool = False) -> torch.Tensor:
    """Train a model whose first weights differ from rank to rank; returns the last ones."""
    torch.manual_seed(ranks.rank)
    model = FakeModel()
    batches = FakeBatches(sentences=5, rank=ranks.rank, size=ranks.size)

    def validate(model, step):
        assert ranks.main
        output = model(FakeBatches().longest())
        return Validation({"loss": output.nll.sum().item()})

    done = checkpoint.load(directory / checkpoint.LAST)["step"] if resume else 0
    with RunLog(directory, LoggerConfig(every=2, tensorboard=False), main=ranks.main, step=done) as log:
        trainer = Trainer(
            model,
            batches,
            validate,
            config=config,
            optim=OptimConfig(warmup=0, lr=0.02),
            log=log,
            checkpoints=RunCheckpoints(directory, config),
            device=CPU,
            ranks=ranks,
        )
        trainer.run(resume)
    return weights(model)


def settings(max_steps: int, normalization: Normalization) -> TrainerConfig:
    return TrainerConfig(
        max_steps=max_steps,
        validate_every=4,
        accumulate=2,
        clip=0.1,
        normalization=normalization,
        ema=0.9,
        metric="loss",
        precision=Precision.fp32,
    )


def real_model(config: Any, ranks: Ranks) -> torch.Tensor:
    """The last weights of a real model after three updates, of first weights that differ from rank to rank."""
    torch.manual_seed(ranks.rank)
    model = build_model(config, WORDS, WORDS, joint=True, label_smoothing=0.1).double()
    trainer = TrainerConfig(accumulate=2, r_drop=1.0, ema=0.9)
    sgd = OptimConfig(warmup=0, name=OptimizerName.sgd, lr=0.5)
    updater = Updater(model, trainer, sgd, Precision.fp32, CPU, ranks)
    stream = iter(FakeBatches(sentences=5, rank=ranks.rank, size=ranks.size))
    updater.try_longest(next(stream))
    for number in range(1, 4):
        updater.step([next(stream), next(stream)], number, 0.0)
    return weights(model)


def worker(rank: int, directory: Path, port: int) -> None:
    """What torchrun would start."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with join_processes(CPU) as ranks:
        assert (ranks.rank, ranks.size) == (rank, 2)
        assert ranks.sum(rank + 1.0, 5.0) == [3.0, 10.0]
        assert ranks.gather(rank) == [0, 1]
        assert ranks.broadcast(rank + 7) == 7
        for normalization in Normalization:
            folder = directory / normalization.name
            work(ranks, folder, settings(3, normalization))
            torch.save(work(ranks, folder, settings(6, normalization), resume=True), folder / f"weights{rank}.pt")
        torch.save({name: real_model(config, ranks) for name, config in REAL.items()}, directory / f"real{rank}.pt")


@pytest.mark.slow  # each process imports torch anew
def test_two_processes_are_one(tmp_path):
    """Same weights in float64 with an odd number of sentences, accumulation, clipping and a resumption."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(worker, (tmp_path, port), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for normalization in Normalization:
        alone = work(Ranks(), tmp_path / f"alone_{normalization.name}", settings(6, normalization))
        first, second = (torch.load(tmp_path / normalization.name / f"weights{rank}.pt") for rank in (0, 1))
        assert torch.equal(first, second)
        torch.testing.assert_close(first, alone, rtol=1e-10, atol=1e-12)
        last = checkpoint.load(tmp_path / normalization.name / checkpoint.LAST)
        assert len(last["rng"]) == 2
        average = checkpoint.load(tmp_path / f"alone_{normalization.name}" / checkpoint.LAST)["model"]
        torch.testing.assert_close(last["model"], average, rtol=1e-10, atol=1e-12)
        records = (tmp_path / normalization.name / "log.jsonl").read_text()
        assert records.count('"validation"') == 3  # steps 3 (the end of the first part), 4 and 6, once each
    real = [torch.load(tmp_path / f"real{rank}.pt") for rank in (0, 1)]
    for name, config in REAL.items():
        assert torch.equal(real[0][name], real[1][name]), name
        torch.testing.assert_close(real[0][name], real_model(config, Ranks()), rtol=1e-10, atol=1e-12)


def attempt(rank: int, number: int, port: int) -> None:
    """One process of an attempt of torchrun, whose store outlives it: the first attempt is killed once connected."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(number)}
    time.sleep(3 * rank * number)  # in the second attempt, rank 0 looks for rank 1 before that is there
    with join_processes(CPU) as ranks:
        assert ranks.sum(1.0) == [2.0]
        if number == 0:
            os._exit(0)


@pytest.mark.slow
def test_a_restart_does_not_look_for_the_processes_of_the_attempt_before():
    """torchrun --max-restarts keeps one store for all attempts."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for number in (0, 1):
        mp.spawn(attempt, (number, store.port), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]


LOST = "[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:42412: Connection reset by peer"


def test_one_process_speaks_for_those_that_miss_another():
    """After a process that said nothing, the first of them; after one that ended with an error, none."""
    store = torch.distributed.HashStore()
    with pytest.raises(UserError, match=r"another process .* has ended"), one_message(store):
        raise RuntimeError(LOST)
    with pytest.raises(SystemExit), one_message(store):
        raise RuntimeError(LOST)
    store = torch.distributed.HashStore()
    with pytest.raises(RuntimeError, match="a fault of its own"), one_message(store):
        raise RuntimeError("a fault of its own")
    with pytest.raises(SystemExit), one_message(store):
        raise torch.distributed.DistNetworkError("Connection was closed")
    with pytest.raises(ValueError, match="another fault"), one_message(store):
        raise ValueError("another fault")


@pytest.mark.parametrize("normalization", Normalization)
def test_the_mean_of_the_ranks_gradients_is_the_gradient_of_all(normalization):
    """DistributedDataParallel averages; shares of 3 and 2 sentences must still weigh 3 to 2."""
    batches = FakeBatches(sentences=5).batches[:2]
    tokens = sum(int((b.target_out != 0).sum()) for b in batches)
    total = tokens if normalization is Normalization.tokens else 10

    def step(ranks, group) -> torch.Tensor:
        torch.manual_seed(0)
        model = FakeModel()
        config = TrainerConfig(normalization=normalization, accumulate=2, clip=None)
        sgd = OptimConfig(warmup=0, name=OptimizerName.sgd, lr=1.0)
        before = weights(model)
        Updater(model, config, sgd, Precision.fp32, CPU, ranks).step(group, 1, 0.0)
        return before - weights(model)

    shares = [step(OneOfTwo(r, total), [rows(b, slice(r, None, 2)) for b in batches]) for r in (0, 1)]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, step(Ranks(), batches))


def test_alone_nothing_is_set_up():
    with join_processes(CPU) as ranks:
        assert not torch.distributed.is_initialized()
        assert (ranks.main, ranks.sum(1.5, 2), ranks.gather("x"), ranks.broadcast("y")) == (True, [1.5, 2], ["x"], "y")
        model = FakeModel()
        assert ranks.wrap(model, CPU) is model


@pytest.mark.parametrize("size", ["1", None])
def test_torchrun_with_one_process_is_alone(monkeypatch, size):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    with join_processes(CPU) as ranks:
        assert ranks == Ranks()
