"""How far found alignment links lie from the gold ones along a sentence: whether attention runs ahead or falls behind.

For the target word j, with I_j the source words that it is linked to and G_j those of the gold alignment (the sure
ones, or the possible ones where none is sure), the offset is

    d_j = mean(I_j) - mean(G_j)        in source words; above 0 the links lie too far right

It is averaged over the words at the same places of all sentences.  A mean that grows from place to place is a drift:
each link is a little further off than the one before.  The mean of |d_j| says how far off links are in either
direction.  AER knows nothing of either: it counts a link beside the right word as it does one at the other end.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from nmt.data.pharaoh import Alignment, Links

STEP = 10  # target words to a row


class Offset(NamedTuple):
    """The target words ``first`` to ``last`` (counted from 1) of all sentences, as far as both alignments have them."""

    first: int
    last: int
    words: int
    mean: float  # of d_j
    distance: float  # mean of |d_j|

    def __str__(self) -> str:
        place, words = f"{self.first}-{self.last}", f"{self.words:,} words"
        return f"  target words {place:>7}  offset {self.mean:+6.2f}  distance {self.distance:5.2f}  ({words})"


def offsets(found: Sequence[Alignment], gold: Sequence[Alignment]) -> list[Offset]:
    """Offsets of the (sure) links of ``found`` by place in the target sentence; places without any are left out."""
    at: defaultdict[int, list[float]] = defaultdict(list)
    for mine, true in zip(found, gold, strict=True):
        here, sure, possible = (sources_of(links) for links in (mine.sure, true.sure, true.possible))
        for j in here.keys() & possible.keys():
            at[j // STEP].append(fmean(here[j]) - fmean(sure.get(j) or possible[j]))
    return [Offset(k * STEP + 1, (k + 1) * STEP, len(at[k]), fmean(at[k]), fmean(map(abs, at[k]))) for k in sorted(at)]


def sources_of(links: Links) -> dict[int, list[int]]:
    """The source words of each target word that has a link."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for i, j in links:
        found[j].append(i)
    return found
