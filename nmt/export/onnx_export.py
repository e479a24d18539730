"""to=onnx: the folder with the graphs of encoder and step, and the tokenizer, checked before anybody sees it."""

import copy
from pathlib import Path
from typing import Any

import torch

from nmt.errors import ConfigError, UserError
from nmt.export.check import agreement, check_export
from nmt.export.onnx_graphs import graphs_of
from nmt.export.onnx_model import ENCODER, STEP, OnnxModel, onnx_facts, quiet, write_graphs
from nmt.export.quantization import Quantization
from nmt.export.request import RECORD, ExportRequest
from nmt.libraries import needed
from nmt.models.seq2seq import Seq2Seq
from nmt.runs.directory import TOKENIZER, write_json
from nmt.search.engine import ModelEngine

CPU = torch.device("cpu")
ONNX_TYPES = (Quantization.fp32, Quantization.int8)
# Operators.  Tables of vectors stay as they are, and so does the LSTM of the encoder: it marks padding by a weight of
# 10,000 (nmt/models/ops/lstm_layer.py), beside which 8 bits leave nothing of the others.
QUANTIZED = ["MatMul", "Gemm"]


def export_onnx(request: ExportRequest, folder: Path) -> str:
    """Write the graphs, check them in float32 against torch, and only then quantize; see ``nmt.export.export``."""
    run, name = request.run, request.run.name
    needed("onnxruntime", "to=onnx")
    model, step = run.load_model(request.checkpoint, CPU)
    trace_model(model, name, folder)
    facts = onnx_facts(model)
    ours = ModelEngine(model, CPU)
    checked = check_export(run, ours, onnx_engine(folder, facts), name)
    message = str(checked)
    if request.quantization is Quantization.int8:
        quantize(folder)
        message += f"\nwith quantization=int8, {agreement(run, ours, onnx_engine(folder, facts))}"
    run.tokenizers.save(folder / TOKENIZER)
    write_json(folder / RECORD, request.record(step=step, check=checked._asdict(), **facts))
    return message


def trace_model(model: Seq2Seq, name: str, folder: Path) -> None:
    """Write both graphs; raises ConfigError, beginning with ``name``, where the exporter cannot."""
    graphs = graphs_of(copy.deepcopy(model), name)
    try:
        write_graphs(graphs, folder)
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # torch.onnx's own errors are RuntimeErrors
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} cannot be exported to ONNX: {reason}") from error


def quantize(folder: Path) -> None:
    """Put 8-bit weights in the place of float32; what they are multiplied by is quantized as it comes.

    Unsigned ones: the products of signed ones overflow on processors without VNNI (onnxruntime's documentation).
    """
    runtime, library = (needed(name, "quantization=int8") for name in ("onnxruntime", "onnxruntime.quantization"))
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    for file in (ENCODER, STEP):
        path, folded = folder / file, folder / f"folded-{file}"
        # Only weights that stand in the graph as they are used are quantized: what is computed of them is folded.
        options.optimized_model_filepath = str(folded)
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        with quiet():
            library.quantize_dynamic(
                str(folded), str(path), weight_type=library.QuantType.QUInt8, op_types_to_quantize=QUANTIZED
            )
        folded.unlink()


def onnx_engine(folder: Path, facts: dict[str, Any]) -> ModelEngine:
    """This project's search with the model in a folder, on as many threads as torch has."""
    return ModelEngine(OnnxModel(folder, facts, torch.get_num_threads()), CPU)
