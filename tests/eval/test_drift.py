"""Offsets of links from gold ones, by place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.data.pharaoh import Alignment, parse_pharaoh
from nmt.eval.drift import offsets

links = st.frozensets(st.tuples(st.integers(0, 6), st.integers(0, 25)), max_size=20)
alignments = st.builds(lambda sure, more: Alignment(sure, sure | more), links, links)


def test_by_hand():
    """Word 0 is one source word too far right; word 1 has sure gold links, whose mean is 2, and its possible one does
    not count; word 2 has a possible one alone; word 11 is in the second row; words 3 and 4 are linked on one side only.
    """
    gold = parse_pharaoh(["0-0 1-1 3-1 9p1 4p2 0-3 5-11"], "gold")
    found = parse_pharaoh(["1-0 2-1 0-2 0-4 2-11 3-11"], "found")
    first, second = offsets(found, gold)
    assert (first.first, first.last, first.words) == (1, 10, 3)
    assert first.mean == pytest.approx((1 + 0 - 4) / 3)
    assert first.distance == pytest.approx((1 + 0 + 4) / 3)
    assert (second.first, second.last, second.words) == (11, 20, 1)
    assert (second.mean, second.distance) == (-2.5, 2.5)


@given(st.lists(st.tuples(links, alignments), max_size=4))
def test_the_formula_word_by_word(pairs):
    found, gold = [Alignment(a, a) for a, _ in pairs], [g for _, g in pairs]
    rows = {row.first: row for row in offsets(found, gold)}
    for place in range(0, 30, 10):
        d = []
        for mine, true in zip(found, gold, strict=True):
            for j in range(place, place + 10):
                here = [i for i, at in mine.sure if at == j]
                there = [i for i, at in true.sure if at == j] or [i for i, at in true.possible if at == j]
                d += [np.mean(here) - np.mean(there)] if here and there else []
        assert (place + 1 in rows) == bool(d)
        if d:
            row = rows[place + 1]
            assert (row.words, row.mean, row.distance) == (
                len(d),
                pytest.approx(np.mean(d)),
                pytest.approx(np.mean(np.abs(d))),
            )


def test_links_that_fall_behind_by_a_word_in_ten_show_it():
    diagonal = frozenset((j, j) for j in range(40))
    behind = frozenset((j - j // 10, j) for j in range(40))
    found, gold = [Alignment(behind, behind)], [Alignment(diagonal, diagonal)]
    assert [row.mean for row in offsets(found, gold)] == [0, -1, -2, -3]
