"""What a user can choose about the Transformer: the keys under ``model`` and ``model.self_attention``."""

from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import ClassVar, cast

from nmt.errors import ConfigError
from nmt.models.attention import AttentionConfig
from nmt.models.attention.config import SourceAttentionConfig
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.seq2seq import Choices, ModelConfig, Seq2Seq, Tied
from nmt.models.transformer.cross_config import CrossAttentions, MultiHeadConfig, why_not
from nmt.settings import check_ranges, setting


class Positions(Enum):
    """How a token's place enters; nmt/models/transformer/positions.py has the formulas."""

    sinusoidal = "sinusoidal"  # Vaswani et al. 2017, section 3.5
    learned = "learned"  # one vector a position (Gehring et al. 2017, section 3.1)
    rotary = "rotary"  # queries and keys of self-attention are turned (Su et al. 2021, section 3.2)


class Norm(Enum):
    """Where layer normalization stands (Xiong et al. 2020, figure 1)."""

    before = "before"  # x + f(norm(x)), and one more norm after the last layer
    after = "after"  # norm(x + f(x)), as in Vaswani et al. 2017


class Activation(Enum):
    """Between the two maps of a feed-forward sublayer; nmt/models/transformer/layers.py has the formulas."""

    relu = "relu"  # Vaswani et al. 2017, eq. 2
    gelu = "gelu"  # Hendrycks and Gimpel 2016
    swiglu = "swiglu"  # Shazeer 2020, eq. 6
    relu2 = "relu2"  # So et al. 2021


class Sinks(Enum):
    """Which heads have a learned sink; nmt/models/transformer/head_weights.py has the formula."""

    none = "none"
    self_attention = "self_attention"
    cross_attention = "cross_attention"
    all = "all"

    @property
    def in_self_attention(self) -> bool:
        return self in (Sinks.self_attention, Sinks.all)

    @property
    def in_cross_attention(self) -> bool:
        return self in (Sinks.cross_attention, Sinks.all)


@dataclass
class SelfAttentionConfig:
    """Fields common to all kinds of self-attention."""

    name: str = "?"

    def __post_init__(self) -> None:
        check_ranges(self, "model.self_attention")

    @property
    def reach(self) -> int | None:
        """How many positions away a position sees; None: all of them."""
        return None


@dataclass
class GlobalSelfAttentionConfig(SelfAttentionConfig):
    """every position sees every other; in the decoder, all before it   (Vaswani et al. 2017)"""

    name: str = "global"


@dataclass
class LayeredSelfAttentionConfig(SelfAttentionConfig):
    """Fields common to the kinds that some layers may have and others not."""

    layers: list[int] = setting([], "layers that have it, from 1, as [1,3]; the others are global; []: all", least=1)


@dataclass
class LocalSelfAttentionConfig(LayeredSelfAttentionConfig):
    """every position sees W neighbours on either side; in the decoder, the W before it"""

    name: str = "local"
    half_width: int = setting(16, "W: a position sees itself and W neighbours on a side", least=1, most=1_000_000)

    @property
    def reach(self) -> int | None:
        return self.half_width


@dataclass
class LocalnessSelfAttentionConfig(LayeredSelfAttentionConfig):
    """every position; to the scores is added a Gaussian around a centre that the query predicts   (Yang et al. 2018)"""

    name: str = "localness"


