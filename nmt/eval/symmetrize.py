"""One word alignment of two: that of a model and that of another for the other direction.

The heuristics of Koehn et al. 2003; grow_diag_final_and ends as in Koehn et al. 2005 (their system for IWSLT).  The
mean of the weights is called a soft union by DeNero and Klein 2007 (from memory: the paper could not be read here).
"""

import heapq
from enum import Enum

import numpy as np

from nmt.data.pharaoh import Alignment, Links

# Beside a link: first what is next to it in its row or column, then what is diagonally next to it.
NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


class Symmetrize(Enum):
    """Which links of the two directions are taken."""

    intersection = "intersection"  # those of both
    union = "union"  # those of either
    grow_diag = "grow_diag"  # those of both, and neighbours of the union that link a word without a link
    grow_diag_final_and = "grow_diag_final_and"  # and then those of the union between two words without a link
    mean = "mean"  # those on which the weights of both directions have a mean over a half; of two models alone


def turned(alignment: Alignment) -> Alignment:
    """The same links from target to source."""
    sure, possible = (frozenset((j, i) for i, j in links) for links in (alignment.sure, alignment.possible))
    return Alignment(sure, possible)


def symmetrize(forward: Alignment, reverse: Alignment, how: Symmetrize) -> Alignment:
    """Merge the sure links of two alignments of one sentence pair, both written source word first.

    grow_diag goes through the target words, and through the source words of each, and links to what is there already
    every neighbour that is in the union and has a word without a link; again, until nothing is added.  What it adds
    counts at once.  grow_diag_final_and then goes in the same order through the links of ``forward``, and of
    ``reverse``, and adds those of which neither word has a link.  (The order is that of the pseudo-code and the program
    of Moses, which the paper leaves open.)  Links alone do not tell the mean of weights: ``by_mean``.
    """
    assert how is not Symmetrize.mean
    both, either = forward.sure & reverse.sure, forward.sure | reverse.sure
    if how is Symmetrize.intersection:
        found = both
    elif how is Symmetrize.union:
        found = either
    else:
        grown = Grown(both)
        grown.grow(either)
        if how is Symmetrize.grow_diag_final_and:
            for links in (forward.sure, reverse.sure):
                grown.add_between_unlinked(links)
        found = frozenset(grown.links)
    return Alignment(found, found)


def by_mean(forward: np.ndarray, reverse: np.ndarray) -> Alignment:
    """Links (i, j) with (a_ji + b_ij) / 2 > 1/2: forward a (T, S), of each target word on the source, reverse b (S, T).

    A link so needs weight from both, and more than a half from one.  Weights that are not finite count as 0.
    """
    mean = (np.nan_to_num(forward, posinf=0) + np.nan_to_num(reverse, posinf=0).T) / 2
    links = frozenset((int(i), int(j)) for j, i in zip(*np.nonzero(mean > 0.5), strict=True))
    return Alignment(links, links)


class Grown:
    """Links that more are added to."""

    def __init__(self, links: Links) -> None:
        self.links = set(links)
        self.sources, self.targets = {i for i, _ in links}, {j for _, j in links}

    def add(self, link: tuple[int, int]) -> None:
        self.links.add(link)
        self.sources.add(link[0])
        self.targets.add(link[1])

    def grow(self, union: Links) -> None:
        """See ``symmetrize``."""
        before = -1
        while before < len(self.links):
            before = len(self.links)
            # Target word first; a link that is added behind the one that is looked at is looked at in the same pass.
            ahead = sorted((j, i) for i, j in self.links)
            while ahead:
                j, i = heapq.heappop(ahead)
                for di, dj in NEIGHBOURS:
                    new = i + di, j + dj
                    if new not in union or (new[0] in self.sources and new[1] in self.targets):
                        continue
                    self.add(new)
                    if (new[1], new[0]) > (j, i):
                        heapq.heappush(ahead, (new[1], new[0]))

    def add_between_unlinked(self, links: Links) -> None:
        """See ``symmetrize``."""
        for i, j in sorted(links, key=lambda link: link[::-1]):
            if i not in self.sources and j not in self.targets:
                self.add((i, j))
