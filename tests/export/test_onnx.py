"""Every LSTM and Transformer in ONNX: this project's search finds the same with the steps of onnxruntime."""

import copy
import json
import sys
from dataclasses import replace

import pytest
import torch
from exported import CPU, TRANSFORMERS, transformer_run
from model_cases import PAIRS, build
from onnx_engines import FP32, compare_with_torch, engine_of, load_engine
from tiny_runs import MODELS, make_run

import nmt
from nmt.cli.translate import main
from nmt.errors import ConfigError, RunError
from nmt.export import ExportRequest, Quantization, export
from nmt.export import onnx_export as exporting
from nmt.export.onnx_graphs import graphs_of
from nmt.models import build_model
from nmt.models.attention import GlobalConfig
from nmt.models.ops import matmul
from nmt.models.transformer.config import (
    HardCodedSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Sinks,
)
from nmt.runs.directory import Run
from nmt.search import Method
from nmt.search.engine import ModelEngine

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SOURCES = [source for source, _ in PAIRS]
TEXTS = ["one two three", "", "a big cat . four four four", "seven"]


# Of each kind one; tests/slow/test_onnx_models.py has all of NAMES.
SOME = (
    *("lstm: none", "lstm: bahdanau entmax15", "lstm: global location", "lstm: hard", "lstm: global latent top 3"),
    *(
        "lstm: global heads",
        "lstm: local_p",
        "lstm: local_p reversed",
        "transformer: rotary",
        "transformer: local learned",
    ),
)


@pytest.mark.parametrize("name", SOME)
def test_models_translate_and_score_the_same(tmp_path, name):
    compare_with_torch(build(name).float(), PAIRS, tmp_path)


@pytest.mark.skipif(matmul._ONEDNN_LINEAR is None, reason="this torch has no oneDNN")
@pytest.mark.parametrize("name", ["lstm: none", "lstm: local_p", "transformer: before"])
def test_graphs_hold_no_operator_of_one_processor(tmp_path, monkeypatch, name):
    """On AMD processors with AVX-512 this project multiplies by an operator of oneDNN's, unknown to ONNX."""
    monkeypatch.setattr(matmul, "_ONEDNN", matmul._ONEDNN_LINEAR)
    monkeypatch.setattr(matmul, "_BEATS_MKL", True)
    compare_with_torch(build(name).float(), PAIRS, tmp_path)


@pytest.mark.parametrize("kind", ["coverage", "location_aware", "structural", "temporal", "gmm", "monotonic"])
def test_attention_that_knows_of_the_steps_before_is_refused(kind):
    with pytest.raises(ConfigError, match=rf"^mine has model.attention={kind}, whose steps carry "):
        graphs_of(build(f"lstm: {kind}"), "mine")


@pytest.mark.parametrize(("name", "what"), [("lstmn", "encoder=lstmn"), ("intra", "intra_attention=true")])
def test_loops_over_all_words_before_are_refused(name, what):
    with pytest.raises(ConfigError, match=rf"^mine has model.{what}, whose .*: the graphs of to=onnx have no "):
        graphs_of(build(f"lstm: {name}"), "mine")


@pytest.mark.parametrize(
    "changes", [{"groups": 2, "beam_size": 4}, {"method": Method.sample, "samples": 3}, {"no_repeat_ngram": 2}]
)
def test_search_has_all_its_options(tmp_path, changes):
    model = build("transformer: before").float()
    theirs = engine_of(model, tmp_path)
    config = replace(FP32, **changes)
    expected, found = (engine.translate_ids(SOURCES, config) for engine in (ModelEngine(model, CPU), theirs))
    assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]


def test_the_folder_is_checked_and_on_record(tmp_path):
    run = Run.open(make_run(tmp_path / "run", MODELS["local_p"]))
    folder, message = export(ExportRequest(run, "onnx"))
    assert "of 50 sentences (validation) are translated the same" in message
    record = json.loads((folder / "export.json").read_text())
    assert record["check"]["largest"] <= 1e-4
    assert record["kind"] == "lstm"
    small, message = export(ExportRequest(run, "onnx", quantization=Quantization.int8))
    assert "with quantization=int8, " in message
    assert sorted(path.name for path in small.iterdir()) == ["encoder.onnx", "export.json", "step.onnx", "tokenizer"]
    with pytest.raises(ConfigError, match=r"quantization=bf16 is for .*, not for to=onnx"):
        export(ExportRequest(run, "onnx", quantization=Quantization.bf16))