@dataclass
class HardCodedSelfAttentionConfig(LayeredSelfAttentionConfig):
    """fixed Gaussians around the neighbours, without queries and keys   (You et al. 2020)"""

    name: str = "hard_coded"
    encoder_centres: list[int] = setting([-1, 1], "centres of the encoder's heads, 0 a position itself; in turn")
    decoder_centres: list[int] = setting([-1, 0], "the same of the decoder's, which see no later word", most=0)
    sigma: float = setting(1.0, "deviation of the Gaussians", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("encoder_centres", "decoder_centres"):
            if not getattr(self, key):
                raise ConfigError(f"model.self_attention.{key}=[] leaves no head: type [-1,1] or the like")

    @property
    def reach(self) -> int:
        """Beyond it a weight is below 1e-17 of the greatest, less than float64 can add to it."""
        return max(map(abs, self.encoder_centres + self.decoder_centres)) + ceil(9 * self.sigma)


# The one table: the command line and --help read it.
SELF_ATTENTIONS: tuple[type[SelfAttentionConfig], ...] = (
    GlobalSelfAttentionConfig,
    LocalSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    HardCodedSelfAttentionConfig,
)


@dataclass
class TransformerConfig(ModelConfig):
    """Transformer encoder-decoder   (Vaswani et al. 2017)"""

    name: str = "transformer"
    dropout: float = setting(0.1, "dropout of embeddings and of every sublayer's output", least=0, below=1)
    attention_dropout: float = setting(
        0.0, "dropout of attention weights, but for those of a cross_attention other than multi_head", least=0, below=1
    )
    cross_attention_normalizer: str = setting(
        "softmax", "how scores of source positions become weights (multi_head)", choices=lambda: tuple(NORMALIZERS)
    )
    encoder_normalizer: str = setting(
        "softmax", "how scores become weights in the encoder's self-attention", choices=lambda: tuple(NORMALIZERS)
    )
    decoder_normalizer: str = setting(
        "softmax", "how scores become weights in the decoder's self-attention", choices=lambda: tuple(NORMALIZERS)
    )
    sinks: Sinks = setting(
        Sinks.none, "heads that may look nowhere, by a learned sink: none, self_attention, cross_attention or all"
    )
    activation_dropout: float = setting(0.0, "dropout inside feed-forward sublayers", least=0, below=1)
    hidden_size: int = setting(512, "width of the layers", least=1, most=65_536)
    ffn_size: int = setting(2048, "inner width of the feed-forward sublayers", least=1, most=1_048_576)
    heads: int = setting(8, "attention heads of a layer", least=1, most=1024)
    num_layers: int = setting(6, "layers on each side", least=1, most=1000)
    encoder_layers: int | None = setting(None, "layers of the encoder (null: num_layers)", least=1, most=1000)
    decoder_layers: int | None = setting(None, "layers of the decoder (null: num_layers)", least=1, most=1000)
    positions: Positions = setting(Positions.sinusoidal, "sinusoidal, learned or rotary (in self-attention)")
    max_positions: int = setting(1024, "longest sequence that positions=learned has rows for", least=1, most=10_000_000)
    norm: Norm = setting(Norm.before, "layer norm before each sublayer or after it")
    activation: Activation = setting(Activation.relu, "relu, gelu, swiglu (a third map of ffn_size) or relu2")
    qk_norm: bool = setting(
        False, "layer norm of each head's queries and keys, before they are compared (self-attention and multi_head)"
    )
    zero_outputs: bool = setting(False, "the last map of every sublayer starts at 0, so that each layer does nothing")
    word_dropout: float = setting(
        0.0, "share of the words on both sides whose vector is 0 in training", least=0, below=1
    )
    source_eos: bool | None = setting(None, "end the source with end-of-sentence (null: yes)")
    tied: Tied = setting(Tied.target, "none; target: target embedding = projection; all: source embedding too")
    # OmegaConf's MISSING: the group model.self_attention fills it.
    self_attention: SelfAttentionConfig = setting(cast(SelfAttentionConfig, "???"), "self-attention")
    # The group model.cross_attention fills it, too; whoever makes a TransformerConfig in Python may leave it out.
    cross_attention: SourceAttentionConfig = setting(cast(SourceAttentionConfig, "???"), "attention to the source")

    choices: ClassVar[dict[str, Choices]] = {
        "self_attention": Choices(SelfAttentionConfig, SELF_ATTENTIONS, "global"),
        "cross_attention": Choices(
            SourceAttentionConfig, CrossAttentions(), "multi_head", said_as="model.attention", why_not=why_not
        ),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.cross_attention, SourceAttentionConfig):
            self.cross_attention = MultiHeadConfig()
        if self.hidden_size % self.heads:
            raise ConfigError(f"model.hidden_size={self.hidden_size} must be a multiple of model.heads={self.heads}")
        if self.positions is Positions.rotary and self.head_size % 2:
            raise ConfigError(
                "model.positions=rotary turns pairs of features: model.hidden_size / model.heads must be even, "
                f"got {self.hidden_size} / {self.heads}"
            )
        if isinstance(self.self_attention, LayeredSelfAttentionConfig):
            self.check_layers(self.self_attention.layers)
        if isinstance(self.cross_attention, AttentionConfig):
            self.check_cross_attention(self.cross_attention)

    def check_layers(self, layers: list[int]) -> None:
        """Raise ConfigError for a layer that neither side has."""
        most = max(self.encoder_layers or self.num_layers, self.decoder_layers or self.num_layers)
        if layers and max(layers) > most:
            raise ConfigError(f"model.self_attention.layers names layer {max(layers)}, and the model has {most} a side")

    def check_cross_attention(self, kind: AttentionConfig) -> None:
        """Raise ConfigError for a mechanism that cannot serve, and for keys that multi_head alone has a use for."""
        reason = why_not(kind.name)
        if reason is not None:
            raise ConfigError(reason)
        if self.hidden_size % kind.heads:
            raise ConfigError(
                f"model.cross_attention.heads={kind.heads} must divide model.hidden_size={self.hidden_size}: "
                "each head has an equal part of it"
            )
        if self.cross_attention_normalizer != "softmax":
            raise ConfigError(
                f"model.cross_attention_normalizer={self.cross_attention_normalizer} belongs to "
                "model.cross_attention=multi_head; where another one has a normalizer, it is "
                "model.cross_attention.normalizer"
            )
        if self.sinks.in_cross_attention:
            raise ConfigError(
                f"model.sinks={self.sinks.name} gives sinks to the heads of model.cross_attention=multi_head, "
                f"and model.cross_attention={kind.name} has none of them; model.sinks=self_attention can be combined"
            )

    def self_attention_of(self, layer: int) -> SelfAttentionConfig:
        """The self-attention of a layer, from 1, of either side."""
        kind = self.self_attention
        if isinstance(kind, LayeredSelfAttentionConfig) and kind.layers and layer not in kind.layers:
            return GlobalSelfAttentionConfig()
        return kind

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> Seq2Seq:
        from nmt.models.transformer.model import Transformer  # here: the model imports its configuration

        return Transformer(self, source_size, target_size, joint, label_smoothing)

    def reaches(self, layers: int | None) -> list[int | None]:
        """``reach`` of each of a side's layers; None: ``num_layers`` of them."""
        return [self.self_attention_of(layer).reach for layer in range(1, (layers or self.num_layers) + 1)]

    def beyond_softmax(self) -> list[str]:
        """What is typed of attention beyond one softmax over all positions, or over one window in every layer."""
        kind, found = self.self_attention, []
        if isinstance(kind, LocalSelfAttentionConfig) and kind.layers:
            found.append(f"model.self_attention.layers=[{','.join(map(str, kind.layers))}]")
        elif not isinstance(kind, LocalSelfAttentionConfig | GlobalSelfAttentionConfig):
            found.append(f"model.self_attention={kind.name}")
        for key in ("encoder_normalizer", "decoder_normalizer"):
            if getattr(self, key) != "softmax":
                found.append(f"model.{key}={getattr(self, key)}")
        if self.sinks is not Sinks.none:
            found.append(f"model.sinks={self.sinks.name}")
        if not isinstance(self.cross_attention, MultiHeadConfig):
            found.append(f"model.cross_attention={self.cross_attention.name}")
        return found

    @property
    def attention_heads(self) -> tuple[int, int]:
        kind = self.cross_attention
        heads = kind.heads if isinstance(kind, AttentionConfig) else self.heads
        return self.decoder_layers or self.num_layers, heads

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def appends_eos(self) -> bool:
        return self.source_eos is not False
