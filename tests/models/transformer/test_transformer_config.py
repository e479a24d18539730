"""What the Transformer's options make, which are refused, and that all of them can be typed."""

from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from nmt.cli.compose import register
from nmt.cli.compose import typed as make
from nmt.cli.mistakes import explain
from nmt.cli.train import COMMAND
from nmt.config import CONFIG_DIR, VERSION_BASE, from_yaml, to_yaml
from nmt.errors import ConfigError
from nmt.models import TransformerConfig, build_model
from nmt.models.lstm.config import Tied
from nmt.models.transformer.config import (
    Activation,
    GlobalSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Norm,
    Positions,
)

EVERY = GlobalSelfAttentionConfig()
PRESETS = {  # encoder and decoder layers, width, ffn, heads
    "transformer": (6, 6, 512, 2048, 8),
    "transformer_tiny": (4, 4, 128, 256, 4),
    "transformer_small": (4, 4, 256, 1024, 4),
    "transformer_base": (6, 6, 512, 2048, 8),
    "transformer_big": (6, 6, 1024, 4096, 16),
}


@pytest.fixture(autouse=True, scope="module")
def hydra():
    register(COMMAND)
    with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        yield


def composed(*overrides: str) -> Any:
    return make(compose("train", list(overrides))).model


def weights(config: TransformerConfig, V: int, joint: bool = True) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config, V, V, joint).parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_their_sizes(name):
    config = composed(f"model={name}")
    encoder, decoder, D, ffn, heads = PRESETS[name]
    with torch.device("meta"):
        model: Any = build_model(config, 50, 50, joint=True)
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (encoder, decoder)
    assert model.encoder.layers[0].feed_forward.inner.weight.shape == (ffn, D)
    assert model.decoder.layers[-1].self_attention.inputs.weight.shape == (3 * D, D)
    assert {layer.self_attention.heads for layer in (*model.encoder.layers, *model.decoder.layers)} == {heads}


def test_the_base_model_has_the_papers_number_of_weights():
    """65 million, with some 37,000 shared word vectors (Vaswani et al. 2017, table 3 and section 5.1)."""
    assert round(weights(composed("model=transformer_base"), 37000) / 1e6) == pytest.approx(65, abs=2.5)
    assert round(weights(composed("model=transformer_big"), 37000) / 1e6) == pytest.approx(213, abs=5)


@pytest.mark.parametrize(
    "typed",
    [
        *(f"positions={p.name}" for p in Positions),
        *(f"norm={n.name}" for n in Norm),
        *(f"activation={a.name}" for a in Activation),
        *(f"tied={t.name}" for t in Tied),
        "attention_dropout=0.2",
        "activation_dropout=0.2",
        "dropout=0.2",
        "max_positions=77",
        "source_eos=false",
        "encoder_layers=1",
        "decoder_layers=1",
        "heads=16",
        "ffn_size=20",
    ],
)
def test_every_option_can_be_typed(typed):
    """With any preset; what is composed can be built, and comes back equal from its YAML."""
    key, value = typed.split("=")
    config = make(compose("train", ["model=transformer_tiny", f"model.{typed}"]))
    found = getattr(config.model, key)
    assert str(getattr(found, "name", found)).lower() == value
    assert from_yaml(to_yaml(config)) == config
    weights(config.model, 20)


def test_self_attention_is_a_choice_beside_its_keys():
    assert composed("model=transformer").self_attention == EVERY
    typed = ("model=transformer_tiny", "model.self_attention=local", "model.self_attention.half_width=8")
    assert composed(*typed).self_attention == LocalSelfAttentionConfig(half_width=8)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["model=transformer", "model.attention=local_p"], "model.attention belongs to model=lstm"),
        (["model=transformer_tiny", "model.attention.half_width=3"], "model.attention belongs to model=lstm"),
        (["model=transformer", "+experiment=demo"], "In 'experiment/demo': model.attention belongs to model=lstm"),
        (["model=lstm", "model.self_attention=local"], "model.self_attention belongs to model=transformer"),
        (["model.self_attention.half_width=8"], "model.self_attention belongs to model=transformer"),
        (["model=transformer", "model.self_attention.half_width=8"], "belongs to model.self_attention=local"),
        (["model=transformer", "model.self_attention=loca"], "did you mean: local"),
        (["model=transformer", "model.bidirectional=true"], "model.bidirectional belongs to model=lstm"),
        (["model.heads=2"], "model.heads belongs to model=transformer"),
        (["model=transformer", "model.heads=3"], "model.hidden_size=512 must be a multiple of model.heads=3"),
    ],
)
def test_what_does_not_belong_is_refused(typed, message):
    """In one message, which says what it belongs to."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Hydra's own, before explain
        composed(*typed)
    assert message in explain(caught.value, COMMAND)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"dropout": 1.0}, "model.dropout"),
        ({"attention_dropout": -0.1}, "model.attention_dropout"),
        ({"activation_dropout": 1.0}, "model.activation_dropout"),
        ({"ffn_size": 0}, "model.ffn_size"),
        ({"decoder_layers": 0}, "model.decoder_layers"),
        ({"hidden_size": 6, "heads": 4}, "model.heads=4"),
        ({"hidden_size": 6, "heads": 2, "positions": Positions.rotary}, "model.positions=rotary"),
    ],
)
def test_contradictions_are_refused_by_key(keys, named):
    with pytest.raises(ConfigError, match=named):
        TransformerConfig(**{"self_attention": EVERY, **keys})


def test_what_the_vocabulary_or_the_caller_lacks_is_refused_by_key():
    with pytest.raises(ConfigError, match=r"model\.tied=all .* data\.tokenizer\.joint"):
        build_model(TransformerConfig(self_attention=EVERY, tied=Tied.all), 9, 9, joint=False)
    with pytest.raises(ConfigError, match=r"model\.self_attention"):
        build_model(TransformerConfig(), 9, 9, joint=False)
    with pytest.raises(ConfigError, match=r"model\.self_attention\.half_width"):
        LocalSelfAttentionConfig(half_width=0)


def test_tied_tables_are_one():
    def tables(tied, sizes, joint) -> Any:
        config = TransformerConfig(self_attention=EVERY, hidden_size=8, heads=2, ffn_size=8, num_layers=1, tied=tied)
        model: Any = build_model(config, sizes[0], sizes[1], joint)
        return model.source_embedding.words.weight, model.target_embedding.words.weight, model.projection.weight

    source, target, projection = tables(Tied.all, (11, 11), True)
    assert source is target is projection
    source, target, projection = tables(Tied.target, (13, 11), False)
    assert target is projection
    assert source.shape == (13, 8)
    source, target, projection = tables(Tied.none, (11, 11), True)
    assert len({id(source), id(target), id(projection)}) == 3
