"""Configurations, sentences and models that the Transformer's tests share."""

from typing import Any

import torch

from nmt.batch import collate
from nmt.models import TransformerConfig, build_model
from nmt.models.lstm.config import Tied
from nmt.models.transformer.config import (
    Activation,
    GlobalSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Norm,
    Positions,
)

V = 13
PAIRS = [
    ([5, 7, 4], [9, 4, 4, 6, 8, 12, 5]),
    ([12], [5]),
    ([8, 4, 6, 11, 9, 4, 10, 7, 7], [10, 7, 5]),
]
EVERY, NEAR = GlobalSelfAttentionConfig(), LocalSelfAttentionConfig(half_width=2)
CONFIGS = {
    "before": TransformerConfig(self_attention=EVERY),
    "after": TransformerConfig(self_attention=EVERY, norm=Norm.after, activation=Activation.gelu, tied=Tied.all),
    "learned": TransformerConfig(self_attention=EVERY, positions=Positions.learned, max_positions=40, tied=Tied.none),
    "rotary": TransformerConfig(self_attention=EVERY, positions=Positions.rotary, activation=Activation.swiglu),
    "local": TransformerConfig(self_attention=NEAR, source_eos=False),
    "local rotary": TransformerConfig(self_attention=NEAR, positions=Positions.rotary, norm=Norm.after),
    "local learned": TransformerConfig(self_attention=NEAR, positions=Positions.learned, max_positions=40),
}
TINY = {"hidden_size": 8, "heads": 2, "ffn_size": 12, "encoder_layers": 3, "decoder_layers": 2, "dropout": 0.0}


def build(name, seed=0, **changes) -> Any:
    """A float64 model without dropout, whose weights are large enough for its answers to differ."""
    config = TransformerConfig(**{**vars(CONFIGS[name]), **TINY, **changes})
    torch.manual_seed(seed)
    model = build_model(config, V, V, joint=True, label_smoothing=0.1).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def batch_of(pairs=PAIRS):
    return collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))
