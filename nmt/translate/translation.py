"""The translation of a text, and how the translations of its parts are joined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmt.data.pharaoh import SEPARATORS, split_words


@dataclass(frozen=True)
class Translation:
    """One hypothesis for one text."""

    text: str
    score: float  # what hypotheses are ranked by; for a text translated in parts, the mean of the parts
    log_prob: float
    finished: bool  # False where the length limit ended it
    tokens: list[str]  # pieces, </s> last
    token_log_probs: list[float] | None = None  # one for each of ``tokens``
    alignment: np.ndarray | None = None  # (target words, source words) weights


def join_parts(between: str, source: str, starts: Sequence[int], parts: Sequence[Translation]) -> Translation:
    """The translations of parts, which begin at the characters ``starts`` of ``source``, as one, with ``between`` them.

    Scores are averaged; log-probabilities, tokens and alignments are put together.
    """
    text, begins = "", []
    for part in parts:
        text += between if text and part.text else ""
        begins.append(len(text))
        text += part.text
    alignment = None
    if all(part.alignment is not None for part in parts):
        rows, columns = [word_index(text, at) for at in begins], [word_index(source, at) for at in starts]
        alignment = sum_blocks(rows, columns, [part.alignment for part in parts if part.alignment is not None])
    scores = [part.token_log_probs for part in parts if part.token_log_probs is not None]
    return Translation(
        text,
        sum(part.score for part in parts) / len(parts),
        sum(part.log_prob for part in parts),
        all(part.finished for part in parts),
        [token for part in parts for token in part.tokens],
        [score for row in scores for score in row] if scores else None,
        alignment,
    )


def word_index(text: str, start: int) -> int:
    """The index of the word of a text that holds the character at ``start``, or else of the next word."""
    inside = 0 < start < len(text) and text[start - 1] not in SEPARATORS and text[start] not in SEPARATORS
    return len(split_words(text[:start])) - inside


def sum_blocks(rows: Sequence[int], columns: Sequence[int], blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The matrix of blocks that begin at the given rows and columns; where they overlap they add up."""
    corners = [(i + len(b), j + b.shape[1]) for i, j, b in zip(rows, columns, blocks, strict=True)]
    whole = np.zeros([max(ends) for ends in zip(*corners, strict=True)])
    for i, j, block in zip(rows, columns, blocks, strict=True):
        whole[i : i + len(block), j : j + block.shape[1]] += block
    return whole
