"""Any number of sentences, a batch at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from nmt.batch import UNK, pad
from nmt.device import Precision, autocast, resolve_precision
from nmt.models.held import hold_weights
from nmt.models.seq2seq import Seq2Seq
from nmt.search.config import DecodeConfig

Result = TypeVar("Result")


def in_batches(
    work: Callable[[list[int], Tensor, Tensor], list[Result]],
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    config: DecodeConfig,
    device: torch.device,
    precision: Precision | None,
    progress: Callable[[int], object] | None,
) -> list[Result]:
    """``work`` on all sources, ``config.batch_size`` at once; its results in the order of the sources.

    ``work`` gets which sources it is given, their ids (B, S) and lengths (B,), with the model in eval mode, its weights
    held and under autocast; the model's mode is put back afterwards.  Sentences of similar length go together, the
    longest first, so that memory runs out at the start or not at all.  An empty source becomes the single id UNK.
    """
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    result: dict[int, Result] = {}
    training = model.training
    model.eval()
    try:
        with hold_weights(model), autocast(resolve_precision(precision or config.precision, device), device):
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                rows = [list(sources[i]) or [UNK] for i in chosen]
                lengths = torch.tensor([len(row) for row in rows], device=device)
                result.update(zip(chosen, work(chosen, pad(rows).to(device), lengths), strict=True))
                if progress is not None:
                    progress(len(chosen))
    finally:
        model.train(training)
    return [result[i] for i in range(len(sources))]
