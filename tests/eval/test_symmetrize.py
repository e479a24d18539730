"""Symmetrization against a slow reference: the published pseudo-code, cell by cell over the whole matrix."""

import random

import numpy as np
import pytest

from nmt.data.pharaoh import Alignment, parse_line
from nmt.eval.symmetrize import Symmetrize, by_mean, symmetrize, turned


def links(line: str) -> Alignment:
    return parse_line(line, "test")


def of_pairs(pairs: set) -> Alignment:
    return Alignment(frozenset(pairs), frozenset(pairs))


def grow_diag_final_and(forward: set, reverse: set, S: int, T: int, final: bool) -> set:
    """GROW-DIAG and FINAL-AND as statmt.org writes them, with e the target and f the source."""
    neighbouring = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    alignment, union = forward & reverse, forward | reverse

    def linked_source(f: int) -> bool:
        return any((f, e) in alignment for e in range(T))

    def linked_target(e: int) -> bool:
        return any((f, e) in alignment for f in range(S))

    added = True
    while added:
        added = False
        for e in range(T):
            for f in range(S):
                if (f, e) not in alignment:
                    continue
                for df, de in neighbouring:
                    new = f + df, e + de
                    unaligned = not linked_source(new[0]) or not linked_target(new[1])
                    if unaligned and new in union:
                        alignment.add(new)
                        added = True
    for direction in (forward, reverse) if final else ():
        for e in range(T):
            for f in range(S):
                if not linked_source(f) and not linked_target(e) and (f, e) in direction:
                    alignment.add((f, e))
    return alignment


def drawn(draw: random.Random, S: int, T: int) -> set:
    """For about three quarters of the target words a source word near the diagonal."""
    return {(min(S - 1, max(0, e * S // T + draw.randint(-2, 2))), e) for e in range(T) if draw.random() < 0.75}


@pytest.mark.parametrize("how", [Symmetrize.grow_diag, Symmetrize.grow_diag_final_and])
def test_growing_equals_the_pseudo_code(how):
    draw, larger = random.Random(3), 0
    for _ in range(400):
        S, T = draw.randint(1, 9), draw.randint(1, 9)
        forward, reverse = drawn(draw, S, T), {(i, j) for j, i in drawn(draw, T, S)}
        expected = grow_diag_final_and(set(forward), set(reverse), S, T, how is Symmetrize.grow_diag_final_and)
        found = symmetrize(of_pairs(forward), of_pairs(reverse), how)
        assert found.sure == found.possible == expected
        assert forward & reverse <= expected <= forward | reverse
        larger += forward & reverse < expected < forward | reverse
    assert larger > 100


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Symmetrize.intersection, "0-0 3-3"),
        (Symmetrize.union, "0-0 1-0 1-1 2-1 3-3 5-5 5-6"),
        # 1-0 beside 0-0, 1-1 beside that, 2-1 beside that: each has a word without a link.  5-5 and 5-6 are too far.
        (Symmetrize.grow_diag, "0-0 1-0 1-1 2-1 3-3"),
        # 5-5 links two such words; after it, 5-6 does not.
        (Symmetrize.grow_diag_final_and, "0-0 1-0 1-1 2-1 3-3 5-5"),
    ],
)
def test_an_example_by_hand(how, expected):
    forward, reverse = links("0-0 1-1 2-1 3-3 5-5"), links("0-0 1-0 3-3 5-6")
    assert str(symmetrize(forward, reverse, how)) == str(links(expected))


def test_a_neighbour_between_two_linked_words_is_not_added():
    """1-0 is between them, and in the union alone."""
    assert str(symmetrize(links("0-0 1-1 1-0"), links("0-0 1-1"), Symmetrize.grow_diag)) == "0-0 1-1"


@pytest.mark.parametrize("how", [how for how in Symmetrize if how is not Symmetrize.mean])
def test_equal_alignments_and_empty_ones(how):
    same = links("0-2 1-1 3-0")
    assert symmetrize(same, same, how) == same
    assert symmetrize(links(""), links(""), how) == links("")


def test_possible_links_are_not_taken():
    assert str(symmetrize(links("0-0 1p1"), links("0p0 1-1"), Symmetrize.union)) == "0-0 1-1"


def test_turned_exchanges_the_sides():
    assert turned(links("0-2 1p1")) == links("2-0 1p1")


def test_the_mean_of_weights_is_over_a_half():
    """Cell by cell; one direction alone cannot make a link, and what is not finite counts as 0."""
    draw = np.random.default_rng(1)
    forward = draw.dirichlet([0.1] * 5, 9)  # (T, S)
    reverse = (forward.T + draw.random((5, 9))) / 2
    forward[0], reverse[1] = np.nan, np.inf
    expected = {(i, j) for i in (0, 2, 3, 4) for j in range(1, 9) if forward[j, i] + reverse[i, j] > 1}
    expected |= {(i, 0) for i in (0, 2, 3, 4) if reverse[i, 0] > 1} | {(1, j) for j in range(1, 9) if forward[j, 1] > 1}
    found = by_mean(forward, reverse)
    assert found == of_pairs(expected)
    assert expected
    assert by_mean(np.eye(3), np.zeros((3, 3))) == of_pairs(set())
    assert by_mean(np.eye(3), np.full((3, 3), 0.01)) == of_pairs({(0, 0), (1, 1), (2, 2)})
