"""A small model with attention and a tokenizer of three-letter pieces, to evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.data.tokenizer import Tokenizers
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq

LAYERS, HEADS = 2, 3


@dataclass(frozen=True)
class FakeState:
    source: Tensor  # (B, S)
    real: Tensor  # (B, S)
    time: int

    def reorder(self, parent):
        return self

    def keep(self, sentences):
        return FakeState(self.source[sentences], self.real[sentences], self.time)


class FakeModel(Seq2Seq):
    """p(y_t | y_{t-1}, x) = softmax(W [dropout(E y_{t-1}) + sum_s a_ts E' x_s]), a_ts from y_{t-1} and x_s."""

    def __init__(
        self, size: int, source_eos: bool = False, attention: bool = True, seed: int = 0, latent: bool = False
    ) -> None:
        """``latent``: with a posterior, which is the maps with the layers in each other's place."""
        super().__init__()
        self.latent = latent
        torch.manual_seed(seed)
        self.source_eos, self.attention, self.target_size = source_eos, attention, size
        self.source_table, self.target_table = nn.Embedding(size, 8), nn.Embedding(size, 8)
        self.query = nn.Parameter(torch.randn(LAYERS, HEADS, 8, 8))
        self.project = nn.Linear(8, size)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.project.bias[[PAD, UNK, BOS]] = -1e4
            self.project.bias[EOS] = 0.5

    def encode(self, source, lengths, hypotheses=1):
        if self.source_eos:
            source = F.pad(source, (0, 1)).scatter(1, lengths[:, None], EOS)
            lengths = lengths + 1
        return FakeState(source, torch.arange(source.size(1)) < lengths[:, None], 0)

    def start(self, encoded):
        return encoded

    def step(self, tokens: Tensor, state: Any, want_maps: bool = False):
        query, key = self.dropout(self.target_table(tokens)), self.source_table(state.source)
        scores = torch.einsum("bnq,lhqk,bsk->blhns", query, self.query, key)
        weights = scores.masked_fill(~state.real[:, None, None, None], -torch.inf).softmax(-1)
        logits = self.project(query + weights.mean((1, 2)) @ key)
        later = FakeState(state.source, state.real, state.time + tokens.size(1))
        maps = AttentionMaps(weights, weights.argmax(-1) + 0.25, 1) if want_maps and self.attention else None
        return logits, later, maps

    def forward(self, batch, want_maps=False, r_drop=0.0, cutoff=0.0):
        logits, _, maps = self.step(batch.target_in, self.encode(batch.source, batch.source_lengths), want_maps)
        nll = F.cross_entropy(logits.mT, batch.target_out, ignore_index=PAD, reduction="none")
        posterior = maps._replace(weights=maps.weights.flip(1)) if maps is not None and self.latent else None
        return Output(nll.sum() * 7, (batch.target_out != PAD).sum(), nll.detach(), maps, posterior)


class Thirds:
    """Words cut into pieces of three letters, learnt from a text; U+2581 stands before a word."""

    def __init__(self, texts: Sequence[str]) -> None:
        pieces = sorted({piece for text in texts for piece in self.cut(text)})
        self.shown = ["<pad>", "<unk>", "<s>", "</s>", *pieces]
        self.ids = {piece: i for i, piece in enumerate(self.shown)}
        self.size = len(self.shown)

    def cut(self, text: str) -> list[str]:
        return [("\u2581" if k == 0 else "") + word[k : k + 3] for word in text.split() for k in range(0, len(word), 3)]

    def encode(self, texts):
        return [[self.ids.get(piece, UNK) for piece in self.cut(text)] for text in texts]

    def decode(self, rows):
        return ["".join(self.shown[i] for i in row if i != EOS).replace("\u2581", " ").strip() for row in rows]

    def pieces(self, ids):
        return [self.shown[i] for i in ids]

    def words(self, ids, text=None):
        places, word = [], -1
        for piece in self.pieces(ids):
            word += piece.startswith("\u2581")
            places.append(max(word, 0))
        return places


def thirds(source: Sequence[str], target: Sequence[str]) -> Tokenizers:
    """Tokenizers of the two texts, with vocabularies of equal size."""
    both = Thirds([*source, *target])
    return Tokenizers(both, both, joint=True)  # type: ignore[arg-type]
