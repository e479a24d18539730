"""What search returns, and the back-pointers from which it is put together at the end."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nmt.models.seq2seq import AttentionMaps


@dataclass(frozen=True)
class Hypothesis:
    """One target sentence.

    T = len(ids) + 1 steps made it: row i of its attention maps belongs to token i, the last row to end-of-sentence.
    S counts the model's source positions of this sentence, with end-of-sentence where the model adds one.
    """

    ids: list[int]  # without BOS and EOS
    score: float  # what hypotheses are ranked by
    log_prob: float  # log P(ids, EOS | source), natural logarithm
    finished: bool  # False where the length limit ended it
    maps: AttentionMaps | None = None  # of this sentence, (layers, heads, T, S) on the CPU; where they were asked for


class Trace:
    """Back-pointers of a batch, written one step at a time; no hypothesis is copied while the search runs.

    ``tokens[t, b, k]`` is what hypothesis k of sentence b appended in step t, to hypothesis ``parents[t, b, k]``
    of the step before.  A hypothesis that ends in step t ends from slot k as it was before that step's choice.
    """

    def __init__(self, steps: int, sentences: int, width: int, device: torch.device) -> None:
        self.tokens = torch.zeros(steps, sentences, width, dtype=torch.int64, device=device)
        self.parents = torch.zeros_like(self.tokens)
        self.maps: list[tuple[Tensor, AttentionMaps]] = []

    def record(self, step: int, rows: Tensor, tokens: Tensor, parents: Tensor) -> None:
        """Sentences ``rows`` (B,) chose ``tokens`` (B, K) as continuations of ``parents`` (B, K)."""
        width = tokens.size(1)
        self.tokens[step, :, :width].index_copy_(0, rows, tokens)
        self.parents[step, :, :width].index_copy_(0, rows, parents)

    def record_maps(self, rows: Tensor, maps: AttentionMaps) -> None:
        """The maps of the current step, in the order of the slots before its choice."""
        self.maps.append((rows, maps))

    def resolve(self, end: np.ndarray, slot: np.ndarray) -> "Resolved":
        """Walk back from step ``end`` (B, N) and ``slot`` (B, N): the tokens and, where recorded, the maps."""
        longest = int(end.max(initial=0))
        tokens, parents = self.tokens[:longest].cpu().numpy(), self.parents[:longest].cpu().numpy()
        sentence = np.arange(len(end))[:, None]
        ids = np.zeros((*end.shape, longest), dtype=np.int64)
        slots = np.zeros((*end.shape, longest + 1), dtype=np.int64)  # the slot of a hypothesis before each step
        slots[:, :, longest] = slot
        for t in reversed(range(longest)):
            there, inside = slots[:, :, t + 1], t < end
            ids[:, :, t] = tokens[t, sentence, there]
            slots[:, :, t] = np.where(inside, parents[t, sentence, there], there)
        return Resolved(ids, end, self._maps(slots) if self.maps else None)

    def _maps(self, slots: np.ndarray) -> AttentionMaps:
        """Maps (B N, layers, heads, T, S) of hypotheses in ``slots`` (B, N, T) before each step."""
        first, N, T = self.maps[0][1], *slots.shape[1:]
        layers, heads, S = (first.weights.size(i) for i in (1, 2, 4))
        weights = torch.zeros(len(slots), N, layers, heads, T, S)
        centre = None if first.centre is None else torch.zeros(len(slots), N, layers, heads, T)
        for t, (rows, maps) in enumerate(self.maps[:T]):
            rows = rows.cpu()
            # A slot that had ended by this step may point past the hypotheses of the step; its row is cut off later.
            there = torch.from_numpy(slots)[rows, :, t].clamp(max=maps.weights.size(3) - 1)
            here = torch.arange(len(rows))[:, None]
            weights[rows, :, :, :, t, : maps.weights.size(4)] = maps.weights.float().cpu()[here, :, :, there]
            if centre is not None and maps.centre is not None:
                centre[rows, :, :, :, t] = maps.centre.float().cpu()[here, :, :, there]
        return AttentionMaps(weights.flatten(0, 1), None if centre is None else centre.flatten(0, 1), first.half_width)


@dataclass(frozen=True)
class Resolved:
    """Sentences put together from a Trace."""

    ids: np.ndarray  # (B, N, T)
    end: np.ndarray  # (B, N)
    maps: AttentionMaps | None  # of hypothesis n of sentence b in row b N + n: (B N, layers, heads, T + 1, S)

    def hypothesis(self, b: int, n: int, score: float, log_prob: float, limit: int, positions: int) -> Hypothesis:
        """Number n of sentence b, which has ``positions`` source positions and at most ``limit`` target tokens."""
        length = int(self.end[b, n])
        ids = self.ids[b, n, :length].tolist()
        maps = None
        if self.maps is not None:
            view = self.maps.of_sentence(b * self.end.shape[1] + n, length + 1, positions)
            # Copied, so that one hypothesis does not keep the maps of the whole batch in memory.
            maps = view._replace(
                weights=view.weights.clone(), centre=None if view.centre is None else view.centre.clone()
            )
        return Hypothesis(ids, score, log_prob, length < limit, maps)


def best_first(hypotheses: Iterator[Hypothesis], count: int) -> list[Hypothesis]:
    """The ``count`` best, each sentence once; of equal sentences the better scored."""
    kept: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in sorted(hypotheses, key=lambda h: -h.score):
        kept.setdefault(tuple(hypothesis.ids), hypothesis)
    return list(kept.values())[:count]
