"""The Transformer in CTranslate2: the same hypotheses with the same scores, or a sentence that says why not."""

import json
import runpy
import sys
from dataclasses import replace
from itertools import chain

import pytest
import torch
from exported import CPU, LOCAL, TRANSFORMERS, transformer_run
from tiny_runs import MODELS, make_run

from nmt.data.pieces import SymbolTokenizer, TokenizerKind
from nmt.data.tokenizer import Tokenizers
from nmt.device import Precision
from nmt.errors import ConfigError, RunError
from nmt.export import ExportRequest, Quantization, export
from nmt.export import ctranslate2_export as exporting
from nmt.export.ctranslate2_engine import CTranslate2Engine, check_options
from nmt.export.ctranslate2_export import facts_of
from nmt.export.ctranslate2_model import check_model, vocabulary, write_model
from nmt.models.attention import GlobalConfig
from nmt.models.transformer.config import Activation, Sinks
from nmt.runs.directory import Run
from nmt.search import DecodeConfig, LengthPenalty, Method, Stopping
from nmt.search.engine import ModelEngine

SOURCES = [[5, 9, 12, 7], [4], [], [8, 4, 6, 11, 9, 4, 10, 7, 7, 13, 6], [10, 10, 5]]
FP32 = DecodeConfig(precision=Precision.fp32, max_length=30)
SEARCHES = {
    "beam": FP32,
    "greedy": replace(FP32, beam_size=1),
    "all of the beam": replace(FP32, n_best=4, beam_size=4),
    "no penalty": replace(FP32, n_best=3, length_penalty=LengthPenalty.none),
    "small batches": replace(FP32, n_best=2, batch_size=2),
    "short": replace(FP32, n_best=3, max_length=3),
    "short for some": replace(FP32, n_best=2, max_ratio=0.5, max_extra=3),
    "unknown words": replace(FP32, n_best=3, allow_unk=True),
}


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("ctranslate2")


def engines(run: Run, folder) -> tuple[ModelEngine, CTranslate2Engine]:
    model = check_model(run.load_model("best", CPU)[0], run.name)
    ours = ModelEngine(model, CPU)
    write_model(model, run.tokenizers, folder)
    words = vocabulary(run.tokenizers.source), vocabulary(run.tokenizers.target)
    return ours, CTranslate2Engine(folder, words, facts_of(model), CPU, "float32", lambda: ours)


@pytest.fixture(scope="module", params=TRANSFORMERS)
def both(request, library, tmp_path_factory):
    """This project's search and CTranslate2's with one model."""
    folder = tmp_path_factory.mktemp("model")
    return engines(transformer_run(folder / "run", TRANSFORMERS[request.param]), folder)


@pytest.mark.parametrize("config", SEARCHES.values(), ids=SEARCHES)
def test_hypotheses_and_scores_are_those_of_torch(both, config):
    ours, theirs = both
    counted: list[int] = []
    expected = ours.translate_ids(SOURCES, config)
    found = theirs.translate_ids(SOURCES, config, progress=counted.append)
    assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]
    for a, b in zip(chain(*found), chain(*expected), strict=True):
        assert (a.score, a.log_prob) == pytest.approx((b.score, b.log_prob), abs=1e-4)
        assert a.finished == b.finished
    assert sum(counted) == len(SOURCES)


def test_given_translations_get_the_scores_of_torch(both):
    ours, theirs = both
    targets = [[[7, 8, 9], []], [[1]], [[4, 4]], [], [[5] * 20]]
    for config in (FP32, replace(FP32, length_penalty=LengthPenalty.none)):
        expected, found = (list(chain(*e.score_ids(SOURCES, targets, config))) for e in (ours, theirs))
        assert len(found) == len(expected) == 5
        for a, b in zip(found, expected, strict=True):
            assert a.tokens == pytest.approx(b.tokens, rel=1e-4, abs=1e-4)
            assert (a.score, a.log_prob) == pytest.approx((b.score, b.log_prob), abs=1e-3)


def test_only_sentences_at_their_limit_need_torch(library, tmp_path):
    """And torch is asked only then."""
    ours, theirs = engines(transformer_run(tmp_path / "run", TRANSFORMERS["before"]), tmp_path)
    asked: list[int] = []

    class Counting(ModelEngine):
        def translate_ids(self, sources, config, *args, **kwargs):
            asked.append(len(sources))
            return super().translate_ids(sources, config, *args, **kwargs)

    theirs.make_own = lambda: Counting(ours.model, CPU)
    longest = max(len(h.ids) for row in ours.translate_ids(SOURCES, replace(FP32, n_best=5)) for h in row)
    theirs.translate_ids(SOURCES, replace(FP32, max_ratio=None, max_length=200))
    assert longest < 30 or asked
    before = len(asked)
    theirs.translate_ids(SOURCES, replace(FP32, max_length=1))
    assert asked[before:] == [len(SOURCES)]


@pytest.mark.parametrize("kind", [TokenizerKind.bpe, TokenizerKind.word, TokenizerKind.char])
def test_the_folder_translates_by_itself(library, tmp_path, kind, capsys):
    """Its example needs nothing of this project, and the check is on record."""
    run = transformer_run(tmp_path / "run", TRANSFORMERS["before"], kind)
    folder, message = export(ExportRequest(run, "ctranslate2"))
    assert folder == tmp_path / "run" / "exports" / "ctranslate2"
    assert "50 sentences (validation) are translated the same" in message
    record = json.loads((folder / "export.json").read_text())
    assert record["check"]["sentences"] == 50
    assert record["check"]["largest"] <= 1e-4
    assert Tokenizers.load(folder / "tokenizer").digest() == run.tokenizers.digest()
    assert len((folder / "example.py").read_text().splitlines()) <= 13
    runpy.run_path(str(folder / "example.py"))
    assert capsys.readouterr().out.endswith("\n")


