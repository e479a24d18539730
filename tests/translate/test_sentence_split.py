"""Long texts in parts: nothing lost, nothing too long, and cut where a reader would."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.translate.sentence_split import describe_split, split_long

TEXTS = st.text(st.sampled_from("ab .,!?;。、)\"'\u2028\t\n é"), min_size=1, max_size=60)


def words(texts):
    return [len(text.split()) for text in texts]


def characters(texts):
    return [sum(not c.isspace() for c in text) for text in texts]


def split(text, limit, sizes=words):
    found = split_long(text, limit, sizes)
    return [text[a:b].strip() for a, b in found.spans], found.where


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


FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"  # three emoji, shown as one
PEOPLE = FAMILY.replace("\u200d", "")
FLAGS = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7"  # two flags of two code points each
ACCENTED = "e\u0301\u0323"


def code_points(texts):
    return [len(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        (f"aa{FAMILY}bb", 3, ["aa", FAMILY, "bb"]),
        (FLAGS, 3, [FLAGS[:2], FLAGS[2:]]),
        (FLAGS, 1, [FLAGS[:2], FLAGS[2:]]),
        (f"ab{ACCENTED}{ACCENTED}", 4, ["ab", ACCENTED, ACCENTED]),
        (f"\u4e00\u3002\u0323{ACCENTED}", 3, ["\u4e00\u3002\u0323", ACCENTED]),
        (FAMILY, 2, [FAMILY]),
    ],
)
def test_no_character_of_several_code_points_is_split(text, limit, parts):
    """An emoji, a flag, a letter with its marks: as a whole in one part, even if it is larger than the limit."""
    assert split(text, limit, code_points)[0] == parts


@given(st.text(st.sampled_from(f"ab .\u3002{FAMILY}{FLAGS}{ACCENTED}\u1100\u1161\u11a8"), min_size=1, max_size=40))
def test_parts_end_between_characters(text):
    """As the rules of Unicode Standard Annex 29 for what this alphabet holds have them, written out here."""
    spans, _ = split_long(text, 2, code_points)
    for end in {b for _, b in spans} - {len(text)}:
        before, after = text[end - 1], text[end]
        flags = len(text[:end]) - len(text[:end].rstrip(FLAGS))
        assert after not in "\u0301\u0323\u200d"
        assert not (after in PEOPLE and re.search(f"[{PEOPLE}][\u0301\u0323]*\u200d$", text[:end]))
        assert not (after in FLAGS and flags % 2)
        assert (before, after) not in {("\u1100", "\u1100"), ("\u1100", "\u1161"), ("\u1161", "\u1161")}
        assert not (before in "\u1161\u11a8" and after == "\u11a8")


def test_a_character_that_the_model_cannot_read_is_split_into_code_points():
    """Rather than cut; other characters stay whole."""
    text = f"ab{FAMILY}{ACCENTED}"
    spans, where = split_long(text, 2, code_points, ceiling=3)
    assert [text[a:b] for a, b in spans] == ["ab", FAMILY[:3], FAMILY[3:], ACCENTED]
    assert where == "inside characters that are larger than the model can read"


@pytest.mark.parametrize(
    ("total", "parts", "where", "ceiling", "message"),
    [
        (9, [4, 5], "at ends", None, "9 pieces, over 5: translated in 2 parts, split at ends"),
        (9, [9], "", None, "9 pieces, over 5: translated as a whole: no place to split"),
        (9, [9], "", 7, "9 pieces, over 5: cut after 7 of 9 pieces: no place to split"),
        (20, [5, 8, 7], "", 9, "translated in 3 parts, split ; 2 of them over 5: no place to split"),
        (20, [5, 8, 7], "", 7, "3 parts, split ; part 2 cut after 7 of 8 pieces: no place to split"),
        (20, [5, 8, 7], "", 6, "3 parts, split ; 2 parts cut after 6 pieces, 3 left out in all: no place to split"),
    ],
)
def test_the_message_says_what_was_done_and_what_was_left_out(total, parts, where, ceiling, message):
    assert describe_split(total, 5, parts, where, ceiling).endswith(message)
