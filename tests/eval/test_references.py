"""What is said of references before scores against them are believed."""

import pytest

from nmt.eval.references import notes_on_references

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
