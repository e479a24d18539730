"""to=safetensors: weights, configuration and tokenizer as a folder that ``nmt.load`` and all commands read as a run."""

from pathlib import Path

import torch

from nmt.config import Config
from nmt.errors import RunError
from nmt.export.check import agreement
from nmt.export.quantization import Quantization
from nmt.export.request import RECORD, ExportRequest
from nmt.models.seq2seq import Seq2Seq
from nmt.runs.directory import TOKENIZER, Run, save_config, write_json
from nmt.runs.plugins import copy_plugins
from nmt.runs.safetensors_file import WEIGHTS_FILE, save_weights
from nmt.search.engine import ModelEngine

CPU = torch.device("cpu")
DTYPES = {Quantization.fp32: None, Quantization.fp16: torch.float16, Quantization.bf16: torch.bfloat16}


def export_safetensors(request: ExportRequest, folder: Path) -> str:
    """Write the folder, and read it back to see that it is the same model; see ``nmt.export.export``."""
    step, message = write_run(request, folder, request.run.config)
    write_json(folder / RECORD, request.record(step=step, check=message))
    return message


def write_run(request: ExportRequest, folder: Path, config: Config) -> tuple[int, str]:
    """Write weights, ``config`` and tokenizer of a run, and check them; returns the weights' step and a message.

    Raises RunError where what is read back is another model.
    """
    run = request.run
    model, step = run.load_model(request.checkpoint, CPU)
    dtype = DTYPES[request.quantization or Quantization.fp32]
    save_weights(folder / WEIGHTS_FILE, model.state_dict(), step, dtype)
    save_config(folder, config)
    run.tokenizers.save(folder / TOKENIZER)
    code = copy_plugins(run.directory, folder)
    back = Run.open(folder)
    again, _ = back.load_model("best", CPU)
    same_text = back.config.model == run.config.model and back.tokenizers.digest() == run.tokenizers.digest()
    if not (same_text and (dtype is not None or same_weights(model, again))):
        raise RunError(f"{run.name}: what was read back from {folder} is another model: nothing was exported")
    if dtype is None:
        message = "read back, it is the same model in every bit"
    else:
        found = agreement(run, ModelEngine(model, CPU), ModelEngine(again, CPU))
        message = f"with weights in {str(dtype).removeprefix('torch.')}, {found}"
    return step, f"{message}; {code}" if code else message


def same_weights(model: Seq2Seq, other: Seq2Seq) -> bool:
    """Whether both have the same numbers under the same names."""
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
