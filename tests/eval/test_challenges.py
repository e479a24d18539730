"""The faults of translations, counted by hand."""

import pytest

from nmt.eval.challenges import (
    Share,
    challenges,
    copied,
    invented,
    repeats,
    unaligned_words,
    words_of,
    written_numbers_in,
)
from nmt.eval.copying import CopyCounts, emoji_in, urls_in


@pytest.mark.parametrize(
    ("source", "reference", "hypothesis", "found"),
    [
        ("in 1984", "im Jahr 1984", "1984 war es", (1, 1)),
        ("in 1984", "im Jahr 1984", "1948 war es", (0, 1)),
        ("3 and 3", "3 und 3", "3", (1, 2)),
        ("3", "drei", "3", (0, 0)),  # the reference writes it out, so copying is not asked for
        ("at 3:15", "um 3:15", "um 3.15", (0, 1)),
        ("none", "keine", "7", (0, 0)),
    ],
)
def test_numbers_are_copied_as_often_as_both_sides_have_them(source, reference, hypothesis, found):
    assert copied(source, reference, hypothesis, written_numbers_in) == Share(*found)


@pytest.mark.parametrize(
    ("source", "reference", "hypothesis", "found"),
    [
        ("in 1984", "im Jahr 1984", "1984 war es", (0, 1)),
        ("in 1984", "im Jahr 1984", "1948 war es", (1, 1)),
        ("two", "2", "2 und 2", (1, 2)),  # one of them is the reference's
        ("1,5", "1,5", "1,5 1,5", (1, 2)),
        ("none", "keine", "", (0, 0)),
    ],
)
def test_what_neither_source_nor_reference_has_is_invented(source, reference, hypothesis, found):
    assert invented(source, reference, hypothesis, written_numbers_in) == Share(*found)


def test_urls_end_before_what_ends_the_sentence():
    text = 'See https://a.org/b?c=1&d=2, (www.x.de) or <a href="ftp://f.net/">it</a>. http://a.org http://a.org!'
    assert urls_in(text) == {"https://a.org/b?c=1&d=2": 1, "www.x.de": 1, "ftp://f.net/": 1, "http://a.org": 2}


def test_dropped_and_invented_without_a_reference():
    """By digits, so that the signs between them may be those of the language; what a URL holds is no number."""
    counts = CopyCounts()
    counts.add("1,000.5 and 7 of https://a.org/99", "1.000,5 und 8 von https://a.org/99")
    counts.add("nothing", "www.b.de 3")
    assert str(counts) == "numbers: 1 of 2 dropped, 2 invented; URLs: 0 of 1 dropped, 1 invented"


@pytest.mark.parametrize(
    ("line", "count"),
    [("a b c d", 0), ("a b c d a b c d", 1), ("a a a a a", 1), ("a a a a a a", 2), ("A b c d x a B c d", 1), ("", 0)],
)
def test_repeated_n_grams_of_four_words(line, count):
    assert repeats(line) == count


def test_shares_of_a_small_set():
    sources = ["a dog", "one two three four", "it is 12 now", "", "so"]
    references = ["ein Hund", "eins zwei drei vier", "es ist 12", "", "so"]
    hypotheses = ["ein Hund", "eins zwei drei vier eins zwei drei vier", "es ist 13", "", ""]
    finished = [True, False, True, True, True]
    found = challenges(sources, references, hypotheses, finished, words_of(["Ein Hund", "es ist so"]).__contains__)
    assert found.numbers_copied == Share(0, 1)
    assert found.numbers_invented == Share(1, 1)
    assert found.urls_copied == found.urls_invented == Share(0, 0)
    assert found.emoji_copied == Share(0, 0)
    assert found.repeated == Share(1, 5)
    assert found.unseen_words == Share(8, 12)
    assert found.short_right == Share(1, 2)
    assert found.empty == Share(1, 4), "of the sources that are not blank"
    assert found.cut == Share(1, 4)
    assert found.unaligned is None
    assert "unaligned" not in str(found)
    assert found.to_dict()["cut"] == {"part": 1, "of": 4}


def test_emoji_are_copied_as_often_as_both_have_them():
    dog, heart, flag = "\U0001f415", "\u2764", "\U0001f1e9\U0001f1ea"
    found = challenges([f"a {dog}{dog} {heart}"], [f"ein {dog}{dog}"], [f"ein {dog} {heart}"], [True])
    assert found.emoji_copied == Share(1, 2)
    assert emoji_in(f"{heart} {flag}, 12 ä") == {heart: 1}, "of the letters of a flag none is a picture"


def test_a_repetition_of_the_reference_is_no_fault():
    line = "ha ha ha ha ha"
    assert challenges([line], [line], [line], [True]).repeated == Share(0, 1)


def test_a_share_of_nothing_is_no_number():
    assert Share(0, 0).value is None
    assert str(Share(0, 0)) == "-"


def test_source_words_without_a_link():
    pairs = [([(0, 0), (2, 1)], 4), ([], 2), ([(0, 0), (0, 1)], 1)]
    assert unaligned_words(pairs) == Share(2 + 2 + 0, 7)
