"""What a hypothesis may not do next: each rule writes minus infinity into a step's log-probabilities.

They are normalized before the rules, so that a score is what the model says of the sentence, whatever was
forbidden on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.search.config import DecodeConfig

FORBIDDEN = float("-inf")


class Rule(Protocol):
    """One constraint; an instance has what it must know of each sentence of a batch."""

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        """log_probs (B, K, V); after ``step`` tokens: history (B, K, step), where Rules.history asks for it."""
        ...

    def keep(self, sentences: Tensor) -> Self:
        """The same for some rows of the batch."""
        ...


@dataclass(frozen=True)
class ForbidTokens:
    """Tokens that are no text: PAD, BOS and, unless allowed, UNK."""

    ids: Tensor

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        log_probs.index_fill_(-1, self.ids, FORBIDDEN)

    def keep(self, sentences: Tensor) -> "ForbidTokens":
        return self


@dataclass(frozen=True)
class MinimumLength:
    """No end-of-sentence before ``least`` (B,) tokens."""

    least: Tensor
    largest: int  # of ``least``, known without asking the device

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        if step < self.largest:
            log_probs[..., EOS].masked_fill_(self.least[:, None] > step, FORBIDDEN)

    def keep(self, sentences: Tensor) -> "MinimumLength":
        return MinimumLength(self.least[sentences], self.largest)


@dataclass(frozen=True)
class MaximumLength:
    """After ``most`` (B,) tokens only end-of-sentence, whose probability then counts like any other."""

    most: Tensor
    smallest: int  # of ``most``

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        if step >= self.smallest:
            end = log_probs[..., EOS].clone()
            log_probs.masked_fill_((self.most <= step)[:, None, None], FORBIDDEN)
            log_probs[..., EOS] = end

    def keep(self, sentences: Tensor) -> "MaximumLength":
        most = self.most[sentences]
        return MaximumLength(most, int(most.min()))


@dataclass(frozen=True)
class NoRepeatedNgram:
    """No n-gram twice in a hypothesis   (Paulus et al. 2018, section 2.5, there with trigrams).

    To be applied last: where it would leave a hypothesis without any token, repeating is allowed.
    """

    order: int

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        if history is None or step < self.order:
            return
        grams = history.unfold(2, self.order, 1)  # (B, K, step - n + 1, n)
        same = (grams[..., :-1] == history[..., None, step - self.order + 1 :]).all(-1)
        # Several n-grams may end in one token: added up, because scattering the last of them would forget the others.
        blocked = torch.zeros_like(log_probs).scatter_add_(-1, grams[..., -1], same.to(log_probs.dtype)) > 0
        stuck = log_probs.masked_fill(blocked, FORBIDDEN).amax(-1, keepdim=True) == FORBIDDEN
        log_probs.masked_fill_(blocked & ~stuck, FORBIDDEN)

    def keep(self, sentences: Tensor) -> "NoRepeatedNgram":
        return self


@dataclass(frozen=True)
class Rules:
    """All rules of a search, and the forced beginning that overrides them."""

    rules: tuple[Rule, ...]
    history: bool  # whether some rule reads the tokens so far
    prefix: Tensor | None = None  # (B, P), padded with PAD
    prefix_length: Tensor | None = None  # (B,)

    def __call__(self, log_probs: Tensor, step: int, history: Tensor | None) -> None:
        """Apply every rule in place."""
        if self.prefix is None or self.prefix_length is None or step >= self.prefix.size(1):
            for rule in self.rules:
                rule(log_probs, step, history)
            return
        token = self.prefix[:, step, None, None].expand(-1, log_probs.size(1), 1)
        forced = (self.prefix_length > step)[:, None, None]
        value = log_probs.gather(-1, token)
        for rule in self.rules:
            rule(log_probs, step, history)
        log_probs.masked_fill_(forced, FORBIDDEN)
        log_probs.scatter_(-1, token, torch.where(forced, value, log_probs.gather(-1, token)))

    def keep(self, sentences: Tensor) -> "Rules":
        """The rules of some rows of the batch."""
        prefix = self.prefix if self.prefix is None else self.prefix[sentences]
        length = self.prefix_length if self.prefix_length is None else self.prefix_length[sentences]
        return Rules(tuple(r.keep(sentences) for r in self.rules), self.history, prefix, length)


def build_rules(
    config: DecodeConfig,
    limits: Sequence[tuple[int, int]],
    prefixes: Sequence[Sequence[int]] | None,
    device: torch.device,
) -> Rules:
    """Rules for a batch with ``limits`` (fewest, most tokens) and forced beginnings, one of each a sentence."""
    least, most = (list(column) for column in zip(*limits, strict=True))
    never = [PAD, BOS] if config.allow_unk else [PAD, UNK, BOS]
    rules: list[Rule] = [ForbidTokens(torch.tensor(never, device=device))]
    if max(least):
        rules.append(MinimumLength(torch.tensor(least, device=device), max(least)))
    rules.append(MaximumLength(torch.tensor(most, device=device), min(most)))
    if config.no_repeat_ngram:
        rules.append(NoRepeatedNgram(config.no_repeat_ngram))
    if not prefixes or not any(prefixes):
        return Rules(tuple(rules), config.no_repeat_ngram > 0)
    width = max(len(p) for p in prefixes)
    padded = torch.tensor([[*p, *[PAD] * (width - len(p))] for p in prefixes], device=device)
    lengths = torch.tensor([len(p) for p in prefixes], device=device)
    return Rules(tuple(rules), config.no_repeat_ngram > 0, padded, lengths)
