"""Translations that must begin with a given text, on tiny models of both kinds and an ensemble of them."""

import warnings
from dataclasses import replace

import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.batch import UNK
from nmt.data.pieces import TokenizerKind
from nmt.errors import DataError
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.models.transformer.config import Positions
from nmt.runs.directory import Run
from nmt.runs.ensemble import open_run
from nmt.search import DecodeConfig, Method
from nmt.translate.options import AlignmentOutput, Format, TranslateOptions
from nmt.translate.prefix import TextError
from nmt.translate.translator import Translator

TEXTS = ["one two three", "a small dog , a big cat .", "", "ten nine", "seven"]
PREFIXES = ["zwei drei", "Hund", None, " ", "  vier\u00a0eins "]
EXPECTED = ["zwei drei", "Hund", "", "", "vier eins"]
SEARCHES = {
    "greedy": {"beam_size": 1},
    "beam": {"beam_size": 4, "n_best": 3},
    "groups": {"beam_size": 4, "groups": 2, "diversity": 0.5, "n_best": 2},
    "sampling": {"method": Method.sample, "samples": 3, "n_best": 3},
    "no repeats": {"beam_size": 3, "no_repeat_ngram": 1},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: make_run(folder / name, model) for name, model in MODELS.items()}


@pytest.fixture(params=[*MODELS, "ensemble"])
def run(request, runs):
    return open_run(list(runs.values()) if request.param == "ensemble" else runs[request.param])


def translator(run, options=None, **decode) -> Translator:
    decode = {"max_length": 8, **decode}
    config = DecodeConfig(**{**vars(run.config.decode), **decode})
    return Translator(run, config, torch.device("cpu"), "best", options)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_translation_begins_with_its_prefix(run, search):
    """In every search; texts without a prefix, among others that have one, are translated as ever."""
    given = translator(run, **SEARCHES[search])
    found = given.hypotheses(TEXTS, prefixes=PREFIXES)
    free = translator(run, **SEARCHES[search]).hypotheses(TEXTS)
    # Not always as many: draws of the same text are listed once.
    assert [bool(hypotheses) for hypotheses in found] == [bool(hypotheses) for hypotheses in free]
    for hypotheses, prefix in zip(found, EXPECTED, strict=True):
        assert all(h.text == prefix or h.text.startswith(f"{prefix} ") or not prefix for h in hypotheses)
    assert [[h.text for h in found[i]] for i in (2, 3)] == [[h.text for h in free[i]] for i in (2, 3)]


def test_no_prefixes_and_blank_ones_change_nothing(run):
    for decode in SEARCHES.values():
        plain = translator(run, **decode).hypotheses(TEXTS)
        assert translator(run, **decode).hypotheses(TEXTS, prefixes=["", None, " ", "", ""]) == plain


def test_a_translation_forced_to_begin_as_the_best_one_does_is_the_best_one(run):
    """Greedy search: the prefix of its own answer is what it would have said."""
    best = translator(run, beam_size=1).translate(TEXTS)
    prefixes = [" ".join(text.split()[:2]) for text in best]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert translator(run, beam_size=1).translate(TEXTS, prefixes=prefixes) == best


@pytest.mark.parametrize("kind", [TokenizerKind.bpe, TokenizerKind.word, TokenizerKind.char])
@pytest.mark.parametrize("prefix", ["Ein Ha", "eins, zwei", "\u00e9t\u00e9 \U0001f600"])
def test_the_prefix_is_kept_by_every_tokenizer(tmp_path, kind, prefix):
    """Also words, characters and emoji that the vocabulary lacks; alignments count the prefix's words."""
    run = Run.open(make_run(tmp_path / kind.name, MODELS["local_p"], kind))
    options = TranslateOptions(format=Format.jsonl, alignments=AlignmentOutput.soft, token_scores=True)
    given = translator(run, options, beam_size=2, n_best=2, max_length=40)
    given.model.double()  # random weights of this size make the rounding errors of 33 steps in float32 visible
    for h in given.hypotheses(["one two"], prefixes=[prefix])[0]:
        assert h.text.startswith(prefix)
        assert h.alignment is not None
        assert h.alignment.shape == (len(h.text.split()), 2)
        assert h.token_log_probs is not None
        assert sum(h.token_log_probs) == pytest.approx(h.log_prob, abs=1e-9)


def test_a_prefix_is_lower_cased_where_the_model_writes_lower_case(tmp_path):
    run = Run.open(make_run(tmp_path / "lower", MODELS["local_p"]))
    run.tokenizers.target.lowercase = True
    assert translator(run).translate(["one"], prefixes=["ZWEI Drei"])[0].startswith("zwei drei")


def test_replacing_unknown_words_leaves_those_of_the_prefix(tmp_path):
    """They are words that the user gave; the others become source words."""
    model = LSTMConfig(attention=GlobalConfig(), hidden_size=8, init_range=0.9)
    run = Run.open(make_run(tmp_path / "words", model, likely=(UNK,)))
    options = TranslateOptions(replace_unknown=True, format=Format.jsonl)
    (h,) = translator(run, options).hypotheses(["one London"], prefixes=["Paris zwei"])[0]
    assert h.text.startswith("Paris zwei ")
    assert set(h.text.split()[2:]) & {"one", "London"}
    assert "<unk>" not in h.text


def test_a_long_prefix_is_the_whole_translation_with_a_warning(run):
    """At the length limit or over it; the text is named."""
    prefix = "eins zwei drei vier"
    for limit in (4, 3):
        with pytest.warns(UserWarning, match=rf"text 1: the prefix has 4 pieces, and the length limit is {limit}"):
            assert translator(run, max_length=limit).translate(["one", "two"], prefixes=["", prefix])[1] == prefix


def test_a_prefix_that_the_model_cannot_write_is_refused(tmp_path):
    """Learned positions have so many rows, of which BOS takes one."""
    model = replace(MODELS["transformer"], positions=Positions.learned, max_positions=4)
    given = translator(Run.open(make_run(tmp_path / "short", model)))
    with pytest.warns(UserWarning, match="length limit is 3"):
        assert given.translate(["one"], prefixes=["eins zwei drei"]) == ["eins zwei drei"]
    with pytest.raises(TextError, match="text 1: the prefix has 4 pieces, and the model writes at most 3"):
        given.translate(["one", "two"], prefixes=["", "eins zwei drei vier"])


def test_the_prefix_of_a_text_in_parts_begins_the_first(run):
    """The others are translated as they would be alone."""
    given = translator(run, TranslateOptions(max_source=4))
    messages = []
    (found,) = given.hypotheses(["one two . three four ."], None, lambda *what: messages.append(what), ["Hund"])
    parts = translator(run).translate(["one two .", "three four ."], prefixes=["Hund", None])
    assert found[0].text == " ".join(part for part in parts if part)
    assert [(number, message.partition("; ")[2]) for number, message in messages] == [
        (0, "the prefix begins the translation of the first part")
    ]


def test_the_prefix_of_a_blank_text_is_ignored_with_a_warning(run):
    with pytest.warns(UserWarning, match="text 0: there is nothing to translate, so the prefix is ignored"):
        assert translator(run).translate([" "], prefixes=["Hund"]) == [""]


def test_each_text_needs_a_prefix(run):
    with pytest.raises(DataError, match="2 texts and 1 prefixes"):
        translator(run).translate(["one", "two"], prefixes=["eins"])
