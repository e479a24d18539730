"""Word alignments read from attention, and judged against gold ones (nmt/data/pharaoh.py has their form)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nmt.data.pharaoh import Alignment
from nmt.errors import DataError
from nmt.models.seq2seq import zero_based
from nmt.settings import check_ranges, setting

SHIFTS = (0, 1)  # target word i is read at decoder step i + shift


class Pool(Enum):
    """How the target pieces of a word share in its weights."""

    mean = "mean"
    max = "max"


@dataclass
class AlignConfig:
    """How alignments are read from attention (align.*)."""

    shift: int | None = setting(
        None,
        "read target word i at decoder step i (0) or i + 1, which has read it (1; Luong et al. 2015); null: as "
        "trainer.guided_shift for the head that was taught, else 0",
        choices=SHIFTS,
    )
    pool: Pool = setting(Pool.mean, "target pieces of a word: mean or max")
    layer: int | None = setting(
        None,
        "1 is the first, -1 the last; null: the one of trainer.guided_alignment or agreement, else the mean of all",
        nonzero=True,
    )
    head: int | None = setting(
        None,
        "of that layer, or of each; null: the mean of all, or the one taught where layer is null too",
        nonzero=True,
    )

    def __post_init__(self) -> None:
        check_ranges(self, "align")

    @property
    def steps_later(self) -> int:
        """``shift``, or 0 where it is open."""
        return self.shift or 0


@dataclass(frozen=True)
class AlignmentScore:
    """A alignments against sure links S and possible links P, S in P (Och and Ney 2003, section 5).

    precision = |A and P| / |A|     recall = |A and S| / |S|
    AER       = 1 - (|A and S| + |A and P|) / (|A| + |S|)

    each over the links of all sentences together; a quotient of nothing by nothing counts as no error.
    """

    aer: float
    precision: float
    recall: float
    links: int  # |A|
    sure: int  # |S|
    possible: int  # |P|

    def __str__(self) -> str:
        return (
            f"AER {self.aer:.2%}  precision {self.precision:.2%}  recall {self.recall:.2%}"
            f"  ({self.links} links; gold: {self.sure} sure, {self.possible - self.sure} possible)"
        )


def one_map(weights: np.ndarray, layer: int | None, head: int | None) -> np.ndarray:
    """The mean of weights (layers, heads, T, S) over the layers and heads that are not chosen: (T, S)."""
    layers = [zero_based(layer, len(weights), "align.layer")] if layer is not None else slice(None)
    heads = [zero_based(head, weights.shape[1], "align.head")] if head is not None else slice(None)
    return weights[layers][:, heads].mean((0, 1))


def word_weights(
    weights: np.ndarray,
    source_words: Sequence[int],
    target_words: Sequence[int],
    shift: int = 0,
    pool: Pool = Pool.mean,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Attention between pieces to weights between words.

    w[j, i] = mean over the pieces t of target word j of  sum over the pieces s of source word i of  a[t + shift, s]

    (pool=max: the maximum over t).  a (T+1, S or S+1) float holds a row for each target piece and one for
    end-of-sentence, and perhaps a column for end-of-sentence, which is dropped.  shift=0 reads a piece in the row that
    predicts it and drops the last row; shift=1 in the next row, to which the piece is the input, and drops the first.
    ``source_words`` (S,) and ``target_words`` (T,) give each piece's word; ``size`` is (target words, source words),
    by default as many as the pieces name.  Words without a piece have weight 0.  Returns float64.
    """
    T, S = len(target_words), len(source_words)
    if weights.shape[0] != T + 1 or weights.shape[1] not in (S, S + 1):
        raise ValueError(f"attention of shape {weights.shape} does not fit {T} target and {S} source pieces")
    rows, columns = size or (max(target_words, default=-1) + 1, max(source_words, default=-1) + 1)
    piece_in_source_word = np.zeros((S, columns))
    piece_in_source_word[np.arange(S), list(source_words)] = 1
    by_piece = weights[shift : shift + T, :S].astype(np.float64) @ piece_in_source_word  # (T, columns)
    words = np.zeros((rows, columns))
    if pool is Pool.max:
        np.maximum.at(words, list(target_words), by_piece)
    else:
        np.add.at(words, list(target_words), by_piece)
        words /= np.maximum(np.bincount(list(target_words), minlength=rows), 1)[:, None]
    return words


def hard_alignment(words: np.ndarray) -> Alignment:
    """Each target word linked to the source word of greatest weight (the first of equals; none if all are 0)."""
    links = frozenset(
        (int(row.argmax()), j) for j, row in enumerate(words) if row.size and np.isfinite(row).all() and row.max() > 0
    )
    return Alignment(links, links)


def soft_line(words: np.ndarray) -> str:
    """All weights as Marian writes them: target words separated by spaces, their source weights by commas."""
    return " ".join(",".join(f"{weight:.4g}" for weight in row) for row in words)


def score_alignments(found: Sequence[Alignment], gold: Sequence[Alignment]) -> AlignmentScore:
    """AER, precision and recall; the sure links of ``found`` are taken.  Raises DataError for unequal counts."""
    if len(found) != len(gold):
        raise DataError(f"{len(found)} alignments cannot be judged against {len(gold)} gold ones")
    pairs = list(zip(found, gold, strict=True))
    links = sum(len(f.sure) for f in found)
    sure = sum(len(g.sure) for g in gold)
    in_sure = sum(len(f.sure & g.sure) for f, g in pairs)
    in_possible = sum(len(f.sure & g.possible) for f, g in pairs)
    return AlignmentScore(
        aer=1 - _quotient(in_sure + in_possible, links + sure),
        precision=_quotient(in_possible, links),
        recall=_quotient(in_sure, sure),
        links=links,
        sure=sure,
        possible=sum(len(g.possible) for g in gold),
    )


def _quotient(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