def test_quantized_weights_are_written_after_the_check(library, tmp_path):
    """They are smaller, and the model that they were made of is as it was."""
    run = transformer_run(tmp_path / "run", TRANSFORMERS["before"])
    whole, _ = export(ExportRequest(run, "ctranslate2"))
    small, message = export(ExportRequest(run, "ctranslate2", quantization=Quantization.int8))
    assert small.name == "ctranslate2-int8"
    assert "with quantization=int8, " in message
    assert (small / "model.bin").stat().st_size < (whole / "model.bin").stat().st_size
    model = check_model(run.load_model("best", CPU)[0], "")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    write_model(model, run.tokenizers, tmp_path, "int8")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("wrong", ["scores", "search"])
def test_what_does_not_translate_the_same_is_not_exported(library, tmp_path, monkeypatch, wrong):
    """An earlier export stays, and without one nothing is left."""
    run = transformer_run(tmp_path / "run", TRANSFORMERS["before"])
    request = ExportRequest(run, "ctranslate2")
    good, _ = export(request)
    kept = (good / "model.bin").read_bytes()
    if wrong == "scores":
        real = exporting.write_model

        def write(model, *args):
            model.encoder.layers[0].feed_forward.outer.bias.data[0] += 0.5
            real(model, *args)
            model.encoder.layers[0].feed_forward.outer.bias.data[0] -= 0.5

        monkeypatch.setattr(exporting, "write_model", write)
    else:
        options = CTranslate2Engine.options

        def others(self, config):
            return options(self, config) | {"suppress_sequences": [[token] for token in self.target_tokens[4:30]]}

        monkeypatch.setattr(CTranslate2Engine, "options", others)
    with pytest.raises(RunError, match="nothing was exported"):
        export(request)
    assert (good / "model.bin").read_bytes() == kept
    with pytest.raises(RunError):
        export(replace(request, output=tmp_path / "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert sorted(path.name for path in good.parent.iterdir()) == ["ctranslate2"]


def test_a_folder_that_is_no_export_is_left_alone(tmp_path):
    run = Run.open(make_run(tmp_path / "run", MODELS["transformer"]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    with pytest.raises(ConfigError, match=r"mine is there and is no export: type another output=DIR"):
        export(ExportRequest(run, "ctranslate2", output=tmp_path / "mine"))
    assert (tmp_path / "mine" / "text").read_text() == "mine"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MODELS["local_p"], "is an LSTM: CTranslate2 holds the Transformer alone"),
        (LOCAL, "has model.self_attention=local, a window on both sides"),
        (
            replace(MODELS["transformer"], cross_attention_normalizer="sparsemax"),
            "has model.cross_attention_normalizer=sparsemax, and CTranslate2 has softmax alone",
        ),
        (
            replace(MODELS["transformer"], cross_attention=GlobalConfig()),
            r"has model\.cross_attention=global, which CT",
        ),
        (replace(MODELS["transformer"], sinks=Sinks.all), r"has model\.sinks=all, which CTranslate2 does not have"),
        (
            replace(MODELS["transformer"], qk_norm=True),
            "has model.qk_norm=true, which CTranslate2's Transformer has not",
        ),
        (
            replace(MODELS["transformer"], activation=Activation.relu2),
            "has model.activation=relu2, which CTranslate2's",
        ),
    ],
)
def test_models_that_it_cannot_hold_are_refused_in_a_line(tmp_path, model, message):
    run = Run.open(make_run(tmp_path / "run", model))
    with pytest.raises(ConfigError, match=message) as caught:
        export(ExportRequest(run, "ctranslate2"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "exports" / "ctranslate2").exists()


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    """With the words that install it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ctranslate2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    run = Run.open(make_run(tmp_path / "run", MODELS["transformer"]))
    with pytest.raises(ConfigError, match=r"to=ctranslate2 needs the package ctranslate2 .*pip install '\.\[export\]'"):
        export(ExportRequest(run, "ctranslate2"))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"method": Method.sample}, "decode.method=sample"),
        ({"length_penalty": LengthPenalty.gnmt}, "decode.length_penalty=gnmt"),
        ({"stopping": Stopping.safe}, "decode.stopping=safe"),
        ({"groups": 5}, "decode.groups=5"),
        ({"coverage": 0.2}, "decode.coverage=0.2"),
        ({"min_length": 2}, "decode.min_length=2"),
        ({"min_ratio": 0.5}, "decode.min_ratio=0.5"),
        ({"no_repeat_ngram": 3}, "decode.no_repeat_ngram=3"),
    ],
)
def test_options_that_it_lacks_are_refused_by_name(changes, key):
    with pytest.raises(ConfigError, match=rf"{key} is not to be had with engine=ctranslate2; engine=torch has it"):
        check_options(replace(FP32, **changes))
    check_options(FP32)


def test_attention_and_prefixes_are_refused():
    with pytest.raises(ConfigError, match=r"translate\.alignments"):
        check_options(FP32, True, False)
    with pytest.raises(ConfigError, match=r"translate\.prefix_file"):
        check_options(FP32, False, True)


def test_pieces_are_told_apart():
    """A word <unk> and a character U+2581 have strings of their own; the special ids keep their names."""
    symbols = SymbolTokenizer(["<unk>", "a", " ", "\u2581"], TokenizerKind.char, False)
    found = vocabulary(symbols)
    assert found[:4] == ["<pad>", "<unk>", "<s>", "</s>"]
    assert len(set(found)) == symbols.size == 8
