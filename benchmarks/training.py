"""Tokens a second, peak memory and the share of time outside matrix products, of a training as it is configured.

    python benchmarks/training.py +experiment=multi30k_en_de threads=2
    python benchmarks/training.py --steps 500 model.attention=local_p

Takes the overrides of python -m nmt.train and makes the updates that it would make, without validations and files.
"""

import argparse
import resource
import time
from itertools import islice
from typing import cast

import torch
from lstm_step import profile

from nmt.cli import compose
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.data.batching import TrainBatches
from nmt.data.prepare import prepare
from nmt.device import resolve_device, resolve_precision, seed_everything, set_up
from nmt.models import build_model
from nmt.train.distributed import Ranks
from nmt.train.step import Updater

WARM_UP = 20  # updates before the clock starts


def peak() -> float:
    """Largest resident set of this process so far, in MB of a million bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="updates that are timed")
    parser.add_argument("--profiled", type=int, default=5, help="updates under the profiler afterwards")
    options, overrides = parser.parse_known_args()
    compose.register(COMMAND)
    config = cast(Config, compose.configs(COMMAND, overrides))
    device = resolve_device(config.device)
    set_up(config.threads, config.deterministic)
    data = prepare(config.data, config.seed)
    seed_everything(config.seed)
    sizes = data.tokenizers.source.size, data.tokenizers.target.size
    model = build_model(config.model, *sizes, data.tokenizers.joint, config.trainer.label_smoothing).to(device)
    precision = resolve_precision(config.trainer.precision, device)
    updater = Updater(model, config.trainer, config.optim, precision, device, Ranks())
    batches = iter(TrainBatches(data.train, config.data.batching, config.seed))
    number = 0

    def updates(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            updater.step(list(islice(batches, config.trainer.accumulate)), number, epoch=0.0)

    updates(WARM_UP)
    updater.statistics.read(Ranks())
    print(f"{precision.name}, {torch.get_num_threads()} threads; {peak():.0f} MB after {WARM_UP} updates")
    start, start_cpu = time.perf_counter(), time.process_time()
    updates(options.steps)
    facts, _ = updater.statistics.read(Ranks())
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    wall = f"{seconds / options.steps * 1e3:.0f} ms an update"
    print(f"{facts['tokens'] / seconds:,.0f} target tokens/s, {wall}, {cpu / options.steps * 1e3:.0f} ms of CPU time")
    print(f"{peak():.0f} MB at most after {number} updates")
    print(profile(lambda: updates(options.profiled)))


if __name__ == "__main__":
    main()
