"""The table of forms that a model can be exported to, and what all of them have in common."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from nmt.atomic import whole_folder
from nmt.errors import ConfigError, RunError
from nmt.export.ctranslate2_export import export_ctranslate2
from nmt.export.huggingface_export import export_huggingface
from nmt.export.onnx_export import ONNX_TYPES, export_onnx
from nmt.export.quantization import Quantization
from nmt.export.request import RECORD, ExportRequest
from nmt.export.run_export import export_run_copy
from nmt.export.safetensors_export import DTYPES, export_safetensors
from nmt.runs.directory import Run
from nmt.runs.ensemble import EnsembleRun

__all__ = ["EXPORTS", "ExportRequest", "export", "export_request"]


class Form(NamedTuple):
    """A form of exported models."""

    summary: str  # a line for --help
    # Writes everything into a folder that is there and empty, and returns a message; raises UserError if it cannot be.
    write: Callable[[ExportRequest, Path], str]
    quantizations: Collection[Quantization]  # what ``ExportRequest.quantization`` may be
    card: bool = False  # whether there is a model card, with ``ExportRequest.license``


EXPORTS: dict[str, Form] = {
    "ctranslate2": Form(
        "the Transformer for CTranslate2, with its tokenizer and an example", export_ctranslate2, Quantization
    ),
    "onnx": Form("the LSTM or the Transformer for ONNX: an encoder and a step of the decoder", export_onnx, ONNX_TYPES),
    "safetensors": Form(
        "any model as a folder that nmt.load and run=DIR read, without pickle", export_safetensors, DTYPES
    ),
    "huggingface": Form("the same with a model card, for the Hugging Face hub", export_huggingface, DTYPES, card=True),
    "run": Form(
        "a slim copy of the run to give away: no optimizer, no logs, no private paths", export_run_copy, DTYPES
    ),
}


def export(request: ExportRequest) -> tuple[Path, str]:
    """Write the folder that ``request`` describes; returns it with a message about it.

    What cannot be exported, or does not translate as this project does, leaves nothing, and an earlier export as it
    was.  Raises ConfigError, RunError where the folder cannot be written.
    """
    form, output = EXPORTS[request.to], request.folder
    if request.quantization is not None and request.quantization not in form.quantizations:
        able = [f"to={name}" for name, other in EXPORTS.items() if request.quantization in other.quantizations]
        raise ConfigError(
            f"quantization={request.quantization.name} is for {' or '.join(able)}, not for to={request.to}"
        )
    if request.license is not None and not form.card:
        able = [f"to={name}" for name, other in EXPORTS.items() if other.card]
        raise ConfigError(f"license={request.license} is for {' or '.join(able)}, not for to={request.to}")
    if output.exists() and not is_export(output):
        raise ConfigError(f"output={output} is there and is no export: type another output=DIR, or remove it")
    try:
        with whole_folder(output) as draft:
            message = form.write(request, draft)
    except OSError as error:
        raise RunError(f"output={output} could not be written: {error}") from None
    return output, message


def export_request(
    run: Run | EnsembleRun,
    to: str,
    checkpoint: str,
    quantization: str | None,
    output: str | Path | None,
    license: str | None,
) -> ExportRequest:
    """What a Python program asks for by names; raises ConfigError for a name that is none, and for an ensemble."""
    for key, value, table in (("to", to, EXPORTS), ("quantization", quantization, Quantization.__members__)):
        if value is not None and value not in table:
            raise ConfigError(f"{key}={value} is not one of {', '.join(table)}")
    if isinstance(run, EnsembleRun):
        raise ConfigError(f"{run.name} is an ensemble, and an export holds one model: load one run")
    kind = None if quantization is None else Quantization[quantization]
    return ExportRequest(run, to, checkpoint, kind, None if output is None else Path(output), license)


def is_export(folder: Path) -> bool:
    """Whether a folder may be replaced: it is an earlier export, or empty."""
    return folder.is_dir() and ((folder / RECORD).is_file() or not any(folder.iterdir()))
