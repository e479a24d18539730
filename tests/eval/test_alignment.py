"""Alignments: weights between words, AER."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_corpora import real_file

from nmt.data.pharaoh import Alignment, parse_pharaoh
from nmt.data.textfile import strict_lines
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import (
    AlignConfig,
    Pool,
    hard_alignment,
    one_map,
    score_alignments,
    soft_line,
    word_weights,
)

links = st.frozensets(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=8)
alignments = st.builds(lambda sure, more: Alignment(sure, sure | more), links, links)


def test_aer_by_hand():
    """Two sentences: |A| = 5, |S| = 4, |A and S| = 2, |A and P| = 4: AER = 1 - 6/9."""
    gold = parse_pharaoh(["0-0 1-1 1p2", "0-0 1-1 2p1"], "gold")
    found = parse_pharaoh(["0-0 1-2 5-5", "1-1 2-1"], "found")
    score = score_alignments(found, gold)
    assert (score.links, score.sure, score.possible) == (5, 4, 6)
    assert score.aer == pytest.approx(1 - 6 / 9)
    assert score.precision == pytest.approx(4 / 5)
    assert score.recall == pytest.approx(2 / 4)


@given(st.lists(st.tuples(links, alignments), max_size=4))
def test_aer_is_the_formula_counted_link_by_link(pairs):
    found, gold = [Alignment(a, a) for a, _ in pairs], [g for _, g in pairs]
    a = s = a_and_s = a_and_p = 0
    for i in range(13):
        for j in range(13):
            for mine, true in zip(found, gold, strict=True):
                a += (i, j) in mine.sure
                s += (i, j) in true.sure
                a_and_s += (i, j) in mine.sure and (i, j) in true.sure
                a_and_p += (i, j) in mine.sure and (i, j) in true.possible
    score = score_alignments(found, gold)
    assert score.aer == pytest.approx(1 - (a_and_s + a_and_p) / (a + s) if a + s else 0)
    assert score.precision == pytest.approx(a_and_p / a if a else 1)
    assert score.recall == pytest.approx(a_and_s / s if s else 1)


@given(st.lists(alignments, min_size=1, max_size=4))
def test_all_sure_links_and_any_possible_ones_are_no_error(gold):
    assert score_alignments([Alignment(g.sure, g.sure) for g in gold], gold).aer == 0
    assert score_alignments([Alignment(g.possible, g.possible) for g in gold], gold).aer == 0


def test_unequal_counts_are_refused():
    with pytest.raises(DataError, match=r"1 alignments .* 2 gold"):
        score_alignments(parse_pharaoh(["0-0"], "a"), parse_pharaoh(["0-0"] * 2, "b"))


@pytest.mark.parametrize("pool", Pool)
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("source_eos", [False, True])
def test_word_weights_are_the_formula_in_loops(pool, shift, source_eos):
    """Pieces of a word: summed over the source, averaged (or the largest) over the target."""
    rng = np.random.default_rng(0)
    source_words, target_words, size = [0, 0, 1, 3, 3, 3], [0, 1, 1, 1, 3], (5, 4)  # words 2 have no piece
    a = rng.random((len(target_words) + 1, len(source_words) + source_eos)).astype(np.float32)
    found = word_weights(a, source_words, target_words, shift, pool, size)
    assert found.shape == size
    for j in range(size[0]):
        for i in range(size[1]):
            sums = [
                sum(float(a[t + shift, s]) for s in range(len(source_words)) if source_words[s] == i)
                for t in range(len(target_words))
                if target_words[t] == j
            ]
            expected = 0 if not sums else max(sums) if pool is Pool.max else sum(sums) / len(sums)
            assert found[j, i] == pytest.approx(expected, abs=1e-12)


def test_attention_that_does_not_fit_the_pieces_is_refused():
    for shape in ((3, 3), (4, 2), (4, 5)):
        with pytest.raises(ValueError, match="does not fit"):
            word_weights(np.ones(shape), [0, 1, 2], [0, 1, 2])


def test_shift_reads_the_row_after():
    """Attention that lags one step is straight again with shift=1, and wrong with shift=0."""
    lagging = np.eye(5)[[4, 0, 1, 2, 3]]  # row t looks at word t - 1; the first at end-of-sentence
    words = list(range(4))
    straight = frozenset((i, i) for i in words)
    assert hard_alignment(word_weights(lagging, words, words, shift=1)).sure == straight
    found = hard_alignment(word_weights(lagging, words, words, shift=0)).sure
    assert found == {(0, 1), (1, 2), (2, 3)}  # word 0 looked at end-of-sentence alone: no link


def test_each_target_word_has_the_link_of_its_greatest_weight():
    found = hard_alignment(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0, 0, 0], [np.nan, 1, 0]]))
    assert found.sure == {(1, 0), (0, 1)}
    assert hard_alignment(np.zeros((2, 0))).sure == frozenset()


def test_soft_alignments_are_weights_between_commas():
    assert soft_line(np.array([[0.25, 0.75], [1, 0]])) == "0.25,0.75 1,0"


def test_one_map_is_the_mean_of_what_is_not_chosen():
    """Layers and heads count from 1, and back from -1."""
    weights = np.random.default_rng(0).random((3, 2, 4, 5))
    np.testing.assert_allclose(one_map(weights, None, None), sum(weights[i, k] for i in range(3) for k in (0, 1)) / 6)
    np.testing.assert_allclose(one_map(weights, 2, None), (weights[1, 0] + weights[1, 1]) / 2)
    np.testing.assert_allclose(one_map(weights, None, 2), (weights[0, 1] + weights[1, 1] + weights[2, 1]) / 3)
    np.testing.assert_array_equal(one_map(weights, -2, 1), weights[1, 0])
    np.testing.assert_array_equal(one_map(weights[:1], -2, -1), weights[0, 1])  # of one layer that one
    with pytest.raises(ConfigError, match=r"align\.layer=4: this model has only 3"):
        one_map(weights, 4, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 2}, r"align\.shift: 2 is not one of 0, 1"),
        ({"layer": 0}, r"align\.layer .* 0"),
        ({"head": 0}, "head"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        AlignConfig(**changes)


def test_gold_of_the_hansards_belongs_to_its_sentences():
    hansards = real_file("hansards_enfr")
    texts = [(hansards / f"gold.{side}").read_text(encoding="utf-8").split("\n")[:-1] for side in ("en", "fr")]
    lengths = [(len(s.split()), len(t.split())) for s, t in zip(*texts, strict=True)]
    gold = parse_pharaoh(strict_lines(hansards / "gold.align"), "gold.align", lengths)
    assert len(gold) == 247
    assert all(g.sure <= g.possible for g in gold)
