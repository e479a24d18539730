"""What a user can choose about the LSTM model: the keys under ``model``."""

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, cast

from nmt.errors import ConfigError
from nmt.models.attention import ATTENTIONS, AttentionConfig, NoneConfig
from nmt.models.seq2seq import Choices, ModelConfig, Seq2Seq, Tied


class DropoutPlacement(Enum):
    """What dropout is applied to, on both sides."""

    # The input of every LSTM layer, the fed-back vector (or Bahdanau's context) in the first decoder layer's included;
    # never recurrent connections, never what is scored or projected (Zaremba et al. 2015, as in Luong's program:
    # nmt.hybrid, lstmUnitForward.m).
    luong = "luong"
    # Embeddings, the input of every layer above the first, and the attentional vector before the vocabulary
    # projection; the fed-back copy is whole.
    standard = "standard"


class EncoderBlock(Enum):
    """What stands between the encoder's layers and attention."""

    none = "none"
    non_local = "non_local"  # Wang et al. 2018: nmt/models/lstm/non_local.py


@dataclass
class LSTMConfig(ModelConfig):
    """Stacked LSTM encoder-decoder with attention."""

    name: str = "lstm"
    hidden_size: int = field(
        default=512, metadata={"help": "width of the layers (half in each direction of a bidirectional LSTM)"}
    )
    embedding_size: int | None = field(default=None, metadata={"help": "width of word vectors (null: hidden_size)"})
    num_layers: int = field(default=1, metadata={"help": "layers on each side"})
    encoder_layers: int | None = field(default=None, metadata={"help": "layers of the encoder (null: num_layers)"})
    decoder_layers: int | None = field(default=None, metadata={"help": "layers of the decoder (null: num_layers)"})
    bidirectional: bool = field(default=True, metadata={"help": "read the source in both directions"})
    input_feeding: bool | None = field(
        default=None,
        metadata={"help": "feed the attentional vector to the next step (null: yes, but for bahdanau, which cannot)"},
    )
    reverse_source: bool = field(default=False, metadata={"help": "read the source words last to first"})
    source_eos: bool | None = field(
        default=None, metadata={"help": "end the source with end-of-sentence (null: for bahdanau and the Transformer)"}
    )
    residual: bool = field(
        default=False, metadata={"help": "add the input of each layer above the first to its output"}
    )
    tied: Tied = field(
        default=Tied.none, metadata={"help": "none; target: target embedding = projection; all: source embedding too"}
    )
    dropout_placement: DropoutPlacement = field(
        default=DropoutPlacement.standard, metadata={"help": "luong (inputs of LSTM layers) or standard"}
    )
    bias: bool = field(default=True, metadata={"help": "biases in the LSTM layers and the vocabulary projection"})
    init_range: float | None = field(
        default=0.1, metadata={"help": "matrices start uniform in [-x, x], biases at 0 (null: torch's defaults)"}
    )
    encoder_block: EncoderBlock = field(
        default=EncoderBlock.none, metadata={"help": "on top of the encoder: none or non_local"}
    )
    # OmegaConf's MISSING: the group model.attention fills it.
    attention: AttentionConfig = field(default=cast(AttentionConfig, "???"), metadata={"help": "attention mechanism"})

    choices: ClassVar[dict[str, Choices]] = {"attention": Choices(AttentionConfig, tuple(ATTENTIONS), "global")}

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        for key in ("hidden_size", "embedding_size", "num_layers", "encoder_layers", "decoder_layers"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"model.{key} must be at least 1, got {value}")
        if self.bidirectional and self.hidden_size % 2:
            raise ConfigError(
                f"model.hidden_size={self.hidden_size} must be even with model.bidirectional=true: "
                "each direction has half of it"
            )
        if self.init_range is not None and self.init_range <= 0:
            raise ConfigError(f"model.init_range must be positive, got {self.init_range}")
        if self.tied is not Tied.none and self.embedding_width != self.hidden_size:
            raise ConfigError(
                f"model.tied={self.tied.name} needs model.embedding_size equal to model.hidden_size, "
                f"got {self.embedding_size} and {self.hidden_size}"
            )
        if self.encoder_block is not EncoderBlock.none and isinstance(self.attention, NoneConfig):
            raise ConfigError(
                f"model.encoder_block={self.encoder_block.name} changes what attention reads: "
                "it does not apply to model.attention=none"
            )
        if isinstance(self.attention, AttentionConfig) and self.attention.previous_state and self.input_feeding:
            raise ConfigError(
                f"model.input_feeding=true does not apply to model.attention={self.attention.name}: "
                "its context enters the step instead"
            )

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> Seq2Seq:
        from nmt.models.lstm.model import LSTM  # here: the model imports its configuration

        return LSTM(self, source_size, target_size, joint, label_smoothing)

    @property
    def embedding_width(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def feeds(self) -> bool:
        """Whether the attentional vector of a step enters the next one (Luong et al. 2015, section 3.3)."""
        return not self.attention.previous_state and self.input_feeding is not False

    @property
    def appends_eos(self) -> bool:
        return self.attention.previous_state if self.source_eos is None else self.source_eos
