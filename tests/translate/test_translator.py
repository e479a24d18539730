"""Text to text: n-best, scores, alignments, unknown words and long lines, on tiny models of both kinds."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.batch import UNK
from nmt.data.pieces import TokenizerKind
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.eval.alignment import AlignConfig, hard_alignment
from nmt.eval.forced import NoAttentionError, align
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig, NoneConfig
from nmt.runs.directory import Run
from nmt.search import DecodeConfig, Ensemble, ForcedOptions, Method
from nmt.translate.loaded import load
from nmt.translate.options import AlignmentOutput, Format, TranslateOptions
from nmt.translate.translator import Translator

CPU = torch.device("cpu")
TEXTS = ["one two three", "", "a small dog , a big cat .", " \t", "ten nine", "seven"]
SOFT = TranslateOptions(format=Format.jsonl, alignments=AlignmentOutput.soft, token_scores=True)
NAMES = [*MODELS, "ensemble"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: make_run(folder / name, model) for name, model in MODELS.items()}


@pytest.fixture(params=NAMES)
def run(request, runs):
    """Every kind of model, and all of them together."""
    from nmt.runs.ensemble import open_run

    return open_run(list(runs.values()) if request.param == "ensemble" else runs[request.param])


def translator(run, options=SOFT, align=None, **decode) -> Translator:
    decode = {"beam_size": 4, "n_best": 3, "max_length": 8, **decode}
    return Translator(run, DecodeConfig(**{**vars(run.config.decode), **decode}), CPU, "best", options, align)


def test_hypotheses_come_best_first_with_the_scores_of_their_tokens(run):
    """None for blank text; </s> is the last token; the best is what ``translate`` says."""
    found = translator(run).hypotheses(TEXTS)
    assert [len(hypotheses) for hypotheses in found] == [3, 0, 3, 0, 3, 3]
    assert translator(run, TranslateOptions()).translate(TEXTS) == [h[0].text if h else "" for h in found]
    for hypotheses in found:
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert len({h.text for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert h.token_log_probs is not None
            assert h.tokens == [*h.text.split(), "</s>"]
            assert len(h.token_log_probs) == len(h.tokens)
            assert sum(h.token_log_probs) == pytest.approx(h.log_prob, abs=1e-4)


@pytest.mark.parametrize("how", [AlignConfig(), AlignConfig(shift=1)], ids=["shift=0", "shift=1"])
def test_alignments_follow_the_hypotheses_through_the_beam(run, how):
    """Those of every hypothesis are what forcing it gives."""
    given = translator(run, align=how)
    found = given.hypotheses(TEXTS)
    pairs = [(text, h) for text, hypotheses in zip(TEXTS, found, strict=True) for h in hypotheses]
    sources, targets = [text for text, _ in pairs], [h.text for _, h in pairs]
    forced = align(given.model, run.tokenizers, sources, targets, ForcedOptions(CPU, Precision.fp32), how)
    for (text, h), words in zip(pairs, forced, strict=True):
        assert h.alignment is not None
        assert h.alignment.shape == (len(h.text.split()), len(text.split()))
        np.testing.assert_allclose(h.alignment, words, atol=1e-5)


def test_alignments_count_words_as_aligners_do(run):
    """By spaces and tabs: a no-break space joins what it stands between, and is a word where it stands alone."""
    text, given = "\u00a0 one two\u00a0three four", translator(run)
    (found,) = given.hypotheses([text])
    for h in found:
        assert h.alignment is not None
        assert h.alignment.shape == (len(h.text.split(" ")), 4)
        assert h.alignment[:, 0].max() == 0
        (forced,) = align(given.model, run.tokenizers, [text], [h.text], ForcedOptions(CPU, Precision.fp32))
        np.testing.assert_allclose(h.alignment, forced, atol=1e-5)


def test_lines_that_show_nothing_have_no_translation(run):
    """And a prefix that shows nothing forces nothing."""
    unseen = [
        "\u200b",
        "\ufeff",
        "\u00ad",
        "\u2066\u2069",
        "\u061c",
        "\u180e",
        "\u2800",
        "\u3164",
        "\ufe0f",
        "\u200b" * 30,
    ]
    given = translator(run)
    assert given.translate(unseen) == [""] * len(unseen)
    assert translator(run).translate(["one two"], prefixes=["\u200b"]) == translator(run).translate(["one two"])


@pytest.mark.parametrize("decode", [{}, {"method": Method.sample, "samples": 6}, {"groups": 2}], ids=str)
def test_a_text_stands_once_in_a_list(run, monkeypatch, decode):
    """With the score of the best of its segmentations; what is dropped makes room for the next candidate.

    Here only the first letter of each word is read, so that many sequences of pieces spell one text.
    """
    decode = {"beam_size": 6, "max_length": 4, **decode}
    whole = translator(run, TranslateOptions(), **decode, n_best=6)
    target = whole.tokenizers.target
    plain = target.decode
    source = whole.tokenizers.source.encode(["one two three"])
    (every,) = whole.engine.translate_ids(source, replace(whole.decode))
    monkeypatch.setattr(type(target), "decode", lambda self, rows: [t[:1] for t in plain(rows)])
    expected: dict[str, float] = {}
    for h in every:
        expected.setdefault(plain([h.ids])[0][:1], h.score)
    given = translator(run, SOFT, **decode, n_best=2).hypotheses("one two three")
    assert [(h.text, h.score) for h in given] == [(t, pytest.approx(s, abs=1e-6)) for t, s in expected.items()][:2]
    assert all(h.token_log_probs is not None and len(h.token_log_probs) == len(h.tokens) for h in given)


def test_windows_change_nothing(run):
    """One text at a time or all at once; seeds of sampling go on counting."""
    for decode in ({}, {"method": Method.sample, "samples": 3}):
        whole, parts = (translator(run, TranslateOptions(), **decode) for _ in range(2))
        assert whole.translate(TEXTS) == [text for t in TEXTS for text in parts.translate([t])]


def test_settings_may_change_between_calls_and_are_checked(runs):
    given = load(runs["local_p"], device="cpu")
    assert len(given.hypotheses(["one two"])[0]) == 1
    given.decode.n_best = 4
    assert len(given.hypotheses(["one two"])[0]) == 4
    given.decode.n_best = 99
    with pytest.raises(ConfigError, match=r"decode\.n_best=99 is above"):
        given.translate(["one two"])


def test_settings_that_are_changed_have_their_types(runs):
    """A name stands for the member of an Enum; what cannot be is refused, and no misspelt name is lost."""
    given, other = (load(runs["local_p"], device="cpu") for _ in range(2))
    given.decode.method, other.decode.method = "sample", Method.sample  # pyright: ignore[reportAttributeAccessIssue]
    assert given.translate(TEXTS) == other.translate(TEXTS)
    for name, value, said in (
        ("method", "beams", r"decode\.method must be one of beam, sample, got beams"),
        ("precision", "nonsense", r"decode\.precision must be one of auto, .*, got nonsense"),
        ("beam_size", "3", r"decode\.beam_size must be a whole number, got '3'"),
        ("beam_size", 2.0, r"decode\.beam_size must be a whole number, got 2\.0"),
        ("beam_size", True, r"decode\.beam_size must be a whole number, got True"),
        ("temperature", None, r"decode\.temperature must be a number, got None"),
        ("allow_unk", 1, r"decode\.allow_unk must be True or False, got 1"),
        ("beam_sise", 1, r"decode has no beam_sise"),
    ):
        given = load(runs["local_p"], device="cpu")
        setattr(given.decode, name, value)
        with pytest.raises(ConfigError, match=said):
            given.translate(["one two"])
    given = load(runs["local_p"], device="cpu")
    given.decode.max_ratio, given.decode.temperature = None, 1
    given.translate(["one two"])


def test_several_directories_make_an_ensemble(runs):
    """Of any architectures; of a run with itself it is the run."""
    both = load([runs["local_p"], runs["transformer"]], device="cpu")
    assert isinstance(both.model, Ensemble)
    assert load([runs["local_p"]] * 2, "cpu").translate(TEXTS) == load(runs["local_p"], "cpu").translate(TEXTS)


def test_runs_of_different_vocabularies_are_refused_by_name(runs, tmp_path):
    other = make_run(tmp_path / "other", MODELS["local_p"], TokenizerKind.char)
    with pytest.raises(ConfigError, match=r"local_p \(\d+ source pieces, word\) and .*other \(\d+, char\)"):
        load([runs["local_p"], runs["transformer"], other])


def test_a_model_without_attention_has_no_alignments(tmp_path):
    run = Run.open(make_run(tmp_path / "blind", LSTMConfig(hidden_size=8, attention=NoneConfig())))
    assert translator(run, TranslateOptions()).translate(["one"])
    with pytest.raises(NoAttentionError, match=r"blind has no attention, which translate\.alignments=soft reads"):
        translator(run)


UNKNOWN = LSTMConfig(attention=GlobalConfig(), hidden_size=8, init_range=0.9)


def test_unknown_words_become_what_they_attend_to(tmp_path):
    """The source word, as the model reads it, or its dictionary entry; nothing else changes."""
    run = Run.open(make_run(tmp_path / "words", UNKNOWN, likely=(UNK,)))
    (tmp_path / "dictionary").write_text("two zwei\nLondon Londres\n")
    source = "one London two Paris dog"
    spoken = translator(run, SOFT, allow_unk=True).hypotheses([source])[0]
    path = str(tmp_path / "dictionary")
    options = TranslateOptions(
        replace_unknown=True, dictionary=path, format=Format.jsonl, alignments=AlignmentOutput.hard
    )
    replaced = translator(run, options).hypotheses([source])[0]
    assert any("<unk>" in h.text for h in spoken)
    for before, after in zip(spoken, replaced, strict=True):
        assert before.alignment is not None
        links = {j: i for i, j in hard_alignment(before.alignment).sure}
        for j, (old, new) in enumerate(zip(before.text.split(), after.text.split(), strict=True)):
            word = source.split()[links[j]]
            assert new == ({"two": "zwei", "London": "Londres"}.get(word, word) if old == "<unk>" else old)
        assert (after.score, after.tokens[-1]) == (before.score, "</s>")


@pytest.mark.parametrize(
    ("kind", "reason"), [(TokenizerKind.bpe, "never writes <unk>"), (TokenizerKind.char, "characters")]
)
def test_replacing_is_refused_where_pieces_are_no_words(tmp_path, kind, reason):
    run = Run.open(make_run(tmp_path / "pieces", MODELS["local_p"], kind))
    with pytest.raises(
        ConfigError, match=rf"replace_unknown .*pieces has data\.tokenizer\.kind={kind.name}: .*{reason}"
    ):
        translator(run, TranslateOptions(replace_unknown=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_source": 0}, "max_source must be at least 1"),
        ({"dictionary": "d"}, "dictionary is for translate.replace_unknown=true"),
        ({"token_scores": True}, "needs translate.format=jsonl"),
        ({"alignments_file": "f"}, "needs translate.alignments=hard or soft"),
        ({"alignments": AlignmentOutput.hard}, "translate.alignments=hard has nowhere to go"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TranslateOptions(**options)


LONG = "one two three . a small dog , a big cat . ten nine eight seven six five"
PARTS = ["one two three .", "a small dog , a big cat .", "ten nine eight seven six five"]


def test_a_long_line_is_translated_in_parts(run):
    """Each as it would be alone; ranks, scores and alignments are put together; the line is named."""
    options = TranslateOptions(format=Format.jsonl, alignments=AlignmentOutput.soft, token_scores=True, max_source=8)
    warnings_given = []
    whole = translator(run, options).hypotheses(["two", LONG], warn=lambda *what: warnings_given.append(what))[1]
    parts = translator(run).hypotheses(PARTS)
    assert [(number, "over 8: translated in 3 parts" in message) for number, message in warnings_given] == [(1, True)]
    assert [h.text for h in whole] == [
        " ".join(h.text for h in ranked if h.text) for ranked in zip(*parts, strict=True)
    ]
    for h, ranked in zip(whole, zip(*parts, strict=True), strict=True):
        assert h.log_prob == pytest.approx(sum(part.log_prob for part in ranked), abs=1e-3)
        assert h.tokens == [token for part in ranked for token in part.tokens]
        assert h.alignment is not None
        assert h.alignment.shape == (len(h.text.split()), len(LONG.split()))
        row = column = 0
        for source, part in zip(PARTS, ranked, strict=True):
            assert part.alignment is not None
            inside = (
                slice(row, row := row + len(part.text.split())),
                slice(column, column := column + len(source.split())),
            )
            np.testing.assert_allclose(h.alignment[inside], part.alignment, atol=1e-5)
        assert h.alignment.sum() == pytest.approx(sum(p.alignment.sum() for p in ranked), abs=1e-4)  # type: ignore


def test_a_model_is_never_given_more_than_it_can_read(tmp_path):
    """A location score has so many rows: longer lines come in parts, with a warning, whatever max_source is."""
    location = GlobalConfig(score="location", max_source=5)
    for eos in (False, True):
        run = Run.open(make_run(tmp_path / f"eos_{eos}", LSTMConfig(hidden_size=8, attention=location, source_eos=eos)))
        given = translator(run, TranslateOptions(max_source=100))
        assert given.source_limit() == 5 - eos
        with pytest.warns(
            UserWarning, match=r"text 1: 18 pieces, over \d: translated in \d parts, split between words"
        ):
            (_, text) = given.translate(["one", LONG])
        assert text


def test_what_cannot_be_split_is_read_whole(tmp_path):
    """An emoji of five pieces, over a limit of two that is a choice and not the model's."""
    run = Run.open(make_run(tmp_path / "bpe", MODELS["local_p"], TokenizerKind.bpe))
    (pieces,) = map(len, run.tokenizers.source.encode(["\U0001f600"]))
    assert pieces > 2
    given = translator(run, TranslateOptions(max_source=2), n_best=1)
    with pytest.warns(UserWarning, match=f"text 0: {pieces} pieces, over 2: translated as a whole: no place to split$"):
        limited = given.translate(["\U0001f600"])
    assert limited == translator(run, TranslateOptions(), n_best=1).translate(["\U0001f600"])


