"""translate.paragraphs=true: the sentences of a line, one by one, put together again."""

import random
import sys

import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.errors import ConfigError
from nmt.runs.directory import Run
from nmt.search import DecodeConfig
from nmt.translate.options import AlignmentOutput, Format, TranslateOptions
from nmt.translate.sentence_split import sentence_spans
from nmt.translate.translator import Translator

SENTENCES = ["one two three.", "A small dog met Dr. Smith.", "Ten nine eight?", "Seven six."]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(make_run(tmp_path_factory.mktemp("runs") / "run", MODELS["local_p"]))


def translator(run: Run, **options) -> Translator:
    decode = DecodeConfig(beam_size=2, n_best=2, max_length=6)
    return Translator(run, decode, torch.device("cpu"), options=TranslateOptions(**options))


def test_each_sentence_is_translated_as_it_would_be_alone(run):
    """And a line without an end of sentence, or with one sentence, as without the option."""
    alone = translator(run).hypotheses(SENTENCES)
    lines = [" ".join(SENTENCES), f"  {SENTENCES[1]}   {SENTENCES[3]} ", "one two", "", " "]
    found = translator(run, paragraphs=True).hypotheses(lines)
    for line, parts in zip(found, (alone, [alone[1], alone[3]]), strict=False):
        assert [h.text for h in line] == [" ".join(h.text for h in ranked) for ranked in zip(*parts, strict=True)]
    assert [h.text for h in found[2]] == [h.text for h in translator(run).hypotheses("one two")]
    assert found[3:] == [[], []]


def test_links_are_those_of_the_sentences(run):
    """Moved to where the sentences stand in the line."""
    options = {"alignments": AlignmentOutput.soft, "format": Format.jsonl}
    alone = translator(run, **options).hypotheses(SENTENCES)
    (whole,) = translator(run, paragraphs=True, **options).hypotheses([" ".join(SENTENCES)])
    row = column = 0
    for (best, *_), sentence in zip(alone, SENTENCES, strict=True):
        assert best.alignment is not None
        assert whole[0].alignment is not None
        rows, columns = best.alignment.shape
        assert columns == len(sentence.split())
        block = whole[0].alignment[row : row + rows, column : column + columns]
        assert block == pytest.approx(best.alignment, abs=1e-5)
        row, column = row + rows, column + columns


def test_a_long_sentence_is_split_further_and_the_prefix_begins_the_first(run):
    """The warning is of the sentence; the others are not touched."""
    said = []
    given = translator(run, paragraphs=True, max_source=4)
    (found,) = given.hypotheses(
        ["One two. Ten nine eight seven six five."], warn=lambda *what: said.append(what), prefixes=["uno"]
    )
    assert [(number, "translated in 2 parts" in message) for number, message in said] == [(0, True)]
    parts = translator(run).hypotheses(["One two.", "Ten nine eight seven", "six five."], prefixes=["uno", None, None])
    assert found[0].text == " ".join(ranked[0].text for ranked in parts if ranked[0].text)


@pytest.mark.parametrize("language", ["en", "deu_Latn", "zh-Hans", "ar", "tlh", ""])
def test_nothing_is_lost(language):
    """Spans are in order and leave out nothing but white space, whatever the text and the language."""
    draw = random.Random(1)
    kinds = [
        "a",
        "Dr.",
        ". ",
        "! ",
        "。",
        "؟",
        " ",
        "  ",
        "\u00a0",
        "\t",
        "é",
        "😀",
        '"',
        "(",
        ")",
        "3.14",
        "…",
        "z. B.",
    ]
    for _ in range(300):
        text = "".join(draw.choices(kinds, k=draw.randrange(12)))
        end = 0
        for a, b in sentence_spans(text, language):
            assert text[end:a].strip() == ""
            assert a < b
            assert text[a:b] == text[a:b].strip()
            end = b
        assert text[end:].strip() == ""


def test_the_library_is_asked_for_before_anything_is_read(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(ConfigError, match=r"^translate\.paragraphs=true needs .* sentencex .*'\.\[paragraphs\]'"):
        translator(run, paragraphs=True)
    assert translator(run).translate("one")


def test_abbreviations_end_no_sentence():
    """In the language of the source, however it is written."""
    text = "Am 3. Mai kam z. B. Dr. Schmidt. Er ging."
    for language in ("de", "deu_Latn", "de-AT"):
        assert [text[a:b] for a, b in sentence_spans(text, language)] == [
            "Am 3. Mai kam z. B. Dr. Schmidt.",
            "Er ging.",
        ]
