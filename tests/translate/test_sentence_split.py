"""Long texts in parts: nothing lost, nothing too long, and cut where a reader would."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.translate.sentence_split import split_long

TEXTS = st.text(st.sampled_from("ab .,!?;。、)\"'\u2028\t\n é"), min_size=1, max_size=60)


def words(texts):
    return [len(text.split()) for text in texts]


def characters(texts):
    return [sum(not c.isspace() for c in text) for text in texts]


def split(text, limit, sizes=words):
    parts = split_long(text, limit, sizes)
    return [text[a:b].strip() for a, b in parts.spans], parts.where


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 9), st.sampled_from([words, characters]))
def test_parts_are_small_and_make_the_whole(text, limit, sizes):
    """Side by side, in order, every visible character in one of them."""
    spans, _ = split_long(text, limit, sizes)
    assert all(size <= limit for size in sizes([text[a:b] for a, b in spans]))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert "".join(text[a:b] for a, b in spans).split() == text.split() or sizes is characters
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "limit", "parts", "where"),
    [
        ("A b. C d! E f?", 4, ["A b. C d!", "E f?"], "sentence ends"),
        (
            'He said "no." So be it, at 3.14 o\'clock.',
            7,
            ['He said "no."', "So be it, at 3.14 o'clock."],
            "sentence ends",
        ),
        ('He said "no," and that, at 3.14.', 4, ['He said "no,"', "and that, at 3.14."], "clause marks"),
        ("a b, c d. e f g h", 4, ["a b, c d.", "e f g h"], "sentence ends"),
        ("a b, c d e f g h, i", 5, None, "between words"),
        ("一二三。四五六。", 4, ["一二三。", "四五六。"], "sentence ends"),
        ("aaaaaaaaaa", 4, ["aaaa", "aaaa", "aa"], "inside words"),
    ],
)
def test_the_best_place_that_suffices_is_taken(text, limit, parts, where):
    """Sentence ends before clause marks before spaces; a number's point and a closing quote are no ends."""
    sizes = characters if " " not in text else words
    found, name = split(text, limit, sizes)
    assert where in name
    assert parts is None or found == parts


def test_a_short_text_is_left_alone():
    assert split("a b. c", 3) == (["a b. c"], "")


def test_a_very_long_line_takes_linear_time():
    """A hundred thousand words without a mark."""
    parts, where = split("word " * 100_000, 250)
    assert (len(parts), where) == (400, "between words, for want of marks")
