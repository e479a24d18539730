"""What a user can choose about the LSTM model: the keys under ``model``."""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, cast

from nmt.errors import ConfigError
from nmt.models.attention import ATTENTIONS, AttentionConfig, FixedMemoryConfig, HardConfig, NoneConfig
from nmt.models.seq2seq import Choices, ModelConfig, Seq2Seq, Tied
from nmt.settings import setting


class DropoutPlacement(Enum):
    """What dropout is applied to, on both sides."""

    # The input of every LSTM layer, the fed-back vector (or Bahdanau's context) in the first decoder layer's included;
    # never recurrent connections, never what is scored or projected (Zaremba et al. 2015, as in Luong's program:
    # nmt.hybrid, lstmUnitForward.m).
    luong = "luong"
    # Embeddings, the input of every layer above the first, and the attentional vector before the vocabulary
    # projection; the fed-back copy is whole.
    standard = "standard"


class DropoutMask(Enum):
    """For how many words of a sentence one mask of dropout is drawn."""

    word = "word"  # each word has its own
    # One for all words of a sentence, at each place where dropout stands (Gal and Ghahramani 2016, section 4).  They
    # drop recurrent connections, too; here those stay whole.
    sentence = "sentence"


class Mixture(Enum):
    """What the decoder mixes by the attention weights."""

    contexts = "contexts"  # soft attention: p(y_t | sum_s a_s h_s)
    predictions = "predictions"  # latent alignment: sum_s a_s p(y_t | h_s), nmt/models/lstm/latent_alignment.py
    # What each source word alone predicts: sum_s a_s p(y_t | x_s), nmt/models/lstm/lexical_alignment.py.
    lexical = "lexical"


# What is wrong with a setting, said before and after there is a model.
NO_SECOND_PASS = (
    "trainer.r_drop and trainer.cutoff do not apply to model.mixture=lexical, whose loss is the likelihood of each word"
)


class EncoderKind(Enum):
    """What the encoder's layers are."""

    lstm = "lstm"
    lstmn = "lstmn"  # Cheng et al. 2016: nmt/models/lstm/lstmn.py


class Fusion(Enum):
    """Where the source enters the decoder, beside attention."""

    none = "none"
    deep = "deep"  # Cheng et al. 2016: nmt/models/lstm/deep_fusion.py


class EncoderBlock(Enum):
    """What stands between the encoder's layers and attention."""

    none = "none"
    non_local = "non_local"  # Wang et al. 2018: nmt/models/lstm/non_local.py


