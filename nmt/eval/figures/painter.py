"""Pictures of what a model attends to while it reads given translations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from nmt.batch import BOS, EOS, UNK, collate
from nmt.data.tokenizer import Tokenizers
from nmt.device import autocast, resolve_precision
from nmt.eval.figures.picture import Picture
from nmt.models.seq2seq import AttentionMaps, Seq2Seq
from nmt.search import ForcedOptions, force_decode


class Pair(NamedTuple):
    """A sentence of a set with a translation of it, as ids without BOS and EOS."""

    sentence: int  # its place in the set
    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Painter:
    """Makes the pictures of one model, which must be in eval mode."""

    model: Seq2Seq
    tokenizers: Tokenizers
    options: ForcedOptions

    def attention(self, pairs: Sequence[Pair], kind: str) -> list[Picture]:
        """Attention of each translation's pieces to its source's, of a latent alignment the posterior.

        Nothing of a model without attention.
        """
        sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
        pictures: dict[int, Picture] = {}
        for i, forced in force_decode(self.model, sources, targets, self.options, want_maps=True):
            maps = forced.alignment
            if maps is None:
                return []
            target = self.tokenizers.target.pieces([*targets[i], EOS])
            source = self.source_pieces(sources[i], maps)
            pictures[i] = Picture(pairs[i].sentence, kind, source, target, maps, forced.posterior is not None)
        return [pictures[i] for i in range(len(pairs))]

    @torch.no_grad()
    def self_attention(self, pairs: Sequence[Pair]) -> list[Picture]:
        """Self-attention of encoder and decoder over each pair; nothing of a model without."""
        device, pictures = self.options.device, []
        precision = resolve_precision(self.options.precision, device)
        for sentence, source, target in pairs:
            with autocast(precision, device):
                found = self.model.self_maps(collate([source], [target], [sentence]).to(device))
            if found is None:
                return []
            encoder, decoder = (None if x is None else AttentionMaps(x[0].cpu()) for x in found)
            if encoder is not None:
                pieces = self.source_pieces(source, encoder)
                pictures.append(Picture(sentence, "encoder", pieces, pieces, encoder))
            if decoder is not None:
                pieces = self.tokenizers.target.pieces([BOS, *target])
                pictures.append(Picture(sentence, "decoder", pieces, pieces, decoder))
        return pictures

    def source_pieces(self, ids: Sequence[int], maps: AttentionMaps) -> list[str]:
        """The pieces at the model's source positions: with end-of-sentence where the model adds one."""
        return self.tokenizers.source.pieces([*(ids or [UNK]), EOS])[: maps.weights.size(-1)]
