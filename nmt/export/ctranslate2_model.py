"""The Transformer in the form of CTranslate2: its weights in a specification of that library, and its vocabularies.

Both compute the same formulas, so that arrays are copied and nothing is trained or estimated.  What the library has no
form for is refused (``check_model``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nmt.data.pieces import Tokenizer
from nmt.data.tokenizer import Tokenizers
from nmt.errors import ConfigError
from nmt.libraries import needed
from nmt.models import LSTMConfig
from nmt.models.seq2seq import Seq2Seq
from nmt.models.transformer.config import Activation, Norm, Positions, TransformerConfig
from nmt.models.transformer.layers import DecoderLayer, EncoderLayer, FeedForward, Residual
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.multi_head import CrossAttention, SelfAttention
from nmt.models.transformer.positions import Embedding

POSITIONS = 4096  # rows of the table of sinusoids, the longest sequence that an exported model reads


def check_model(model: Seq2Seq, name: str) -> Transformer:
    """The model, if CTranslate2 can hold it; raises ConfigError, beginning with ``name``, if not."""
    other = "ONNX may hold it (to=onnx, engine=onnx)"
    if not isinstance(model, Transformer):
        kind = "an LSTM" if isinstance(getattr(model, "config", None), LSTMConfig) else type(model).__name__
        raise ConfigError(f"{name} is {kind}: CTranslate2 holds the Transformer alone; {other}")
    for typed in model.config.beyond_softmax():
        raise ConfigError(f"{name} has {typed}, which CTranslate2 does not have; translate with engine=torch")
    if model.config.self_attention.reach is not None:
        raise ConfigError(
            f"{name} has model.self_attention=local, a window on both sides of each position, which CTranslate2 does "
            f"not have; {other}"
        )
    if model.config.cross_attention_normalizer != "softmax":
        raise ConfigError(
            f"{name} has model.cross_attention_normalizer={model.config.cross_attention_normalizer}, and CTranslate2 "
            f"has softmax alone; {other}"
        )
    if model.config.qk_norm or model.config.activation is Activation.relu2:
        key = "qk_norm=true" if model.config.qk_norm else "activation=relu2"
        raise ConfigError(f"{name} has model.{key}, which CTranslate2's Transformer has not; {other}")
    return model


def longest_sequence(config: TransformerConfig) -> int | None:
    """The most positions that the exported model reads on either side; None: any number."""
    if config.positions is Positions.rotary:
        return None
    return config.max_positions if config.positions is Positions.learned else POSITIONS


def write_model(model: Transformer, tokenizers: Tokenizers, folder: Path, quantization: str | None = None) -> None:
    """Write model.bin, config.json and the vocabularies of CTranslate2 into a folder that is there.

    ``quantization`` is one of CTranslate2's names of types, None for float32.
    """
    specs = needed("ctranslate2.specs", "to=ctranslate2")
    spec = specs.TransformerSpec(*(make(model, specs) for make in (encoder_spec, decoder_spec)))
    spec.register_source_vocabulary(vocabulary(tokenizers.source))
    spec.register_target_vocabulary(vocabulary(tokenizers.target))
    spec.config.add_source_eos = model.source_eos
    spec.config.layer_norm_epsilon = 1e-5
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(folder))


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """The pieces by id, each another string, as CTranslate2 needs them; the four special ids by their names first.

    A vocabulary of words may hold the word <unk>, and one of characters U+2581 beside the space that is shown by it:
    of equal pieces the later ones get their id behind them.
    """
    pieces = tokenizer.pieces(range(tokenizer.size))
    first: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        first.setdefault(piece, i)
    return [piece if first[piece] == i else f"{piece}\ufdd0{i}" for i, piece in enumerate(pieces)]


def common(config: TransformerConfig, specs: Any) -> dict[str, Any]:
    """What is said of both sides."""
    kinds = specs.Activation
    activations = {Activation.relu: kinds.RELU, Activation.gelu: kinds.GELU, Activation.swiglu: kinds.SWISH}
    rotary = {"rotary_dim": 0, "rotary_interleave": False} if config.positions is Positions.rotary else {}
    return {
        "num_heads": config.heads,
        "pre_norm": config.norm is Norm.before,
        "activation": activations[config.activation],
        "ffn_glu": config.activation is Activation.swiglu,
        **rotary,
    }


def encoder_spec(model: Transformer, specs: Any) -> Any:
    """The encoder with its weights."""
    module = needed("ctranslate2.specs.transformer_spec", "to=ctranslate2")
    spec = module.TransformerEncoderSpec(len(model.encoder.layers), **common(model.config, specs))
    set_embedding(spec.embeddings[0], spec, model.source_embedding, model.config)
    for part, layer in zip(spec.layer, model.encoder.layers, strict=True):
        set_self_attention(part.self_attention, layer.self_attention, layer.around_self)
        set_feed_forward(part.ffn, layer)
    set_last_norm(spec, model.encoder.norm)
    return spec


def decoder_spec(model: Transformer, specs: Any) -> Any:
    """The decoder and the projection with their weights."""
    module = needed("ctranslate2.specs.transformer_spec", "to=ctranslate2")
    spec = module.TransformerDecoderSpec(len(model.decoder.layers), **common(model.config, specs))
    set_embedding(spec.embeddings, spec, model.target_embedding, model.config)
    for part, layer in zip(spec.layer, model.decoder.layers, strict=True):
        cross = layer.cross_attention
        assert isinstance(cross, CrossAttention)  # check_model has refused others
        set_self_attention(part.self_attention, layer.self_attention, layer.around_self)
        set_linears(part.attention.linear, (cross.query, cross.memory, cross.output))
        set_norm(part.attention.layer_norm, layer.around_cross.norm)
        set_feed_forward(part.ffn, layer)
    set_last_norm(spec, model.decoder.norm)
    spec.projection.weight = array(model.projection.weight)
    return spec


def set_embedding(words: Any, side: Any, embedding: Embedding, config: TransformerConfig) -> None:
    """Word vectors, which CTranslate2 multiplies by sqrt(D), too, and what positions add to them."""
    words.weight = array(embedding.words.weight)
    if embedding.places is not None:
        side.position_encodings.encodings = array(embedding.places.weight)
    elif embedding.sinusoids is not None:
        table = embedding.sinusoids(range(POSITIONS), torch.zeros(1)).flatten(1)[:, : config.hidden_size]
        side.position_encodings.encodings = array(table)


def set_self_attention(spec: Any, attention: SelfAttention, around: Residual) -> None:
    set_linears(spec.linear, (attention.inputs, attention.output))
    set_norm(spec.layer_norm, around.norm)


def set_feed_forward(spec: Any, layer: EncoderLayer | DecoderLayer) -> None:
    """The inner map, in two where one part gates the other, and the outer one."""
    module: FeedForward = layer.feed_forward
    gated = module.activation is Activation.swiglu
    inner = [spec.linear_0, spec.linear_0_noact] if gated else [spec.linear_0]
    weights, biases = (array(x).split(len(x) // len(inner)) for x in (module.inner.weight, module.inner.bias))
    for part, weight, bias in zip(inner, weights, biases, strict=True):
        part.weight, part.bias = weight.contiguous(), bias.contiguous()
    set_linears([spec.linear_1], [module.outer])
    set_norm(spec.layer_norm, layer.around_feed.norm)


def set_linears(specs: Sequence[Any], linears: Sequence[nn.Linear]) -> None:
    for spec, linear in zip(specs, linears, strict=True):
        spec.weight, spec.bias = array(linear.weight), array(linear.bias)


def set_last_norm(spec: Any, norm: nn.Module) -> None:
    """The norm after the last layer, where there is one."""
    if isinstance(norm, nn.LayerNorm):
        set_norm(spec.layer_norm, norm)


def set_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = array(norm.weight), array(norm.bias)


def array(weight: Tensor) -> Tensor:
    """A copy of a weight as the specification takes it, which quantizes its arrays in place."""
    return weight.detach().to("cpu", torch.float32, copy=True).contiguous()
