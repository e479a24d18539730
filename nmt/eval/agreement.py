"""From which layer and decoder step word alignments are read, chosen without gold links: by two directions' agreement.

A model from source to target and one from target to source make different mistakes, so that what both find is likely
right.  Chen et al. 2020 choose the layers of both Transformers so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from nmt.data.pharaoh import Alignment
from nmt.data.tokenizer import Tokenizers
from nmt.eval.alignment import AlignConfig, hard_alignment, score_alignments
from nmt.eval.forced import align
from nmt.models.seq2seq import Seq2Seq
from nmt.search import ForcedOptions


class Reading(NamedTuple):
    """Where alignments are read: align.layer and align.shift."""

    layer: int
    shift: int


def agreement(forward: Sequence[Alignment], reverse: Sequence[Alignment]) -> float:
    """2 |A and B| / (|A| + |B|) over the links of all sentences: 1 minus the error rate of one against the other."""
    return 1 - score_alignments(forward, reverse).aer


def most_agreeing(
    forward: Mapping[Reading, Sequence[Alignment]], reverse: Mapping[Reading, Sequence[Alignment]]
) -> tuple[Reading, Reading, float]:
    """The readings of both directions, all links source word first, that agree most (the first of equals), and how."""
    found = [(agreement(a, b), mine, theirs) for mine, a in forward.items() for theirs, b in reverse.items()]
    agreed, mine, theirs = max(found, key=lambda row: row[0])
    return mine, theirs, agreed


def links_by_reading(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    texts: tuple[Sequence[str], Sequence[str]],
    options: ForcedOptions,
    config: AlignConfig,
    candidates: tuple[int, Sequence[int]],
) -> dict[Reading, list[Alignment]]:
    """The links of pairs (``texts``: sources, targets) by every layer and shift; ``candidates``: layers and shifts.

    Heads and pieces are merged as ``config`` says.  Raises NoAttentionError where there is no layer that attends.
    """
    layers, shifts = candidates
    found: dict[Reading, list[Alignment]] = {}
    for reading in (Reading(layer, shift) for layer in range(1, max(layers, 1) + 1) for shift in shifts):
        how = replace(config, layer=reading.layer, shift=reading.shift)
        found[reading] = [hard_alignment(words) for words in align(model, tokenizers, *texts, options, how)]
    return found
