"""Word alignments: read from attention, written as Pharaoh lines, judged against gold ones.

A link (i, j) joins source word i and target word j, both counted from 0 over the words that white space
separates.  A Pharaoh line holds a sentence's links: ``i-j`` a sure one, ``ipj`` a possible one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from nmt.errors import ConfigError, DataError

Links = frozenset[tuple[int, int]]

_LINK = re.compile(r"(\d+)([-p])(\d+)", re.ASCII)


class Pool(Enum):
    """How the target pieces of a word share in its weights."""

    mean = "mean"
    max = "max"


@dataclass
class AlignConfig:
    """How alignments are read from attention (align.*)."""

    shift: int = field(
        default=0, metadata={"help": "read target word i at decoder step i (0) or i + 1 (1; Luong et al. 2015)"}
    )
    pool: Pool = field(default=Pool.mean, metadata={"help": "target pieces of a word: mean or max"})

    def __post_init__(self) -> None:
        if isinstance(self.shift, int) and self.shift not in (0, 1):
            raise ConfigError(f"align.shift must be 0 or 1, got {self.shift}")


@dataclass(frozen=True)
class Alignment:
    """The links of one sentence pair."""

    sure: Links
    possible: Links  # holds the sure ones too

    def __str__(self) -> str:
        links = [(j, i, "-") for i, j in self.sure] + [(j, i, "p") for i, j in self.possible - self.sure]
        return " ".join(f"{i}{mark}{j}" for j, i, mark in sorted(links))


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


def parse_pharaoh(lines: Iterable[str], name: str, lengths: Sequence[tuple[int, int]] | None = None) -> list[Alignment]:
    """Pharaoh lines to alignments; a blank line is a sentence without links.

    ``lengths``, words of each source and target, makes sure that the lines belong to those sentences.  Raises
    DataError, naming ``name`` and the line, for a malformed link or one outside its sentences, and for a wrong
    number of lines.
    """
    alignments = []
    for number, line in enumerate(lines, 1):
        sure, possible = set(), set()
        for word in line.split():
            match = _LINK.fullmatch(word)
            if match is None:
                raise DataError(f"{name}:{number}: {word!r} is not a link; write 3-4 (sure) or 3p4 (possible)")
            link = (int(match[1]), int(match[3]))
            possible.add(link)
            if match[2] == "-":
                sure.add(link)
            if lengths is not None and number <= len(lengths):
                _check_inside(link, lengths[number - 1], word, f"{name}:{number}")
        alignments.append(Alignment(frozenset(sure), frozenset(possible)))
    if lengths is not None and len(alignments) != len(lengths):
        raise DataError(f"{name} has {len(alignments)} lines for {len(lengths)} sentence pairs")
    return alignments


def _check_inside(link: tuple[int, int], lengths: tuple[int, int], word: str, where: str) -> None:
    for index, length, side in zip(link, lengths, ("source", "target"), strict=True):
        if index >= length:
            raise DataError(
                f"{where}: link {word} is outside its {side} sentence of {length} words (they count from 0)"
            )


def read_pharaoh(path: Path, lengths: Sequence[tuple[int, int]] | None = None) -> list[Alignment]:
    """A file of Pharaoh lines; see ``parse_pharaoh``.  Raises DataError also for a file that cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            return parse_pharaoh(lines, str(path), lengths)
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: {e}") from None


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
