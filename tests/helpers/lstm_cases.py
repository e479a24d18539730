"""Configurations, sentences and models that the LSTM's tests share."""

from typing import Any

import torch

from nmt.batch import collate
from nmt.models import LSTMConfig, build_model
from nmt.models.attention import (
    BahdanauConfig,
    CoverageConfig,
    FixedMemoryConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    LocationAwareConfig,
    MixtureWindowConfig,
    MonotonicConfig,
    NoneConfig,
    StructuralConfig,
    TemporalConfig,
)
from nmt.models.lstm.config import EncoderKind, Fusion, Mixture, Tied

V_SOURCE, V_TARGET = 13, 11
PAIRS = [([5, 7, 4], [9, 4, 4, 6, 8]), ([12], [5]), ([8, 4, 6, 11, 9, 4, 10], [10, 7, 5])]

CONFIGS = {
    "global": LSTMConfig(attention=GlobalConfig()),
    "global dot unfed": LSTMConfig(attention=GlobalConfig(score="dot"), input_feeding=False),
    "global uni reversed": LSTMConfig(attention=GlobalConfig(), bidirectional=False, reverse_source=True),
    "global deep residual": LSTMConfig(attention=GlobalConfig(), num_layers=3, residual=True),
    "global deep residual unfed": LSTMConfig(
        attention=GlobalConfig(), num_layers=2, residual=True, input_feeding=False, bias=False
    ),
    "global encoder deeper": LSTMConfig(attention=GlobalConfig(), encoder_layers=3, decoder_layers=2, bias=False),
    "global decoder deeper": LSTMConfig(attention=GlobalConfig(), encoder_layers=1, decoder_layers=3),
    "global eos reversed": LSTMConfig(attention=GlobalConfig(), source_eos=True, reverse_source=True),
    "global tied": LSTMConfig(attention=GlobalConfig(), tied=Tied.target),
    "local_m": LSTMConfig(attention=LocalMConfig(half_width=1)),
    "local_m unfed": LSTMConfig(attention=LocalMConfig(half_width=1), input_feeding=False),
    "local_p": LSTMConfig(attention=LocalPConfig(half_width=2, hidden_size=5)),
    "local_p reversed": LSTMConfig(
        attention=LocalPConfig(half_width=1, hidden_size=5), reverse_source=True, bidirectional=False
    ),
    "local_p unfed": LSTMConfig(attention=LocalPConfig(half_width=1, hidden_size=5), input_feeding=False),
    "hard": LSTMConfig(attention=HardConfig()),
    "bahdanau": LSTMConfig(attention=BahdanauConfig(hidden_size=5), embedding_size=4),
    "bahdanau deep": LSTMConfig(
        attention=BahdanauConfig(hidden_size=5), num_layers=2, residual=True, source_eos=False, reverse_source=True
    ),
    "fixed_memory": LSTMConfig(attention=FixedMemoryConfig(vectors=3)),
    "intra temporal": LSTMConfig(attention=TemporalConfig(), intra_attention=True, num_layers=2),
    "intra unfed": LSTMConfig(attention=GlobalConfig(), intra_attention=True, input_feeding=False),
    "intra bahdanau": LSTMConfig(attention=BahdanauConfig(hidden_size=5), intra_attention=True),
    "lstmn": LSTMConfig(attention=GlobalConfig(), encoder=EncoderKind.lstmn),
    "lstmn deep reversed": LSTMConfig(
        attention=GlobalConfig(),
        encoder=EncoderKind.lstmn,
        num_layers=2,
        residual=True,
        reverse_source=True,
        bias=False,
    ),
    "lstmn uni": LSTMConfig(attention=NoneConfig(), encoder=EncoderKind.lstmn, bidirectional=False, embedding_size=4),
    "fused": LSTMConfig(attention=GlobalConfig(), encoder=EncoderKind.lstmn, fusion=Fusion.deep, num_layers=2),
    "fused unfed uni": LSTMConfig(
        attention=NoneConfig(),
        encoder=EncoderKind.lstmn,
        fusion=Fusion.deep,
        bidirectional=False,
        input_feeding=False,
        embedding_size=4,
        bias=False,
    ),
    "fused bahdanau": LSTMConfig(
        attention=BahdanauConfig(hidden_size=5),
        encoder=EncoderKind.lstmn,
        fusion=Fusion.deep,
        reverse_source=True,
        intra_attention=True,
    ),
    "fused latent": LSTMConfig(
        attention=GlobalConfig(),
        encoder=EncoderKind.lstmn,
        fusion=Fusion.deep,
        mixture=Mixture.predictions,
        input_feeding=False,
    ),
    "coverage": LSTMConfig(attention=CoverageConfig(hidden_size=5, max_fertility=2.0), num_layers=2),
    "coverage unfed": LSTMConfig(attention=CoverageConfig(hidden_size=5), input_feeding=False),
    "coverage latent": LSTMConfig(attention=CoverageConfig(hidden_size=5), mixture=Mixture.predictions),
    "location_aware": LSTMConfig(attention=LocationAwareConfig(hidden_size=5, filters=3, filter_reach=2)),
    "structural": LSTMConfig(attention=StructuralConfig(hidden_size=5), embedding_size=4),
    "temporal": LSTMConfig(attention=TemporalConfig()),
    "monotonic": LSTMConfig(attention=MonotonicConfig(hidden_size=5, chunk=2, noise=0.0)),
    "gmm": LSTMConfig(attention=MixtureWindowConfig(components=3, hidden_size=5)),
    "gmm unfed": LSTMConfig(attention=MixtureWindowConfig(components=3, hidden_size=5), input_feeding=False),
    "global latent": LSTMConfig(attention=GlobalConfig(), mixture=Mixture.predictions, num_layers=2, residual=True),
    "global latent top 3 unfed": LSTMConfig(
        attention=GlobalConfig(), mixture=Mixture.predictions, mixture_top_k=3, input_feeding=False
    ),
    "local_m latent": LSTMConfig(attention=LocalMConfig(half_width=1), mixture=Mixture.predictions, tied=Tied.target),
    "local_p latent": LSTMConfig(attention=LocalPConfig(half_width=1, hidden_size=5), mixture=Mixture.predictions),
    "local_p latent top 2": LSTMConfig(
        attention=LocalPConfig(half_width=2, hidden_size=5), mixture=Mixture.predictions, mixture_top_k=2, bias=False
    ),
    "bahdanau latent": LSTMConfig(
        attention=BahdanauConfig(hidden_size=5), embedding_size=4, mixture=Mixture.predictions
    ),
    "global lexical": LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical, input_feeding=False),
    "global lexical reversed eos": LSTMConfig(
        attention=GlobalConfig(), mixture=Mixture.lexical, reverse_source=True, source_eos=True, mixture_diagonal=0.3
    ),
    "bahdanau lexical": LSTMConfig(
        attention=BahdanauConfig(hidden_size=5), mixture=Mixture.lexical, bias=False, mixture_tension=0.0
    ),
    "local_p lexical": LSTMConfig(
        attention=LocalPConfig(half_width=1, hidden_size=5), mixture=Mixture.lexical, tied=Tied.target
    ),
    "none": LSTMConfig(attention=NoneConfig(), embedding_size=4),
    "none unfed": LSTMConfig(attention=NoneConfig(), num_layers=2, input_feeding=False),
}


def build(name, seed=0, **changes) -> Any:
    """A float64 model without dropout, whose weights are large enough for its answers to differ."""
    config = CONFIGS[name]
    config = type(config)(**{**vars(config), "hidden_size": 6, "dropout": 0.0, **changes})
    torch.manual_seed(seed)
    eps = 0.0 if getattr(config, "mixture", None) is Mixture.lexical else 0.1
    model = build_model(config, V_SOURCE, V_TARGET, joint=False, label_smoothing=eps).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return model


def batch_of(pairs=PAIRS):
    return collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))
