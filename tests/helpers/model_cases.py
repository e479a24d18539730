"""Tiny models of every kind for the tests that hold for any of them: one table, with a row for each model in MODELS.

A configuration is written as the tree of its keys below ``model``, as config.yaml of a run holds it.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch
from torch import nn

from nmt.batch import Batch, collate
from nmt.config import restore
from nmt.models import MODELS, build_model
from nmt.models.lstm.config import LSTMConfig, Mixture
from nmt.models.seq2seq import ModelConfig, Seq2Seq

V = 13  # words of either vocabulary; PAIRS leave the last one out
PAIRS = [
    ([5, 7, 4], [9, 4, 4, 6, 8, 11, 5]),
    ([11], [5]),
    ([8, 4, 6, 11, 9, 4, 10, 7, 7], [10, 7, 5]),
    # Long enough for local attention to gather windows, in training and in search.
    ([4 + i * i % 7 for i in range(75)], [6, 6, 10, 4, 7]),
]


@dataclass(frozen=True)
class Case:
    """A configuration, and what is particular about it."""

    tree: dict[str, Any] = field(default_factory=dict)  # keys that differ from the model's row in ALWAYS
    sums_to_one: bool | None = True  # whether every row of attention weights does; False: to less; None: to anything
    self_sums_to_one: bool = True  # the same of self-attention


def attention(name: str, **keys: Any) -> dict[str, Any]:
    """model.attention=NAME with its keys."""
    return {"attention": {"name": name, **keys}}


def self_attention(name: str, **keys: Any) -> dict[str, Any]:
    """model.self_attention=NAME with its keys."""
    return {"self_attention": {"name": name, **keys}}


def cross_attention(name: str, **keys: Any) -> dict[str, Any]:
    """model.cross_attention=NAME with its keys."""
    return {"cross_attention": {"name": name, **keys}}


PREDICTIONS = {"mixture": "predictions"}
LEXICAL = {"mixture": "lexical", "mixture_diagonal": 0.0}
INTRA = {"intra_attention": True}
FUSED = {"encoder": "lstmn", "fusion": "deep"}
LSTMN = {"encoder": "lstmn"}
LOCAL_P = {"hidden_size": 5, "half_width": 1}

# Keys of every case of a model, by the model's name.
ALWAYS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden_size": 6, "dropout": 0.0},
    "transformer": {
        **{"hidden_size": 8, "heads": 2, "ffn_size": 12, "encoder_layers": 3, "decoder_layers": 2, "dropout": 0.0},
        **self_attention("global"),
    },
}

# The cases, by the model's name and their own.
CASES: dict[str, dict[str, Case]] = {
    "lstm": {
        "none": Case(attention("none") | {"embedding_size": 4}),
        "none unfed": Case(attention("none") | {"num_layers": 2, "input_feeding": False}),
        "bahdanau": Case(attention("bahdanau", hidden_size=5) | {"embedding_size": 4}),
        "bahdanau entmax15": Case(attention("bahdanau", hidden_size=5, normalizer="entmax15")),
        "bahdanau deep": Case(
            attention("bahdanau", hidden_size=5)
            | {"num_layers": 2, "residual": True, "source_eos": False, "reverse_source": True}
        ),
        "global": Case(attention("global")),
        "global unfed": Case(attention("global") | {"input_feeding": False}),
        "global dot": Case(attention("global", score="dot")),
        "global scaled_dot": Case(attention("global", score="scaled_dot")),
        "global concat": Case(attention("global", score="concat")),
        "global concat identity": Case(attention("global", score="concat", concat_source="identity")),
        "global location": Case(attention("global", score="location", max_source=90)),
        "global uni reversed": Case(attention("global") | {"bidirectional": False, "reverse_source": True}),
        "global eos reversed": Case(attention("global") | {"source_eos": True, "reverse_source": True}),
        "global deep residual": Case(attention("global") | {"num_layers": 3, "residual": True, "bias": False}),
        "global encoder deeper": Case(attention("global") | {"encoder_layers": 3, "decoder_layers": 2}),
        "global decoder deeper": Case(attention("global") | {"encoder_layers": 1, "decoder_layers": 3}),
        "global tied target": Case(attention("global") | {"tied": "target"}),
        "global tied all": Case(attention("global") | {"tied": "all"}),
        "global luong dropout": Case(attention("global") | {"dropout_placement": "luong"}),
        "global non_local": Case(attention("global") | {"encoder_block": "non_local"}),
        "global sparsemax": Case(attention("global", normalizer="sparsemax")),
        "global heads": Case(attention("global", heads=3) | {"num_layers": 2}),
        "global dot heads unfed": Case(attention("global", score="dot", heads=2) | {"input_feeding": False}),
        "bahdanau heads": Case(attention("bahdanau", hidden_size=5, heads=2)),
        "hard heads": Case(attention("hard", heads=2)),
        "local_m heads": Case(attention("local_m", half_width=1, heads=2)),
        "local_p heads": Case(attention("local_p", heads=2, **LOCAL_P), sums_to_one=False),
        "coverage heads": Case(attention("coverage", hidden_size=5, heads=3)),
        "monotonic heads": Case(attention("monotonic", hidden_size=5, chunk=2, heads=2), sums_to_one=None),
        "gmm heads unfed": Case(
            attention("gmm", components=2, hidden_size=5, heads=2) | {"input_feeding": False}, sums_to_one=None
        ),
        "fixed_memory": Case(attention("fixed_memory", vectors=4), sums_to_one=None),
        "fixed_memory shares unfed": Case(
            attention("fixed_memory", vectors=3, shares="of_vector", position_encoding=True) | {"input_feeding": False}
        ),
        "fixed_memory heads": Case(attention("fixed_memory", vectors=4, heads=2), sums_to_one=None),
        "intra": Case(attention("global") | INTRA | {"num_layers": 2}),
        "intra bahdanau": Case(attention("bahdanau", hidden_size=5) | INTRA),
        "intra unfed": Case(attention("global") | INTRA | {"input_feeding": False}),
        "intra temporal": Case(attention("temporal", heads=2) | INTRA),
        "intra temporal unfed": Case(attention("temporal") | INTRA | {"input_feeding": False, "residual": True}),
        "lstmn": Case(attention("global") | LSTMN),
        "lstmn uni reversed": Case(
            attention("global") | LSTMN | {"bidirectional": False, "reverse_source": True, "num_layers": 2}
        ),
        "lstmn deep residual": Case(
            attention("bahdanau", hidden_size=5) | LSTMN | INTRA | {"num_layers": 2, "residual": True, "bias": False}
        ),
        "fused": Case(attention("global") | FUSED),
        "fused deep": Case(attention("bahdanau", hidden_size=5) | FUSED | INTRA | {"num_layers": 2, "residual": True}),
        "fused none unfed": Case(attention("none") | FUSED | {"input_feeding": False, "bias": False}),
        "fused latent": Case(attention("local_m", half_width=1) | FUSED | PREDICTIONS),
        "hard": Case(attention("hard")),
        "coverage": Case(attention("coverage", hidden_size=5)),
        "coverage fertility": Case(attention("coverage", hidden_size=5, max_fertility=2.0, normalizer="entmax15")),
        "coverage unfed": Case(attention("coverage", hidden_size=5) | {"input_feeding": False, "num_layers": 2}),
        "coverage latent": Case(attention("coverage", hidden_size=5) | PREDICTIONS),
        "location_aware": Case(attention("location_aware", hidden_size=5, filters=3, filter_reach=2)),
        "structural": Case(attention("structural", hidden_size=5) | {"embedding_size": 4}),
        "structural reversed": Case(
            attention("structural", hidden_size=5, markov=False, neighbours=2)
            | {"reverse_source": True, "bidirectional": False, "source_eos": False}
        ),
        "temporal": Case(attention("temporal")),
        "temporal unfed": Case(attention("temporal", score="concat") | {"input_feeding": False, "source_eos": True}),
        "monotonic": Case(attention("monotonic", hidden_size=5), sums_to_one=None),
        "monotonic chunk": Case(attention("monotonic", hidden_size=5, chunk=3), sums_to_one=None),
        "gmm": Case(attention("gmm", components=3, hidden_size=5), sums_to_one=None),
        "gmm graves unfed": Case(
            attention("gmm", form="graves", components=2, hidden_size=5) | {"input_feeding": False}, sums_to_one=None
        ),
        "hard sparsemax": Case(attention("hard", normalizer="sparsemax")),
        "local_m": Case(attention("local_m", half_width=1)),
        "local_m unfed": Case(attention("local_m", half_width=1) | {"input_feeding": False}),
        "local_m location": Case(attention("local_m", half_width=2, score="location")),
        "local_p": Case(attention("local_p", **LOCAL_P), sums_to_one=False),
        "local_p unfed": Case(attention("local_p", **LOCAL_P) | {"input_feeding": False}, sums_to_one=False),
        "local_p concat": Case(attention("local_p", score="concat", **LOCAL_P), sums_to_one=False),
        "local_p learned": Case(attention("local_p", sigma="learned", **LOCAL_P), sums_to_one=False),
        "local_p renormalized": Case(attention("local_p", renormalize=True, **LOCAL_P)),
        "local_p bias diagonal": Case(
            attention("local_p", gaussian="bias", centre="diagonal", sigma="learned", sigma_start=3.0, **LOCAL_P)
        ),
        "local_p entmax15": Case(attention("local_p", normalizer="entmax15", **LOCAL_P), sums_to_one=False),
        "local_p reversed": Case(
            attention("local_p", **LOCAL_P) | {"reverse_source": True, "bidirectional": False}, sums_to_one=False
        ),
        "bahdanau latent": Case(
            attention("bahdanau", hidden_size=5)
            | PREDICTIONS
            | {"num_layers": 2, "residual": True, "embedding_size": 4}
        ),
        "global latent": Case(attention("global") | PREDICTIONS | {"num_layers": 2, "residual": True}),
        "global latent top 3": Case(attention("global") | PREDICTIONS | {"mixture_top_k": 3, "input_feeding": False}),
        "local_m latent": Case(attention("local_m", half_width=1) | PREDICTIONS | {"bias": False}),
        "local_m latent unfed": Case(attention("local_m", half_width=1) | PREDICTIONS | {"input_feeding": False}),
        "local_p latent": Case(
            attention("local_p", **LOCAL_P) | PREDICTIONS | {"reverse_source": True, "tied": "target"},
            sums_to_one=False,
        ),
        "local_p latent top 2": Case(
            attention("local_p", **LOCAL_P) | PREDICTIONS | {"mixture_top_k": 2, "dropout_placement": "luong"},
            sums_to_one=False,
        ),
        "global lexical": Case(attention("global") | LEXICAL | {"num_layers": 2}),
        "global lexical unfed": Case(attention("global") | LEXICAL | {"input_feeding": False, "reverse_source": True}),
        "temporal lexical": Case(attention("temporal") | LEXICAL | {"bias": False}),
        "local_m lexical": Case(attention("local_m", half_width=1) | LEXICAL | {"tied": "target"}),
    },
    "transformer": {
        "before": Case(),
        "after": Case({"norm": "after", "activation": "gelu", "tied": "all"}),
        "learned": Case({"positions": "learned", "max_positions": 90, "tied": "none"}),
        "rotary": Case({"positions": "rotary", "activation": "swiglu"}),
        "sparsemax": Case({"cross_attention_normalizer": "sparsemax"}),
        "entmax15": Case({"cross_attention_normalizer": "entmax15", "norm": "after"}),
        "qk_norm": Case({"qk_norm": True, "activation": "relu2", "positions": "rotary"}),
        "local": Case(self_attention("local", half_width=2) | {"source_eos": False}),
        "local rotary": Case(self_attention("local", half_width=2) | {"positions": "rotary", "norm": "after"}),
        "local learned": Case(self_attention("local", half_width=2) | {"positions": "learned", "max_positions": 90}),
        "local below": Case(
            self_attention("local", half_width=2, layers=[1]) | {"sinks": "self_attention"}, self_sums_to_one=False
        ),
        "localness": Case(self_attention("localness") | {"decoder_normalizer": "entmax15", "positions": "rotary"}),
        "localness below": Case(self_attention("localness", layers=[1]) | {"norm": "after", "source_eos": False}),
        "hard_coded": Case(self_attention("hard_coded"), self_sums_to_one=False),
        "hard_coded above": Case(
            self_attention("hard_coded", layers=[2], encoder_centres=[-1, 0, 1], sigma=0.5), self_sums_to_one=False
        ),
        "normalizers": Case({"encoder_normalizer": "sparsemax", "decoder_normalizer": "sparsemax"}),
        "cross bahdanau": Case(cross_attention("bahdanau", hidden_size=5) | {"positions": "rotary", "qk_norm": True}),
        "cross global": Case(cross_attention("global") | {"norm": "after", "source_eos": False}),
        "cross global dot heads": Case(cross_attention("global", score="dot", heads=4, normalizer="entmax15")),
        "cross global location": Case(cross_attention("global", score="location", max_source=90)),
        "cross local_m": Case(cross_attention("local_m", half_width=1) | {"tied": "all"}),
        "cross local_p": Case(cross_attention("local_p", sigma="learned", **LOCAL_P), sums_to_one=False),
        "cross local_p bias diagonal heads": Case(
            cross_attention("local_p", gaussian="bias", centre="diagonal", heads=2, **LOCAL_P)
            | self_attention("local", half_width=2)
        ),
        "cross hard": Case(cross_attention("hard", score="scaled_dot")),
        "cross fixed_memory": Case(
            cross_attention("fixed_memory", vectors=4, position_encoding=True), sums_to_one=None
        ),
        "sinks": Case({"sinks": "all", "encoder_normalizer": "entmax15"}, sums_to_one=False, self_sums_to_one=False),
    },
}

NAMES = [f"{model}: {case}" for model, cases in CASES.items() for case in cases]
# For checks that take a second a model: every third of NAMES among the fast tests, all of them among the slow ones.
A_THIRD_FAST = [pytest.param(name, marks=[] if i % 3 == 0 else pytest.mark.slow) for i, name in enumerate(NAMES)]


def case_of(name: str) -> Case:
    """The case of one of NAMES."""
    model, _, case = name.partition(": ")
    return CASES[model][case]


_configs: dict[str, ModelConfig] = {}  # made already, because that takes longer than most tests of them


def config_of(name: str, **changes: Any) -> ModelConfig:
    """The configuration of one of NAMES, a new one at every call."""
    model = name.partition(":")[0]
    tree = {"name": model, **deepcopy(ALWAYS[model]), **case_of(name).tree, **changes}
    if repr(tree) not in _configs:
        _configs[repr(tree)] = restore({"model": tree, "data": {"name": "phrases"}}).model
    return deepcopy(_configs[repr(tree)])


def build(name: str, seed: int = 0, label_smoothing: float = 0.1, **changes: Any) -> Seq2Seq:
    """A float64 model of one of NAMES, with weights so large that its answers differ and its attention moves."""
    torch.manual_seed(seed)
    config = config_of(name, **changes)
    model = build_model(config, V, V, joint=True, label_smoothing=smoothing(config, label_smoothing)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def smoothing(config: ModelConfig, most: float = 0.1) -> float:
    """``most``, or 0 where a model takes no label smoothing."""
    lexical = isinstance(config, LSTMConfig) and config.mixture is Mixture.lexical
    return 0.0 if lexical else most


def batch_of(pairs: list[tuple[list[int], list[int]]] | None = None) -> Batch:
    """PAIRS, or others, as a batch."""
    pairs = PAIRS if pairs is None else pairs
    return collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))


def models_without_cases() -> list[str]:
    """Names of the models in MODELS that no test of this table sees."""
    names = [cast(Any, config).name for config in MODELS]
    return [name for name in names if not CASES.get(name) or name not in ALWAYS]
