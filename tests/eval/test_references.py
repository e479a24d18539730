"""What is said of references before scores against them are believed."""

import unicodedata

import pytest

from nmt.eval.metrics import score_corpus
from nmt.eval.references import notes_on_references, notes_on_translations

CHINESE = ["我喜欢猫。", "他去了东京。"]


@pytest.mark.parametrize("code", ["xx", "", "de", "eng_Latn"])
def test_text_without_spaces_under_another_language_is_noticed(code):
    (note,) = notes_on_references(CHINESE, code)
    assert f"data.target={code} " in note
    assert "data.target=zh " in note


@pytest.mark.parametrize("code", ["zh", "zho_Hans", "ZHO", "cmn-Hant", "ja"])
def test_nothing_is_said_where_the_tokenizer_fits(code):
    assert notes_on_references(CHINESE, code) == []


def test_nothing_is_said_of_text_with_spaces():
    assert notes_on_references(["Ein Mann mit Hut.", "Москва"], "xx") == []


def test_tokenized_translations_are_noticed_once(caplog):
    """In one note with the file; sacreBLEU, which would say it in three lines for each metric and length, is quiet."""
    hypotheses = [f"this is word {n} ." for n in range(120)] + ["the end."] * 30
    assert score_corpus(["bleu"], hypotheses, hypotheses)["bleu"].value == pytest.approx(100)
    assert caplog.records == []
    (note,) = notes_on_translations(hypotheses)
    assert note.startswith("120 of 150 lines of hypotheses.txt end in ")
    assert notes_on_translations(["the end."] * 150) == []


def test_references_that_are_not_composed_are_counted():
    """Their letters are those of translations, and their characters are not: 3.81 BLEU where all is equal."""
    lines = ["Der Hund läuft.", "Über Nacht", "Mann", "ein Gruß"]
    decomposed = [unicodedata.normalize("NFD", line) for line in lines]
    (note,) = notes_on_references(decomposed, "de", "test.de")
    assert note.startswith("2 of 4 lines of test.de are not in Unicode's composed form NFC")
    assert notes_on_references(lines, "de", "test.de") == []
    (singleton,) = notes_on_references(["10 \u212b"], "de")  # the angstrom sign is the letter Å after NFC
    assert singleton.startswith("1 of 1 lines of the references")
