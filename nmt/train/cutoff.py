"""Cutoff: a second view of each sentence pair, in which some words are cut out (Shen et al. 2020).

    L = -log p(y) - log q(y) + beta / 2 [KL(p || m) + KL(q || m)],   m = (p + q) / 2

p is what the model predicts from a pair, q from the same pair of which each word, of the source and of what the decoder
reads, has lost its vector with probability ``share``: it is 0, its position stays ("token cutoff" with one such view
and a weight of 1 for its cross-entropy).  The paper could not be read in full here: the formula is as Gao et al. 2022
(Bi-SimCut) report it.  The third term is ``jensen_shannon`` of nmt/models/ops/r_drop.py.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nmt.batch import BOS, PAD, Batch


def two_views(batch: Batch, share: float) -> Batch:
    """Each sentence twice, 2b as it is and 2b + 1 with PAD in the place of each word with probability ``share``.

    BOS is no word and stays.  In a model that has been through ``zero_vector_of_padding`` PAD is a word without vector.
    """
    twice = batch.doubled()
    return replace(twice, source=_cut(twice.source, share), target_in=_cut(twice.target_in, share))


def _cut(ids: Tensor, share: float) -> Tensor:
    cut = torch.rand(ids.shape, device=ids.device) < share
    cut[::2] = False
    return ids.masked_fill(cut & (ids != BOS), PAD)


def zero_vector_of_padding(model: nn.Module) -> None:
    """Make the word vector of PAD 0 in training.

    It begins as 0, but does not stay so where the table is the projection, too: each update makes padding less likely.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx == PAD:
            module.register_forward_hook(_zero_padding)


def _zero_padding(table: nn.Module, inputs: tuple[Tensor], vectors: Tensor) -> Tensor:
    return vectors * (inputs[0] != PAD).to(vectors.dtype)[..., None] if table.training else vectors