def test_what_the_model_cannot_read_is_cut_and_said(tmp_path):
    """A location score of four rows and an emoji of more pieces: the first four, and the warning counts both."""
    location = LSTMConfig(hidden_size=8, attention=GlobalConfig(score="location", max_source=4), source_eos=False)
    run = Run.open(make_run(tmp_path / "bpe", location, TokenizerKind.bpe))
    (pieces,) = map(len, run.tokenizers.source.encode(["\U0001f600"]))
    message = f"text 0: {pieces} pieces, over 4: cut after 4 of {pieces} pieces: no place to split$"
    with pytest.warns(UserWarning, match=message):
        assert len(translator(run, TranslateOptions()).translate(["\U0001f600"])) == 1


def test_odd_lines_are_survived(tmp_path):
    """A word without end in pieces, control characters (which show nothing), a word of a right-to-left script."""
    run = Run.open(make_run(tmp_path / "bpe", MODELS["local_p"], TokenizerKind.bpe))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = translator(run, n_best=1, beam_size=1).hypotheses(
            ["x" * 2000, "\0\x07 \u2028", "\u0634\u0643\u0631\u0627", "\U0001f600" * 99]
        )
    assert [len(h) for h in found] == [1, 0, 1, 1]
    assert not any("\n" in h.text for hypotheses in found for h in hypotheses)
    assert found[0][0].alignment is not None
    assert found[0][0].alignment.shape[1] == 1
