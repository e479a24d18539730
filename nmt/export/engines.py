"""Which program runs the model in search: torch, or another with an export that is made once and kept in the run."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

import torch

from nmt.device import Precision, resolve_precision
from nmt.errors import ConfigError
from nmt.export.ctranslate2_engine import CTranslate2Engine, ModelFacts, check_options, compute_type
from nmt.export.ctranslate2_model import vocabulary
from nmt.export.exports import export
from nmt.export.onnx_export import ONNX_TYPES, onnx_engine
from nmt.export.onnx_model import NO_ATTENTION
from nmt.export.quantization import Quantization
from nmt.export.request import FORMAT, ExportRequest, read_record
from nmt.runs.directory import Run
from nmt.runs.ensemble import EnsembleRun
from nmt.search import DecodeConfig
from nmt.search.engine import Engine, ModelEngine

ENGINES = "engines"  # folder of a run directory with what other programs run


class EngineKind(Enum):
    """The program that runs the model."""

    torch = "torch"  # this project's own search of the model
    ctranslate2 = "ctranslate2"  # CTranslate2's search of the exported model
    onnx = "onnx"  # this project's search of the exported model, whose steps onnxruntime computes


def open_engine(
    kind: EngineKind,
    run: Run | EnsembleRun,
    checkpoint: str,
    device: torch.device,
    decode: DecodeConfig,
    quantization: Quantization | None = None,
    say: Callable[[str], object] = lambda message: None,
) -> Engine:
    """What translates with a run; ``say`` is called with a line where an export has to be made first.

    Raises ConfigError for several runs, a model or options of ``decode`` that the program cannot have, a precision
    that the machine cannot have, and a library that is missing; RunError where the exported model does not translate
    as torch does.
    """
    check_quantization(kind, quantization)
    if kind is EngineKind.torch:
        resolve_precision(decode.precision, device)  # what this machine lacks is refused before any text comes
        return ModelEngine(run.load_model(checkpoint, device)[0], device)
    if isinstance(run, EnsembleRun):
        raise ConfigError(f"engine={kind.name} runs one model; {run.name} is an ensemble, for engine=torch")
    if kind is EngineKind.onnx:
        check_onnx(decode, device)
        folder = kept_export(run, kind.name, checkpoint, say, quantization)
        return onnx_engine(folder, read_record(folder))
    check_options(decode)
    name = compute_type(decode.precision, quantization, device)
    folder = kept_export(run, kind.name, checkpoint, say)
    record = read_record(folder)
    facts = ModelFacts(*(record[key] for key in ModelFacts._fields))
    words = vocabulary(run.tokenizers.source), vocabulary(run.tokenizers.target)
    return CTranslate2Engine(
        folder, words, facts, device, name, lambda: ModelEngine(run.load_model(checkpoint, device)[0], device)
    )


def check_quantization(kind: EngineKind, quantization: Quantization | None) -> None:
    """Raise ConfigError for a type of weights that belongs to other engines."""
    if quantization is not None and kind is EngineKind.torch:
        raise ConfigError(f"quantization={quantization.name} is for engine=ctranslate2 or engine=onnx")
    if kind is EngineKind.onnx and quantization not in (None, *ONNX_TYPES):
        there = " and ".join(f"quantization={one.name}" for one in ONNX_TYPES)
        raise ConfigError(f"quantization={quantization.name} is not to be had with engine=onnx, which has {there}")


def check_onnx(decode: DecodeConfig, device: torch.device) -> None:
    """Raise ConfigError, naming the key, for what the exported graphs cannot do."""
    if device.type != "cpu":
        raise ConfigError(f"device={device}: engine=onnx runs on the CPU; type device=cpu")
    if decode.precision not in (Precision.fp32, Precision.auto):
        raise ConfigError(f"decode.precision={decode.precision.name}: engine=onnx computes in fp32")
    if decode.coverage > 0:
        raise ConfigError(f"decode.coverage={decode.coverage} needs attention; {NO_ATTENTION}")


def kept_export(
    run: Run, to: str, checkpoint: str, say: Callable[[str], object], quantization: Quantization | None = None
) -> Path:
    """The folder in a run directory with the exported weights, which is made where they are not these weights."""
    parts = [to, checkpoint.replace(":", "-"), *([] if quantization is None else [quantization.name])]
    folder = run.directory / ENGINES / "-".join(parts)
    request = ExportRequest(run, to, checkpoint, quantization, folder)
    record = read_record(folder)
    if (record.get("format"), record.get("weights")) != (FORMAT, request.weights):
        say(f"exporting {run.name} to {folder}, once for these weights")
        _, message = export(request)
        say(message)
    return folder
