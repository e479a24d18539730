"""The checks of training text, one by one and all together against a slow reading of what they promise."""

import itertools
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.checks import UNPAIRED, Action, CheckCounts, ChecksConfig, blank, clean
from nmt.errors import ConfigError, DataError

GOOD = ("A good sentence.", "Ein guter Satz.")
HELD_OUT = ["Never train on this.", "Damit nie trainieren."]
# For each check: a pair that fails it alone, and the key that says what happens.
FAILING = {
    "line_counts": ("The other file ended.", UNPAIRED),
    "undecodable": (GOOD[0], b"Ein Br\xf6tchen.".decode("utf-8", "surrogateescape")),
    "blank": (GOOD[0], " \u200b\u00a0"),
    "long": ("so " * 11, "so sehr " * 4),
    "ratio": ("x" * 41, "ungefähr 10"),
    "in_test": (GOOD[0], "Damit nie trainieren. "),
}
STRICT = {"max_source": 10, "max_ratio": 3.5}


def run(pairs, table=None, **settings):
    return list(clean(pairs, ChecksConfig(**settings), table or CheckCounts(), HELD_OUT))


# Letters, marks and symbols that no font shows, and some of what is no letter at all.
UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0\ufe00\ufe0f\U000e0100"
UNSEEN += "\u061c\u200b\u2060\u2061\u2066\u2067\u2068\u2069\u202a\ufeff\u00ad\u00a0\u3000\x00\x1b\x85\U000e0041"


@pytest.mark.parametrize("check", FAILING)
def test_drop_leaves_the_pair_out_and_counts_it(check):
    table = CheckCounts()
    assert run([GOOD, FAILING[check], GOOD], table, **STRICT, **{check: Action.drop}) == [GOOD, GOOD]
    assert (table.read, table.kept, dict(table.dropped)) == (3, 2, {check: 1})
    assert table.first[check].startswith("pair 2")


@pytest.mark.parametrize("check", FAILING)
def test_refuse_says_where_and_what(check):
    with pytest.raises(DataError, match=rf"pair 2, (source|target) side.*data\.checks\.{check}=refuse"):
        run([GOOD, FAILING[check], GOOD], **STRICT, **{check: Action.refuse})


@pytest.mark.parametrize("check", [c for c in FAILING if c != "line_counts"])
def test_keep_keeps_the_pair_and_counts_it(check):
    table = CheckCounts()
    kept = run([GOOD, FAILING[check], GOOD], table, **STRICT, **{check: Action.keep})
    assert (len(kept), table.found[check], table.kept, table.dropped.total()) == (3, 1, 3, 0)


def test_without_a_limit_no_ratio_is_too_large():
    pair = ("x" * 1999, "y")
    assert run([pair]) == []
    assert run([pair], max_ratio=None) == [pair]


def test_undecodable_bytes_that_are_kept_become_replacement_characters():
    assert run([FAILING["undecodable"]], undecodable=Action.keep) == [(GOOD[0], "Ein Br\ufffdtchen.")]


def test_a_refused_byte_is_named():
    with pytest.raises(DataError, match=r"pair 1, target side, byte 7 \(0xf6\)"):
        run([FAILING["undecodable"]])
    with pytest.raises(DataError, match=r"byte 1 \(0xff; UTF-16\?"):
        run([(b"\xff\xfeA\x00".decode("utf-8", "surrogateescape"), GOOD[1])])


def test_a_line_without_a_partner_cannot_be_kept():
    with pytest.raises(ConfigError, match=r"data\.checks\.line_counts=keep"):
        ChecksConfig(line_counts=Action.keep)


def test_both_sides_blank_is_dropped_whatever_the_config():
    """Documents are often set apart so, and there is nothing to learn from it."""
    table = CheckCounts()
    assert run([GOOD, ("", "\u2028"), GOOD], table, blank=Action.refuse) == [GOOD, GOOD]
    assert dict(table.dropped) == {"both_blank": 1}


def test_lengths_are_bounds_that_may_be_reached():
    assert run([("x " * 10, "y " * 10)], max_source=10, max_target=10)
    assert not run([("x " * 10, "y " * 11)], max_source=10, max_target=10)
    assert run([("x" * 20, "y" * 20)], max_characters=20)
    assert not run([("x" * 21, "y" * 20)], max_characters=20)
    assert run([("x" * 60, "y" * 30), ("x" * 20, "y")], max_ratio=2)  # a side under ten characters counts as ten
    assert not run([("x" * 61, "y" * 30), ("x", "y" * 21)], max_ratio=2)


@pytest.mark.parametrize("text", ["", "\u200b\ufeff", "\u00ad", "\u200e \u200f", "\u200b" * 40, *UNSEEN])
def test_what_nobody_sees_is_blank(text):
    """However much of it there is."""
    assert blank(text)
    assert not blank(f"{text}x{text}")


def test_every_character_that_shows_something_is_text():
    """By Unicode's categories: letters, marks, numbers, punctuation and symbols, but those that are invisible."""
    for c in map(chr, range(0x3000)):
        shown = unicodedata.category(c)[0] in "LMNPS" and c not in UNSEEN
        assert blank(c) == (not shown) or unicodedata.category(c) in ("Cf", "Cn"), hex(ord(c))
    assert not any(map(blank, ("\u0600", "\u06dd", "\ue000", "\udc80", "\U0001f600", "\u0301", "\ufffd")))


# Characters that are often mishandled: line separators, zero-width, no-break, combining, right to left, astral.
ODD = "ab \t\u00a0\u00ad\u0085\u2028\u2029\u200b\u200d\u202f\ufeff\u0301\u1100\u1161\u0627\U0001f600e\u0301ÅA\u030a"
texts = st.text(alphabet=st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, texts), max_size=8))
def test_nothing_is_lost_or_shifted(pairs):
    """What is kept is the NFC of what came, stripped at the edges, in its order; what is not is counted."""
    table = CheckCounts()
    kept = list(clean(pairs, ChecksConfig(blank=Action.keep, ratio=Action.keep), table))
    tidied = [tuple(unicodedata.normalize("NFC", text).strip() for text in pair) for pair in pairs]
    invisible = [all(not any(unicodedata.category(c)[0] in "LMNPS" for c in text) for text in pair) for pair in tidied]
    rest = iter(tidied)
    assert all(pair in rest for pair in kept)
    assert table.read == len(pairs) == table.kept + table.dropped.total()
    assert len(kept) >= len(pairs) - sum(invisible)


def test_clean_is_lazy():
    """It takes no more than it gives: memory does not grow with the corpus."""
    taken = []
    endless = (taken.append(n) or GOOD for n in itertools.count())
    assert list(itertools.islice(clean(endless, ChecksConfig(), CheckCounts()), 3)) == [GOOD] * 3
    assert len(taken) == 3


def test_the_table_goes_through_json_and_prints():
    table = CheckCounts()
    run([GOOD, FAILING["blank"], ("", ""), (" Cafe\u0301", "Kaffee ")], table)
    assert CheckCounts(**json.loads(json.dumps(table.as_dict()))) == table
    printed = str(table).splitlines()
    assert "read 4, kept 2" in printed[0]
    assert [line.split("  ")[1] for line in printed[2:]] == [
        "both sides blank",
        "one side blank",
        "side rewritten in NFC",
        "side with white space at an edge",
    ]


@pytest.mark.parametrize("key", ["max_source", "max_target", "max_characters", "max_ratio"])
def test_bounds_are_checked(key):
    with pytest.raises(ConfigError, match=f"data.checks.{key} must be at least 1"):
        run([GOOD], **{key: 0})
