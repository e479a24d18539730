"""Tiny Transformers to be exported, and what the exports' tests share."""

from pathlib import Path
from typing import Any

import torch
from tiny_runs import make_run

from nmt.batch import BOS, PAD, UNK
from nmt.data.tokenizer import TokenizerKind
from nmt.models import TransformerConfig
from nmt.models.seq2seq import Tied
from nmt.models.transformer.config import (
    Activation,
    GlobalSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Norm,
    Positions,
)
from nmt.models.transformer.model import Transformer
from nmt.runs import checkpoint
from nmt.runs.directory import Run

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"hidden_size": 8, "heads": 2, "ffn_size": 12, "num_layers": 2}
EVERY = GlobalSelfAttentionConfig()
TRANSFORMERS = {
    "before": TransformerConfig(self_attention=EVERY, **SIZES),
    "after": TransformerConfig(
        self_attention=EVERY, norm=Norm.after, activation=Activation.gelu, tied=Tied.all, source_eos=False, **SIZES
    ),
    "learned": TransformerConfig(
        self_attention=EVERY, positions=Positions.learned, max_positions=40, tied=Tied.none, **SIZES
    ),
    "rotary": TransformerConfig(
        self_attention=EVERY, positions=Positions.rotary, activation=Activation.swiglu, **SIZES
    ),
    "odd": TransformerConfig(
        self_attention=EVERY, **{**SIZES, "hidden_size": 9, "heads": 3, "encoder_layers": 1, "decoder_layers": 3}
    ),
}
LOCAL = TransformerConfig(self_attention=LocalSelfAttentionConfig(half_width=2), **SIZES)


def transformer_run(directory: Path, config: TransformerConfig, kind: TokenizerKind = TokenizerKind.word) -> Run:
    """A run whose model never finds the tokens probable that are no text, as no trained model does."""
    run = Run.open(make_run(directory, config, kind))
    model, _ = run.load_model("best", CPU)
    assert isinstance(model, Transformer)
    last = model.decoder.norm if config.norm is Norm.before else model.decoder.layers[-1].around_feed.norm
    with torch.no_grad():
        last.get_parameter("bias").fill_(1.0)
        model.projection.weight[[PAD, UNK, BOS]] = -3.0
    checkpoint.save(directory / checkpoint.BEST, {"model": model.state_dict(), "step": 7})
    return run
