"""to=ctranslate2: the folder with model, tokenizer and example, checked before anybody sees it."""

from pathlib import Path

import torch

from nmt.data.tokenizer import Tokenizers
from nmt.export.check import agreement, check_export, own_text
from nmt.export.ctranslate2_engine import CTranslate2Engine, ModelFacts
from nmt.export.ctranslate2_model import check_model, longest_sequence, vocabulary, write_model
from nmt.export.example import ctranslate2_example
from nmt.export.quantization import Quantization
from nmt.export.request import RECORD, ExportRequest
from nmt.models.transformer.model import Transformer
from nmt.runs.directory import TOKENIZER, write_json, write_text_file
from nmt.search.engine import ModelEngine

CPU = torch.device("cpu")


def export_ctranslate2(request: ExportRequest, folder: Path) -> str:
    """Write the model, check it in float32 against torch, and only then quantize it; see ``nmt.export.export``."""
    run, name = request.run, request.run.name
    model, step = run.load_model(request.checkpoint, CPU)
    transformer = check_model(model, name)
    facts = facts_of(transformer)
    ours = ModelEngine(transformer, CPU)
    write_model(transformer, run.tokenizers, folder)
    checked = check_export(run, ours, engine_in(folder, run.tokenizers, facts, "float32"), name)
    message = str(checked)
    if request.quantization not in (None, Quantization.fp32):
        write_model(transformer, run.tokenizers, folder, request.quantization.value)
        found = agreement(run, ours, engine_in(folder, run.tokenizers, facts, "default"))
        message += f"\nwith quantization={request.quantization.name}, {found}"
    run.tokenizers.save(folder / TOKENIZER)
    text = next(iter(own_text(run)[1]), "A man in an orange hat.")
    write_text_file(folder / "example.py", ctranslate2_example(run.tokenizers, text))
    write_json(folder / RECORD, request.record(step=step, check=checked._asdict(), **facts._asdict()))
    return message


def facts_of(model: Transformer) -> ModelFacts:
    """What search must know of an exported Transformer."""
    longest = longest_sequence(model.config)
    return ModelFacts(model.source_eos, longest, longest)


def engine_in(folder: Path, tokenizers: Tokenizers, facts: ModelFacts, compute_type: str) -> CTranslate2Engine:
    """CTranslate2 with the model in a folder, on the CPU."""
    vocabularies = vocabulary(tokenizers.source), vocabulary(tokenizers.target)
    return CTranslate2Engine(folder, vocabularies, facts, CPU, compute_type, own=None)
