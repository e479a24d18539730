"""Models behind one protocol, and the table of them."""

from nmt.errors import ConfigError
from nmt.models.attention import AttentionConfig
from nmt.models.lstm import LSTM
from nmt.models.lstm_config import LSTMConfig
from nmt.models.seq2seq import ModelConfig, Seq2Seq

__all__ = ["MODELS", "LSTMConfig", "build_model"]

# The one table: the command line, --help and build_model all read it.
MODELS: dict[type[ModelConfig], type[Seq2Seq]] = {LSTMConfig: LSTM}


def build_model(
    config: ModelConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
) -> Seq2Seq:
    """The model a config asks for; sizes of the vocabularies, and whether they are one."""
    if not isinstance(getattr(config, "attention", None), AttentionConfig | None):
        raise ConfigError("model.attention is missing: choose one, as in model.attention=global")
    model = MODELS[type(config)]
    return model(config, source_size, target_size, joint, label_smoothing)  # pyright: ignore[reportCallIssue]
