"""Several models as one: ensembles, and averages of one model's checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batch import PAD, Batch
from nmt.errors import ConfigError, RunError
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq, State
from nmt.search.config import Average
from nmt.search.request import log_probabilities


@dataclass(frozen=True)
class EnsembleState:
    """The states of all members."""

    members: tuple[State, ...]

    def reorder(self, parent: Tensor) -> "EnsembleState":
        return EnsembleState(tuple(state.reorder(parent) for state in self.members))

    def keep(self, sentences: Tensor) -> "EnsembleState":
        return EnsembleState(tuple(state.keep(sentences) for state in self.members))


class Ensemble(Seq2Seq):
    """A model whose next-token distribution is the average of its members'.

    probabilities        log p = log sum_m p_m - log M             (the arithmetic mean; Sutskever et al. 2014)
    log_probabilities    log p = 1/M sum_m log p_m - log Z         (the geometric mean, Z over the vocabulary)

    Members may be of any architecture over the same source and target vocabulary.  AttentionMaps are the mean over the
    members with attention of their means over layers and heads, at the source positions that members share (the
    end-of-sentence that only some of them add has weight 0 in the others): layers = heads = 1.  There are no
    centres and no posterior: of a latent alignment the prior is taken.

    Raises ConfigError where the target vocabularies differ in size.
    """

    def __init__(
        self, members: Sequence[Seq2Seq], average: Average = Average.probabilities, names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        names = [f"model {i + 1}" for i in range(len(members))] if names is None else names
        for name, member in zip(names, members, strict=True):
            if member.target_size != members[0].target_size:
                raise ConfigError(
                    f"an ensemble needs one target vocabulary: {names[0]} has {members[0].target_size} tokens, "
                    f"{name} has {member.target_size}"
                )
        self.members = nn.ModuleList(members)
        self.average = average
        self.source_eos = any(member.source_eos for member in members)
        self.target_size = members[0].target_size
        words = [m.longest_source - m.source_eos for m in members if m.longest_source is not None]
        self.longest_source = min(words) + self.source_eos if words else None
        self.longest_target = min((m.longest_target for m in members if m.longest_target is not None), default=None)

    def encode(self, source: Tensor, lengths: Tensor, hypotheses: int = 1) -> Any:
        """The members' encodings."""
        return [member.encode(source, lengths, hypotheses) for member in self._members()]

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        """Teacher forcing, step by step as search goes; ``loss_sum`` is the sum of ``nll``.  Not for training."""
        state = self.start(self.encode(batch.source, batch.source_lengths))
        nll, seen = [], []
        for read, expected in zip(batch.target_in.split(1, 1), batch.target_out.split(1, 1), strict=True):
            logits, state, maps = self.step(read, state, want_maps)
            nll.append(-log_probabilities(logits).gather(2, expected[..., None]).squeeze(2))
            seen.append(maps)
        real = batch.target_out != PAD
        losses = torch.cat(nll, 1).masked_fill(~real, 0.0)
        weights = [maps.weights for maps in seen if maps is not None]
        return Output(
            losses.sum(), real.sum(), losses.detach(), AttentionMaps(torch.cat(weights, 3)) if weights else None
        )

    def start(self, encoded: Any) -> EnsembleState:
        """The members' first states."""
        return EnsembleState(tuple(m.start(e) for m, e in zip(self._members(), encoded, strict=True)))

    def step(
        self, tokens: Tensor, state: Any, want_maps: bool = False
    ) -> tuple[Tensor, EnsembleState, AttentionMaps | None]:
        """Logits (B, K, V): the mean log-probabilities up to a constant, which normalizing removes."""
        log_probs, states, maps = [], [], []
        for member, own in zip(self._members(), state.members, strict=True):
            logits, own, seen = member.step(tokens, own, want_maps)
            log_probs.append(log_probabilities(logits))
            states.append(own)
            maps.append(seen)
        stacked = torch.stack(log_probs)
        mean = stacked.logsumexp(0) if self.average is Average.probabilities else stacked.mean(0)
        return mean, EnsembleState(tuple(states)), mean_map(maps) if want_maps else None

    def _members(self) -> list[Seq2Seq]:
        return list(self.members)  # pyright: ignore[reportReturnType]  # only Seq2Seq go in


def mean_map(maps: Sequence[AttentionMaps | None]) -> AttentionMaps | None:
    """One layer and one head: weights (B, 1, 1, N, S), S the longest of the members'; None if none has attention."""
    means = [m.weights.mean((1, 2), keepdim=True) for m in maps if m is not None]
    if not means:
        return None
    S = max(mean.size(-1) for mean in means)
    return AttentionMaps(torch.stack([F.pad(mean, (0, S - mean.size(-1))) for mean in means]).mean(0))


def average_states(states: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights (model state dicts) of one architecture.

    Means are summed in float64.  Integer buffers are taken from the last.  Raises RunError, naming the checkpoint
    and the weight, where the names or shapes of the weights differ.
    """
    first = states[0]
    for name, state in zip(names, states, strict=True):
        odd = set(first) ^ set(state) or {k for k in first if first[k].shape != state[k].shape}
        if odd:
            raise RunError(
                f"{name} cannot be averaged with {names[0]}: weight {min(odd)} is missing or differs in shape"
            )
    return {
        key: torch.stack([s[key].double() for s in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else states[-1][key]
        for key, value in first.items()
    }
