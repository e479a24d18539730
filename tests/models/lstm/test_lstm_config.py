"""What the LSTM model's options make, and which are refused."""

from typing import Any

import pytest

from nmt.errors import ConfigError
from nmt.models import LSTMConfig, build_model
from nmt.models.attention import BahdanauConfig, GlobalConfig, HardConfig, LocalPConfig, NoneConfig
from nmt.models.lstm.config import Mixture, Tied


def test_tied_tables_are_one():
    config = LSTMConfig(attention=GlobalConfig(), hidden_size=6, tied=Tied.all)
    model: Any = build_model(config, 11, 11, joint=True)
    tables = (model.source_embedding.weight, model.target_embedding.weight, model.projection.weight)
    assert tables[0] is tables[1] is tables[2]
    two: Any = build_model(LSTMConfig(attention=GlobalConfig(), hidden_size=6, tied=Tied.target), 13, 11, joint=False)
    assert two.projection.weight is two.target_embedding.weight
    assert two.source_embedding.weight.shape == (13, 6)


def test_the_bias_option_leaves_no_bias():
    for bias in (True, False):
        model = build_model(LSTMConfig(attention=GlobalConfig(), hidden_size=6, bias=bias), 9, 9, joint=False)
        assert any("bias" in name for name, _ in model.named_parameters()) == bias


def test_initialization_range():
    config = LSTMConfig(attention=LocalPConfig(), hidden_size=16, init_range=0.05)
    for name, p in build_model(config, 50, 50, joint=True).named_parameters():
        if p.dim() > 1:
            assert 0.03 < p.abs().max() <= 0.05, name
        elif "bias" in name:
            assert not p.any()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"dropout": 1.0}, "model.dropout"),
        ({"hidden_size": 0}, "model.hidden_size"),
        ({"hidden_size": 7}, "model.hidden_size=7"),
        ({"encoder_layers": 0}, "model.encoder_layers"),
        ({"init_range": 0.0}, "model.init_range"),
        ({"tied": Tied.target, "embedding_size": 8}, "model.tied=target"),
        ({"attention": BahdanauConfig(), "input_feeding": True}, "model.input_feeding=true"),
    ],
)
def test_contradictions_are_refused_by_key(keys, named):
    with pytest.raises(ConfigError, match=named):
        LSTMConfig(**{"attention": GlobalConfig(), **keys})


def test_what_the_vocabulary_or_the_caller_lacks_is_refused_by_key():
    with pytest.raises(ConfigError, match=r"model\.tied=all .* data\.tokenizer\.joint"):
        build_model(LSTMConfig(attention=GlobalConfig(), tied=Tied.all), 9, 9, joint=False)
    with pytest.raises(ConfigError, match=r"model\.attention"):
        build_model(LSTMConfig(), 9, 9, joint=False)


@pytest.mark.parametrize("mixture", [Mixture.predictions, Mixture.lexical])
@pytest.mark.parametrize("attention", [NoneConfig(), HardConfig()])
def test_one_position_or_none_has_no_predictions_to_mix(attention, mixture):
    with pytest.raises(ConfigError, match=rf"model.mixture={mixture.name} .* model.attention={attention.name} reads"):
        LSTMConfig(attention=attention, mixture=mixture)


def test_lexical_alignment_refuses_what_it_cannot_have():
    with pytest.raises(ConfigError, match=r"model\.mixture_diagonal belongs to .*=lexical, not to mixture=predictions"):
        LSTMConfig(attention=GlobalConfig(), mixture=Mixture.predictions, mixture_diagonal=0.5)
    with pytest.raises(ConfigError, match=r"model\.mixture_tension belongs to .*=lexical, not to mixture=contexts"):
        LSTMConfig(attention=GlobalConfig(), mixture_tension=0.5)
    with pytest.raises(ConfigError, match=r"model\.mixture_top_k belongs to .*predictions, not to mixture=lexical"):
        LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical, mixture_top_k=3)
    with pytest.raises(ConfigError, match=r"model\.mixture=lexical .* model\.embedding_size=512, .* not 300"):
        LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical, embedding_size=300)
    config = LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical, hidden_size=4)
    with pytest.raises(ConfigError, match=r"trainer\.label_smoothing=0\.1 does not apply to model\.mixture=lexical"):
        build_model(config, 9, 9, joint=False, label_smoothing=0.1)


def test_top_k_belongs_to_mixed_predictions():
    with pytest.raises(ConfigError, match=r"model.mixture_top_k belongs to model.mixture=predictions"):
        LSTMConfig(attention=GlobalConfig(), mixture_top_k=3)
