"""Any number of sentences, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from nmt.batch import UNK, pad
from nmt.device import Precision, autocast, limits_explained, resolve_precision
from nmt.models.ops.int8 import int8_weights
from nmt.models.ops.prepacked import cached_weights
from nmt.models.seq2seq import Seq2Seq
from nmt.search.config import DecodeConfig

Found = TypeVar("Found")

# Batches searched at once on a CPU, at most.  A step of search has few rows, which keep two threads less busy than two
# such steps keep one each: with beam 5 and two threads, 4, 8 and 32 sentences a batch are found 1.2 to 1.8 times as
# fast two at once (LSTM of width 512 and Transformer of 256, Zen 4, torch 2.13), single sentences no faster.  Python's
# global interpreter lock, which a step takes between its products, limits the gain; beyond two nothing was measured.
WORKERS = 4


def in_batches(
    work: Callable[[list[int], Tensor, Tensor], list[Found]],
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    config: DecodeConfig,
    device: torch.device,
    precision: Precision | None,
    progress: Callable[[int], object] | None,
) -> list[Found]:
    """``work`` on all sources, ``config.batch_size`` at once; its results in the order of the sources.

    ``work`` gets the indices of its sources, their ids (B, S) and lengths (B,).  It runs under autocast, with the model
    in eval mode and what search prepares of its weights cached; afterwards the model is in its former mode.

    Sentences of similar length go together, the longest first, so that memory runs out at the start or not at all.  An
    empty source becomes the single id UNK.

    On a CPU several batches are searched at once (``WORKERS``), each on its share of torch's threads.
    """
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    groups = [order[start : start + config.batch_size] for start in range(0, len(order), config.batch_size)]
    resolved = resolve_precision(precision or config.precision, device)

    def one(chosen: list[int]) -> list[Found]:
        rows = [list(sources[i]) or [UNK] for i in chosen]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        explained = limits_explained(device, lambda: describe_sources(rows, config))
        with explained, autocast(resolved, device), int8_weights(resolved is Precision.int8), cached_weights(model):
            return work(chosen, pad(rows).to(device), lengths)

    result: dict[int, Found] = {}
    items = len(groups) if config.batch_size > 1 else 1
    with evaluating(model), cached_weights(model), at_once(device, items) as each:
        for chosen, found in zip(groups, each(one, groups), strict=True):
            result.update(zip(chosen, found, strict=True))
            if progress is not None:
                progress(len(chosen))
    return [result[i] for i in range(len(sources))]


def describe_sources(rows: Sequence[Sequence[int]], config: DecodeConfig) -> str:
    """What it is that does not fit in memory, and what to do."""
    longest = max(len(row) for row in rows)
    return f"{len(rows)} sentences of up to {longest} source pieces; lower decode.batch_size={config.batch_size}"


@contextmanager
def evaluating(model: Seq2Seq) -> Iterator[None]:
    """Within, the model is in eval mode (no dropout); afterwards it is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def at_once(device: torch.device, items: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` that works on several items at once where that is faster; its results come in order."""
    threads = torch.get_num_threads()
    workers = min(threads, items, WORKERS) if device.type == "cpu" else 1
    if workers < 2:
        yield map
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
