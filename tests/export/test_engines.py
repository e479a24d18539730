"""nmt.translate engine=...: the same lines whoever runs the model, and an export that is made when it is needed."""

import json
import sys

import pytest
import torch
from exported import TRANSFORMERS, transformer_run
from tiny_runs import MODELS, make_run

import nmt
from nmt.cli.translate import main
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.export.ctranslate2_engine import compute_type
from nmt.export.quantization import Quantization
from nmt.runs import checkpoint
from nmt.search import Method

TEXTS = ["one two three", "", "a big cat . four four four", "seven"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return transformer_run(tmp_path_factory.mktemp("runs") / "run", TRANSFORMERS["before"])


@pytest.fixture
def command(run, monkeypatch, tmp_path):
    """Type words after the command, in an empty folder; returns the lines of file ``out``."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)

    def command(*words: str, of=run.directory) -> list[str]:
        (tmp_path / "in").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
        monkeypatch.setattr(
            sys, "argv", ["nmt", f"run={of}", "device=cpu", "threads=1", "input=in", "output=out", *words]
        )
        main()
        return (tmp_path / "out").read_text(encoding="utf-8").splitlines()

    yield command
    torch.set_num_threads(threads)


def test_the_output_is_that_of_torch(command, run, capsys):
    """Text and JSON; the export is made by the first command, and not again."""
    pytest.importorskip("ctranslate2")
    folder = run.directory / "engines" / "ctranslate2-best"
    assert command("engine=ctranslate2") == command()
    said = capsys.readouterr().err
    assert said.startswith(f"exporting {run.directory} to {folder}, once for these weights\n50 of 50 sentences")
    words = ["translate.format=jsonl", "decode.n_best=3", "translate.token_scores=true", "decode.length_penalty=none"]
    for found, expected in zip(command("engine=ctranslate2", *words), command(*words), strict=True):
        theirs, ours = json.loads(found), json.loads(expected)
        assert [theirs[key] for key in ("line", "source", "translation")] == [
            ours[key] for key in ("line", "source", "translation")
        ]
        for h, other in zip(theirs["hypotheses"], ours["hypotheses"], strict=True):
            assert h.keys() == other.keys()
            assert (h["text"], h["tokens"], h["finished"]) == (other["text"], other["tokens"], other["finished"])
            assert h["token_log_probs"] == pytest.approx(other["token_log_probs"], abs=1e-4)
            assert (h["score"], h["log_prob"]) == pytest.approx((other["score"], other["log_prob"]), abs=1e-4)
    assert capsys.readouterr().err == ""


def test_new_weights_are_exported_anew(tmp_path):
    """And so does Python find them."""
    pytest.importorskip("ctranslate2")
    run = transformer_run(tmp_path / "run", TRANSFORMERS["before"])
    folder = run.directory / "engines" / "ctranslate2-best"

    def translations(engine):
        return nmt.load(run.directory, device="cpu", engine=engine).translate(TEXTS)

    first = translations("ctranslate2")
    assert first == translations("torch")
    before = (folder / "model.bin").stat()
    assert translations("ctranslate2") == first
    assert (folder / "model.bin").stat() == before
    state = checkpoint.load(run.directory / checkpoint.BEST)
    state["model"]["projection.weight"][4:] += torch.randn(len(state["model"]["projection.weight"]) - 4, 8)
    checkpoint.save(run.directory / checkpoint.BEST, {"model": state["model"], "step": 8})
    assert translations("ctranslate2") == translations("torch") != first


def test_minimum_bayes_risk_chooses_among_the_same(run):
    pytest.importorskip("ctranslate2")
    theirs, ours = (nmt.load(run.directory, device="cpu", engine=engine) for engine in ("ctranslate2", "torch"))
    for translator in (theirs, ours):
        translator.decode.mbr, translator.decode.n_best = "chrf", 2
    for a, b in zip(theirs.hypotheses(TEXTS), ours.hypotheses(TEXTS), strict=True):
        assert [h.text for h in a] == [h.text for h in b]
        assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine=ctranslate2", "decode=sample"], "decode.method=sample is not to be had with engine=ctranslate2"),
        (["engine=ctranslate2", "decode.coverage=0.1"], "decode.coverage=0.1 is not to be had"),
        (["quantization=int8"], "quantization=int8 is for engine=ctranslate2"),
    ],
)
def test_what_it_lacks_is_refused_in_one_line(command, words, message):
    """Before anything is exported; with or without the library."""
    with pytest.raises(SystemExit, match=message) as caught:
        command(*words)
    assert "\n" not in str(caught.value)


def test_it_runs_one_transformer(command, tmp_path):
    make_run(tmp_path / "lstm", MODELS["local_p"])
    with pytest.raises(SystemExit, match=r"engine=ctranslate2 runs one model; lstm \+ lstm is an ensemble"):
        command("engine=ctranslate2", of="[lstm,lstm]")
    pytest.importorskip("ctranslate2")
    with pytest.raises(SystemExit, match="lstm is an LSTM: CTranslate2 holds the Transformer alone"):
        command("engine=ctranslate2", of="lstm")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["translate.alignments=hard", "translate.alignments_file=links"], "translate.alignments=hard"),
        (["translate.alignments=soft", "translate.format=jsonl"], "translate.alignments=soft"),
        (["translate.replace_unknown=true"], "translate.replace_unknown=true"),
        (["translate.tags=true"], "translate.tags=true"),
        (["translate.prefix_file=prefixes"], "translate.prefix_file=prefixes"),
    ],
)
def test_what_an_engine_cannot_give_is_refused_at_the_start(command, run, words, key):
    """Before anything is exported or read, so also without a line of input and without the library."""
    for engine in ("ctranslate2", "onnx") if "prefix" not in key else ("ctranslate2",):
        exports = sorted(run.directory.glob("engines/*"))
        with pytest.raises(SystemExit) as caught:
            command(f"engine={engine}", "input=/dev/null", *words)
        assert caught.value.code == f"error: {key} is not to be had with engine={engine}; engine=torch has it"
        assert sorted(run.directory.glob("engines/*")) == exports


def test_types_are_refused(command):
    library = pytest.importorskip("ctranslate2")
    if "float16" not in library.get_supported_compute_types("cpu"):
        with pytest.raises(SystemExit, match="quantization=fp16: CTranslate2 does not compute in float16 on this cpu"):
            command("engine=ctranslate2", "quantization=fp16")


def test_the_precision_of_search_is_the_type_that_the_library_computes_in():
    """Unless a type of weights was chosen."""
    library = pytest.importorskip("ctranslate2")
    if "int8" in library.get_supported_compute_types("cpu"):
        assert compute_type(Precision.int8, None, torch.device("cpu")) == "int8"
        assert compute_type(Precision.int8, Quantization.fp32, torch.device("cpu")) == "float32"
    assert compute_type(Precision.auto, None, torch.device("cpu")) == "float32"


def test_python_names_what_there_is(run):
    with pytest.raises(ConfigError, match=r"engine=marian is not one of torch, ctranslate2"):
        nmt.load(run.directory, engine="marian")


def test_the_model_of_another_program_is_not_in_torch(run):
    pytest.importorskip("ctranslate2")
    translator = nmt.load(run.directory, device="cpu", engine="ctranslate2")
    translator.decode.method = Method.sample
    with pytest.raises(ConfigError, match=r"decode\.method=sample"):
        translator.translate(["one"])
    with pytest.raises(ConfigError, match="engine=torch"):
        _ = translator.model