@pytest.mark.parametrize("name", ["lstm: local_p", "lstm: global concat", "transformer: before"])
def test_int8_weights_are_smaller_and_nearly_the_same(tmp_path, name):
    """Of models wide enough for the weights to count, each translation has nearly the score that it has in float32."""
    model = build(name, hidden_size=64, ffn_size=64) if name.startswith("t") else build(name, hidden_size=64)
    model = model.float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    whole, targets = engine_of(model, tmp_path), [[target] for _, target in PAIRS]
    size = sum((tmp_path / file).stat().st_size for file in ("encoder.onnx", "step.onnx"))
    expected = [row[0].score for row in whole.score_ids(SOURCES, targets, FP32)]
    exporting.quantize(tmp_path)
    small = sum((tmp_path / file).stat().st_size for file in ("encoder.onnx", "step.onnx"))
    assert small < 0.9 * size
    found = [row[0].score for row in load_engine(model, tmp_path).score_ids(SOURCES, targets, FP32)]
    assert found == pytest.approx(expected, abs=0.1)
    assert found != expected


@pytest.mark.parametrize("wrong", ["encoder", "step"])
def test_what_does_not_translate_the_same_is_not_exported(tmp_path, monkeypatch, wrong):
    run = Run.open(make_run(tmp_path / "run", MODELS["local_p"]))
    real = exporting.trace_model

    def trace(model, name, folder):
        other = copy.deepcopy(model)
        layers = other.encoder.layers if wrong == "encoder" else other.decoder.layers
        with torch.no_grad():
            layers[0].weight_ih_l0.mul_(1.5)
        real(other, name, folder)

    monkeypatch.setattr(exporting, "trace_model", trace)
    with pytest.raises(RunError, match="nothing was exported"):
        export(ExportRequest(run, "onnx"))
    assert not list((tmp_path / "run" / "exports").glob("*"))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"self_attention": LocalSelfAttentionConfig(half_width=2, layers=[1, 2])}, r"self_attention\.layers=\[1,2\]"),
        ({"self_attention": HardCodedSelfAttentionConfig()}, "self_attention=hard_coded"),
        ({"self_attention": LocalnessSelfAttentionConfig()}, "self_attention=localness"),
        ({"encoder_normalizer": "entmax15"}, "encoder_normalizer=entmax15"),
        ({"decoder_normalizer": "sparsemax"}, "decoder_normalizer=sparsemax"),
        ({"sinks": Sinks.cross_attention}, "sinks=cross_attention"),
        ({"cross_attention": GlobalConfig()}, "cross_attention=global"),
    ],
)
def test_heads_that_the_graphs_lack_are_refused_by_key(changes, key):
    model = build_model(replace(TRANSFORMERS["before"], **changes), 20, 20, joint=True)
    with pytest.raises(ConfigError, match=rf"^mine has model\.{key}, which the graphs of to=onnx do not have"):
        graphs_of(model, "mine")


@pytest.mark.slow
def test_the_command_runs_it(tmp_path, monkeypatch):
    """The same lines as with torch; what it lacks is refused in a line."""
    run = transformer_run(tmp_path / "run", TRANSFORMERS["before"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in TEXTS))

    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nmt", "run=run", "device=cpu", "input=in", "output=out", *words])
        main()
        return (tmp_path / "out").read_text()

    assert command("engine=onnx") == command()
    command("engine=onnx", "quantization=int8")
    assert {path.name for path in (run.directory / "engines").iterdir()} == {"onnx-best", "onnx-best-int8"}
    for words, message in (
        (["decode.precision=bf16"], "decode.precision=bf16: engine=onnx computes in fp32"),
        (["decode.precision=int8"], "decode.precision=int8: engine=onnx computes in fp32"),
        (["decode.coverage=0.2"], "decode.coverage=0.2 needs attention"),
        (["quantization=int16"], "quantization=int16 is not to be had with engine=onnx"),
        (
            ["translate.alignments=hard", "translate.alignments_file=links"],
            "translate.alignments=hard is not to be had with engine=onnx",
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            command("engine=onnx", *words)
    translator = nmt.load("run", device="cpu", engine="onnx")
    assert translator.translate(TEXTS) == nmt.load("run", device="cpu").translate(TEXTS)
    with pytest.raises(ConfigError, match="engine=torch"):
        _ = translator.model
