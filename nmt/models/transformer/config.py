"""What a user can choose about the Transformer: the keys under ``model`` and ``model.self_attention``."""

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, cast

from nmt.errors import ConfigError
from nmt.models.seq2seq import Choices, ModelConfig, Seq2Seq, Tied


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


@dataclass
class SelfAttentionConfig:
    """Fields common to all kinds of self-attention."""

    name: str = "?"

    @property
    def reach(self) -> int | None:
        """How many positions away a position sees; None: all of them."""
        return None


@dataclass
class GlobalSelfAttentionConfig(SelfAttentionConfig):
    """every position sees every other; in the decoder, all before it   (Vaswani et al. 2017)"""

    name: str = "global"


@dataclass
class LocalSelfAttentionConfig(SelfAttentionConfig):
    """every position sees W neighbours on either side; in the decoder, the W before it"""

    name: str = "local"
    half_width: int = field(default=16, metadata={"help": "W: a position sees itself and W neighbours on a side"})

    def __post_init__(self) -> None:
        if self.half_width < 1:
            raise ConfigError(f"model.self_attention.half_width must be at least 1, got {self.half_width}")

    @property
    def reach(self) -> int | None:
        return self.half_width


# The one table: the command line and --help read it.
SELF_ATTENTIONS: tuple[type[SelfAttentionConfig], ...] = (GlobalSelfAttentionConfig, LocalSelfAttentionConfig)


@dataclass
class TransformerConfig(ModelConfig):
    """Transformer encoder-decoder   (Vaswani et al. 2017)"""

    name: str = "transformer"
    dropout: float = field(default=0.1, metadata={"help": "dropout of embeddings and of every sublayer's output"})
    attention_dropout: float = field(default=0.0, metadata={"help": "dropout of attention weights"})
    activation_dropout: float = field(default=0.0, metadata={"help": "dropout inside feed-forward sublayers"})
    hidden_size: int = field(default=512, metadata={"help": "width of the layers"})
    ffn_size: int = field(default=2048, metadata={"help": "inner width of the feed-forward sublayers"})
    heads: int = field(default=8, metadata={"help": "attention heads of a layer"})
    num_layers: int = field(default=6, metadata={"help": "layers on each side"})
    encoder_layers: int | None = field(default=None, metadata={"help": "layers of the encoder (null: num_layers)"})
    decoder_layers: int | None = field(default=None, metadata={"help": "layers of the decoder (null: num_layers)"})
    positions: Positions = field(
        default=Positions.sinusoidal, metadata={"help": "sinusoidal, learned or rotary (in self-attention)"}
    )
    max_positions: int = field(default=1024, metadata={"help": "longest sequence that positions=learned has rows for"})
    norm: Norm = field(default=Norm.before, metadata={"help": "layer norm before each sublayer or after it"})
    activation: Activation = field(
        default=Activation.relu, metadata={"help": "relu, gelu or swiglu (a third map of ffn_size)"}
    )
    source_eos: bool | None = field(default=None, metadata={"help": "end the source with end-of-sentence (null: yes)"})
    tied: Tied = field(
        default=Tied.target, metadata={"help": "none; target: target embedding = projection; all: source embedding too"}
    )
    # OmegaConf's MISSING: the group model.self_attention fills it.
    self_attention: SelfAttentionConfig = field(
        default=cast(SelfAttentionConfig, "???"), metadata={"help": "self-attention"}
    )

    choices: ClassVar[dict[str, Choices]] = {"self_attention": Choices(SelfAttentionConfig, SELF_ATTENTIONS, "global")}

    def __post_init__(self) -> None:
        for key in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"model.{key} must be at least 0 and below 1, got {getattr(self, key)}")
        sizes = ("hidden_size", "ffn_size", "heads", "num_layers", "encoder_layers", "decoder_layers", "max_positions")
        for key in sizes:
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"model.{key} must be at least 1, got {value}")
        if self.hidden_size % self.heads:
            raise ConfigError(f"model.hidden_size={self.hidden_size} must be a multiple of model.heads={self.heads}")
        if self.positions is Positions.rotary and self.head_size % 2:
            raise ConfigError(
                "model.positions=rotary turns pairs of features: model.hidden_size / model.heads must be even, "
                f"got {self.hidden_size} / {self.heads}"
            )

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> Seq2Seq:
        from nmt.models.transformer.model import Transformer  # here: the model imports its configuration

        return Transformer(self, source_size, target_size, joint, label_smoothing)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def appends_eos(self) -> bool:
        return self.source_eos is not False