@dataclass
class LSTMConfig(ModelConfig):
    """Stacked LSTM encoder-decoder with attention."""

    name: str = "lstm"
    hidden_size: int = setting(
        512, "width of the layers (half in each direction of a bidirectional LSTM)", least=1, most=65_536
    )
    embedding_size: int | None = setting(None, "width of word vectors (null: hidden_size)", least=1, most=65_536)
    num_layers: int = setting(1, "layers on each side", least=1, most=1000)
    encoder_layers: int | None = setting(None, "layers of the encoder (null: num_layers)", least=1, most=1000)
    decoder_layers: int | None = setting(None, "layers of the decoder (null: num_layers)", least=1, most=1000)
    bidirectional: bool = setting(True, "read the source in both directions")
    input_feeding: bool | None = setting(
        None, "feed the attentional vector to the next step (null: yes, but where attention comes before the step)"
    )
    reverse_source: bool = setting(False, "read the source words last to first")
    source_eos: bool | None = setting(
        None,
        "end the source with end-of-sentence (null: where attention comes before the step, and for the Transformer)",
    )
    residual: bool = setting(False, "add the input of each layer above the first to its output")
    tied: Tied = setting(Tied.none, "none; target: target embedding = projection; all: source embedding too")
    dropout_placement: DropoutPlacement = setting(
        DropoutPlacement.standard, "luong (inputs of LSTM layers) or standard"
    )
    dropout_mask: DropoutMask = setting(
        DropoutMask.word, "word, or sentence: all words of a sentence lose the same features (Gal and Ghahramani 2016)"
    )
    word_dropout: float = setting(
        0.0, "share of the words on both sides whose vector is 0 in training", least=0, below=1
    )
    bias: bool = setting(True, "biases in the LSTM layers and the vocabulary projection")
    init_range: float | None = setting(
        0.1, "matrices start uniform in [-x, x], biases at 0 (null: torch's defaults)", above=0
    )
    encoder: EncoderKind = setting(
        EncoderKind.lstm, "lstm, or lstmn: each word looks at all words read before it (Cheng et al. 2016; slow)"
    )
    fusion: Fusion = setting(
        Fusion.none, "deep: what the source remembers enters the decoder's cell (Cheng et al. 2016; encoder=lstmn)"
    )
    encoder_block: EncoderBlock = setting(EncoderBlock.none, "on top of the encoder: none or non_local")
    intra_attention: bool = setting(False, "the decoder also attends to its own earlier states (Paulus et al. 2018)")
    mixture: Mixture = setting(
        Mixture.contexts,
        "what attention weights mix: contexts, predictions (latent alignment; slower), or lexical (what each source "
        "word alone predicts: a word aligner)",
    )
    mixture_top_k: int | None = setting(
        None,
        "with mixture=predictions: of the k likeliest positions alone (null: of all that attention sees)",
        least=1,
        most=1_000_000,
    )
    mixture_diagonal: float | None = setting(
        None,
        "with mixture=lexical: weight in the loss of the same table mixed by closeness to the diagonal (null: 1)",
        least=0,
    )
    mixture_tension: float | None = setting(
        None,
        "with mixture=lexical: how close, exp(-x times the distance); 0: all alike, IBM Model 1 (null: 4)",
        least=0,
    )
    # OmegaConf's MISSING: the group model.attention fills it.
    attention: AttentionConfig = setting(cast(AttentionConfig, "???"), "attention mechanism")

    choices: ClassVar[dict[str, Choices]] = {"attention": Choices(AttentionConfig, ATTENTIONS, "global")}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bidirectional and self.hidden_size % 2:
            raise ConfigError(
                f"model.hidden_size={self.hidden_size} must be even with model.bidirectional=true: "
                "each direction has half of it"
            )
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
        if self.intra_attention and isinstance(self.attention, NoneConfig):
            raise ConfigError(
                "model.intra_attention=true adds to what attention reads: it does not apply to model.attention=none"
            )
        if self.fusion is Fusion.deep and self.encoder is not EncoderKind.lstmn:
            raise ConfigError(
                "model.fusion=deep reads what an encoder remembers of every word: it needs model.encoder=lstmn"
            )
        self.check_heads()
        self.check_mixture()

    def check_heads(self) -> None:
        """Raise ConfigError where attention's heads cannot share the width."""
        if isinstance(self.attention, AttentionConfig) and self.hidden_size % self.attention.heads:
            raise ConfigError(
                f"model.attention.heads={self.attention.heads} must divide model.hidden_size={self.hidden_size}: "
                "each head has an equal part of it"
            )

    def check_mixture(self) -> None:
        """Raise ConfigError where there are no predictions to be mixed."""
        if self.mixture is not Mixture.predictions and self.mixture_top_k is not None:
            raise ConfigError(
                f"model.mixture_top_k belongs to model.mixture=predictions, not to mixture={self.mixture.name}"
            )
        for key in ("mixture_diagonal", "mixture_tension"):
            if self.mixture is not Mixture.lexical and getattr(self, key) is not None:
                raise ConfigError(f"model.{key} belongs to model.mixture=lexical, not to mixture={self.mixture.name}")
        if self.mixture is Mixture.contexts:
            return
        mixture = f"model.mixture={self.mixture.name}"
        if isinstance(self.attention, NoneConfig | HardConfig):
            seen = "none" if isinstance(self.attention, NoneConfig) else "one at a time"
            raise ConfigError(
                f"{mixture} mixes what several source positions predict, and "
                f"model.attention={self.attention.name} reads {seen}; choose another model.attention"
            )
        if self.intra_attention:
            raise ConfigError(f"model.intra_attention=true does not apply to {mixture}")
        if self.dropout_mask is not DropoutMask.word:
            raise ConfigError(
                f"model.dropout_mask=sentence does not apply to {mixture}, whose dropout is drawn for each prediction"
            )
        if isinstance(self.attention, FixedMemoryConfig):
            raise ConfigError(
                f"{mixture} mixes what source positions predict, and model.attention=fixed_memory reads "
                "vectors that each are made of all positions; choose another model.attention"
            )
        if isinstance(self.attention, AttentionConfig) and self.attention.heads > 1:
            raise ConfigError(
                f"{mixture} mixes what single source positions predict, and several heads read as many "
                "at a time: set model.attention.heads=1"
            )
        if self.mixture is Mixture.lexical and self.embedding_width != self.hidden_size:
            raise ConfigError(
                "model.mixture=lexical predicts from word vectors in the place of the encoder's states, as wide: set "
                f"model.embedding_size={self.hidden_size}, as model.hidden_size, not {self.embedding_size}"
            )

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> Seq2Seq:
        from nmt.models.lstm.model import LSTM  # here: the model imports its configuration

        return LSTM(self, source_size, target_size, joint, label_smoothing)

    @property
    def embedding_width(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def attention_heads(self) -> tuple[int, int] | None:
        return None if isinstance(self.attention, NoneConfig) else (1, self.attention.heads)

    @property
    def uses_input_feeding(self) -> bool:
        """Whether the attentional vector of a step enters the next one (Luong et al. 2015, section 3.3)."""
        return not self.attention.previous_state and self.input_feeding is not False

    @property
    def dropout_axis(self) -> int | None:
        """``shared`` of the dropout of words (T, B, F): the axis of T, or None where each word has its own mask."""
        return 0 if self.dropout_mask is DropoutMask.sentence else None

    @property
    def appends_eos(self) -> bool:
        return self.attention.previous_state if self.source_eos is None else self.source_eos
