"""Unknown words and what takes their place."""

import numpy as np
import pytest

from nmt.errors import DataError
from nmt.translate.unknown_words import read_dictionary, replace_unknown

WEIGHTS = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4], [0.0, 0.0, 0.0]])


def test_each_unknown_word_becomes_the_one_it_attends_to():
    """By its dictionary entry if it has one; known words, and those that attend to nothing, stay."""
    words, unknown = ["w", "<unk>", "<unk>", "<unk>"], [False, True, True, True]
    found = replace_unknown(words, unknown, WEIGHTS, ["Rome", "is", "old"], {"old": "alt", "is": "ist"})
    assert found == ["w", "Rome", "alt", "<unk>"]
    assert words[1] == "<unk>"


def test_a_dictionary_is_two_columns(tmp_path):
    """White space of any kind between them; the first entry counts; keys are normalized, translations are not."""
    path = tmp_path / "words"
    path.write_bytes("\ufeffHouse\tHaus\r\n\n  old   alt\nhouse Gebäude\n".encode())
    assert read_dictionary(path, str.lower) == {"house": "Haus", "old": "alt"}


@pytest.mark.parametrize(("line", "count"), [("three columns here", 3), ("alone", 1)])
def test_other_columns_are_refused_by_line(tmp_path, line, count):
    (tmp_path / "words").write_text(f"a b\n{line}\n")
    with pytest.raises(DataError, match=rf"words:2: .* not {count}"):
        read_dictionary(tmp_path / "words", str)


def test_a_missing_dictionary_is_named(tmp_path):
    with pytest.raises(DataError, match=r"translate\.dictionary=.*nowhere"):
        read_dictionary(tmp_path / "nowhere", str)
