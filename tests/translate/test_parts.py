"""Texts divided into what is translated at once: every part says where in its text it stands."""

from types import SimpleNamespace
from typing import Any

import pytest

from nmt.translate.parts import TextDivider

TEXTS = [
    "one two",
    "",
    "  one two three.  four five six seven eight nine. ten",
    "one, two three four, five six. seven eight nine ten eleven twelve",
]


def encode(texts: list[str]) -> list[list[int]]:
    """An id for each word: its length."""
    return [[len(word) for word in text.split()] for text in texts]


def divider(paragraphs: bool) -> TextDivider:
    tokenizer: Any = SimpleNamespace(encode=encode)
    return TextDivider(tokenizer, "en", paragraphs, limit=4, ceiling=None)


@pytest.mark.parametrize("paragraphs", [False, True])
def test_parts_are_the_text_where_they_say_and_leave_nothing_out(paragraphs):
    for text, (parts, warnings) in zip(TEXTS, divider(paragraphs).parts(TEXTS), strict=True):
        for part in parts:
            assert text[part.start : part.start + len(part.text)] == part.text
            assert [part.ids] == encode([part.text])
            assert len(part.ids) <= 4
        assert " ".join(part.text for part in parts).split() == text.split()
        assert bool(warnings) == (len(text.split()) > 4)


def test_sentences_are_parts_of_their_own_only_where_paragraphs_are_asked_for():
    text = "one two. three four."
    [(whole, _)] = divider(False).parts([text])
    [(sentences, _)] = divider(True).parts([text])
    assert [part.text for part in whole] == [text]
    assert [part.text for part in sentences] == ["one two.", "three four."]


def test_no_part_has_more_ids_than_the_model_reads():
    """Where a tokenizer makes three ids of a character, which nothing can divide."""
    tokenizer: Any = SimpleNamespace(encode=lambda texts: [[7] * 3 * len(text) for text in texts])
    [(parts, warnings)] = TextDivider(tokenizer, "en", False, 2, 2).parts(["ab"])
    assert [part.ids for part in parts] == [[7, 7], [7, 7]]
    assert len(warnings) == 1
