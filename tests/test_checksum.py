"""A bit that flipped in a file with a checksum is never believed, and a file without one is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.checksum import check_text, json_with_checksum, parse_json, with_checksum
from nmt.errors import RunError

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), TREES, max_size=4).filter(lambda tree: "sha256" not in tree))
def test_values_come_back(tree):
    assert parse_json(json_with_checksum(tree)) == tree


@given(st.text())
def test_any_text_fits_its_own_last_line(text):
    check_text(with_checksum(text))
    check_text(text)


def flips(text: str):
    """The text with each of its bits flipped, where that is text."""
    data = text.encode()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            yield changed.decode()
        except UnicodeDecodeError:
            continue


def test_json_with_a_flipped_bit_is_refused_or_means_the_same():
    """White space may differ; and a checksum that lost its own name checks nothing, but then the rest is whole."""
    tree = {"folder": "/home/a", "processes": 12, "score": 0.5, "on": True, "list": [1, "é", None]}
    for changed in flips(json_with_checksum(tree)):
        try:
            found = parse_json(changed)
        except ValueError:  # a RunError is one, too
            continue
        assert {key: found[key] for key in tree} == tree


def test_a_text_with_a_flipped_bit_is_refused():
    """One bit of the first line or the last changes nothing of the rest, and passes at most then."""
    text = "seed: 1\nname: a\nlogger:\n  every: 50\n"
    for changed in flips(with_checksum(text)):
        if text not in changed:
            with pytest.raises(RunError, match="damaged, or changed by hand"):
                check_text(changed)


def test_a_text_that_was_cut_is_refused():
    """Also where it ends between two lines, which reads like a shorter configuration."""
    whole = with_checksum("seed: 1\nname: a\nlogger:\n  every: 50\n")
    for end in range(whole.index("\n") + 1, len(whole) - 1):
        with pytest.raises(RunError, match="damaged, or changed by hand"):
            check_text(whole[:end])


def test_values_that_somebody_changed_are_refused_until_the_checksum_is_deleted():
    changed = json_with_checksum({"seed": 1}).replace("1", "2", 1)
    with pytest.raises(RunError, match="after a change of your own delete sha256"):
        parse_json(changed)
    assert parse_json('{"seed": 2}') == {"seed": 2}
    assert parse_json("[1]") == [1]
