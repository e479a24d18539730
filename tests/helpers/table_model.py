"""A model whose whole distribution is a table, and slow searches over it in plain Python.

Every prefix is a node of a tree; a table gives each node of each kind of source its logits and attention.  The
slow searches read the table through ``next_log_probs`` and share nothing else with nmt.search.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmt.batch import BOS, EOS, PAD
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq

WORDS = (4, 5, 6)  # the legal tokens besides EOS
V = 7
NODES = 2803  # prefixes of up to four tokens have a node of their own; longer ones share
KINDS = 11
LONGEST_SOURCE = 9


def child(node, token):
    return (node * V + token + 1) % NODES


@dataclass(frozen=True)
class TableState:
    kind: Tensor  # (B,)
    lengths: Tensor  # (B,)
    memory: Tensor  # (B, S) stands for the encoder memory
    node: Tensor | None  # (B, K)
    start: int = 1

    def reorder(self, parent):
        assert parent.dim() == 2
        assert parent.size(0) == self.memory.size(0)
        if self.node is None:
            return TableState(self.kind, self.lengths, self.memory, None, parent.size(1))
        return TableState(self.kind, self.lengths, self.memory, self.node.gather(1, parent))

    def keep(self, sentences):
        node = None if self.node is None else self.node[sentences]
        return TableState(self.kind[sentences], self.lengths[sentences], self.memory[sentences], node, self.start)


class TableModel(Seq2Seq):
    """The first source token chooses the kind of distribution.  Two layers and three heads of attention."""

    def __init__(self, seed=0, source_eos=False, sharpness=2.0, end=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = sharpness * torch.randn(KINDS, NODES, V, generator=generator, dtype=torch.float64)
        self.table[..., EOS] += end
        self.attention = torch.randn(KINDS, NODES, 2, 3, LONGEST_SOURCE + 1, generator=generator, dtype=torch.float64)
        self.source_eos = source_eos
        self.target_size = V
        self.steps = []  # shapes of the tokens it was called with
        self.hypotheses = 0  # of a sentence, as ``encode`` was told last

    def encode(self, source, lengths, hypotheses=1):
        self.hypotheses = hypotheses
        return source, lengths

    def start(self, encoded):
        source, lengths = encoded
        return TableState(source[:, 0] % KINDS, lengths, source, None)

    def step(self, tokens, state: Any, want_maps=False):
        self.steps.append(tuple(tokens.shape))
        assert state.memory.size(0) == tokens.size(0)  # nothing is tiled
        if state.node is None:
            assert (tokens == BOS).all()
            assert tokens.size(1) == state.start
            node = torch.zeros_like(tokens)
        else:
            node = child(state.node, tokens)
        kind = state.kind[:, None]
        maps = None
        if want_maps:
            S = state.memory.size(1) + self.source_eos
            real = torch.arange(S) < (state.lengths + self.source_eos)[:, None]
            weights = (
                self.attention[kind, node, ..., :S].masked_fill(~real[:, None, None, None], -torch.inf).softmax(-1)
            )
            centre = node[:, None, None].expand(-1, 2, 3, -1)
            maps = AttentionMaps(weights.permute(0, 2, 3, 1, 4).float(), centre.float(), 1)
        return self.table[kind, node].clone(), TableState(state.kind, state.lengths, state.memory, node), maps

    def forward(self, batch, want_maps=False, r_drop=0.0, cutoff=0.0):
        """Token by token from the table; ``step`` has no part in it."""
        real = batch.target_out != PAD
        nll = torch.zeros(real.shape, dtype=torch.float64)
        B, T, S = *real.shape, batch.source.size(1) + self.source_eos
        weights, centre = torch.zeros(B, 2, 3, T, S), torch.zeros(B, 2, 3, T)
        for b, (words, length) in enumerate(zip(batch.source.tolist(), batch.source_lengths.tolist(), strict=True)):
            ids = batch.target_out[b][real[b]].tolist()
            for t, token in enumerate(ids):
                nll[b, t] = -self.next_log_probs(words, ids[:t])[token]
                weights[b, :, :, t, : length + self.source_eos] = self.weights(words[:length], ids[:t])
                centre[b, :, :, t] = self.node(ids[:t])
        return Output(nll.sum(), real.sum(), nll, AttentionMaps(weights, centre, 1) if want_maps else None)

    def weights(self, source, prefix):
        """Attention (layers, heads, S) after ``prefix``, in float32 as models give it."""
        S = len(source) + self.source_eos
        return self.attention[source[0] % KINDS, self.node(prefix), ..., :S].softmax(-1).float()

    def next_log_probs(self, source, prefix):
        """log p over the vocabulary after ``prefix``, as a list."""
        row = self.table[source[0] % KINDS, self.node(prefix)].tolist()
        total = math.log(sum(math.exp(x) for x in row))
        return [x - total for x in row]

    def received(self, source, ids):
        """Mean attention that each source word gets over the steps of ids and EOS."""
        total = [0.0] * len(source)
        for t in range(len(ids) + 1):
            weights = self.weights(source, ids[:t]).double().mean((0, 1)).tolist()
            total = [a + b for a, b in zip(total, weights, strict=False)]
        return total

    def node(self, prefix):
        node = 0
        for token in prefix:
            node = child(node, token)
        return node

    def log_prob(self, source, ids):
        """log P(ids, EOS | source)"""
        steps = zip(range(len(ids) + 1), [*ids, EOS], strict=True)
        return sum(self.next_log_probs(source, ids[:t])[token] for t, token in steps)


def reference_score(model, source, ids, config):
    """The score by the formulas of the papers, in plain arithmetic."""
    log_prob, length, alpha = model.log_prob(source, ids), len(ids) + 1, config.length_alpha
    score = {
        "none": lambda: log_prob,
        "average": lambda: log_prob / length,
        "gnmt": lambda: log_prob * 6**alpha / (5 + length) ** alpha,
        "reward": lambda: log_prob + alpha * length,
    }[config.length_penalty.name]()
    if config.coverage:
        score += config.coverage * sum(math.log(min(max(c, 1e-6), 1.0)) for c in model.received(source, ids))
    return score


def all_sentences(least, most):
    """Every sentence of ``least`` to ``most`` words."""
    for length in range(least, most + 1):
        yield from (list(words) for words in itertools.product(WORDS, repeat=length))


def reference_beam(model, source, config, to_the_limit=False):
    """Beam search as its docstring tells it, with lists: (ids, score) of the n best, best first."""
    least, most = config.lengths(len(source))
    size = config.beam_size // config.groups
    live = [[([], 0.0)] for _ in range(config.groups)]
    ended = [[] for _ in range(config.groups)]
    for length in range(most + 1):
        chosen = dict.fromkeys(range(V), 0)
        for g in range(config.groups):
            options = []
            for prefix, log_prob in live[g]:
                p = model.next_log_probs(source, prefix)
                tokens = [EOS] * (length >= least) + [w for w in WORDS if length < most]
                options += [
                    (log_prob + p[w] - config.diversity * chosen[w], log_prob + p[w], prefix, w) for w in tokens
                ]
            options.sort(key=lambda o: -o[0])
            now = [o for o in options[:size] if o[3] == EOS]
            ended[g] += [(o[2], reference_score(model, source, o[2], config)) for o in now]
            go_on = [o for o in options if o[3] != EOS][:size]
            live[g] = [([*o[2], o[3]], o[1]) for o in go_on]
            for o in now + go_on:
                chosen[o[3]] += 1
            if len(ended[g]) >= size and not to_the_limit:
                live[g] = []
    unique = {tuple(ids): score for group in ended for ids, score in group}
    return sorted(unique.items(), key=lambda item: -item[1])[: config.n_best]
