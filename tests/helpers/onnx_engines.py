"""Models in ONNX beside the same in torch."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from exported import CPU

from nmt.device import Precision
from nmt.export.onnx_export import trace_model
from nmt.export.onnx_model import OnnxModel, onnx_facts
from nmt.models.seq2seq import Seq2Seq
from nmt.search import DecodeConfig
from nmt.search.engine import ModelEngine

FP32 = DecodeConfig(precision=Precision.fp32, max_length=8, n_best=3, batch_size=3)


def engine_of(model: Seq2Seq, folder: Path) -> ModelEngine:
    """The model, exported into a folder, with one thread."""
    trace_model(model, "model", folder)
    return load_engine(model, folder)


def load_engine(model: Seq2Seq, folder: Path) -> ModelEngine:
    """The exported model in a folder."""
    return ModelEngine(OnnxModel(folder, onnx_facts(model), 1), CPU)


def compare_with_torch(model: Seq2Seq, pairs: Sequence[tuple[list[int], list[int]]], folder: Path) -> None:
    """Assert that both give the same: in batches of sentences of different lengths, some much longer than what was
    traced, and one by one."""
    ours, theirs, sources = ModelEngine(model, CPU), engine_of(model, folder), [source for source, _ in pairs]
    for config in (FP32, replace(FP32, beam_size=1, n_best=1, batch_size=1)):
        expected, found = (engine.translate_ids(sources, config) for engine in (ours, theirs))
        assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]
        for a, b in zip(chain(*found), chain(*expected), strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)
    targets = [[target, target[:2]] for _, target in pairs]
    for a, b in zip(*(chain(*engine.score_ids(sources, targets, FP32)) for engine in (ours, theirs)), strict=True):
        assert a.tokens == pytest.approx(b.tokens, rel=1e-4, abs=1e-4)
