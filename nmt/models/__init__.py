"""Models behind one protocol (seq2seq.py), and the table of them."""

from nmt.errors import ConfigError
from nmt.models.lstm.config import LSTMConfig
from nmt.models.lstm.model import LSTM
from nmt.models.seq2seq import ModelConfig, Seq2Seq
from nmt.models.transformer.config import TransformerConfig
from nmt.models.transformer.model import Transformer

__all__ = ["MODELS", "LSTMConfig", "TransformerConfig", "build_model"]

# The one table: the command line, --help and the tests of the protocol read it.
MODELS: dict[type[ModelConfig], type[Seq2Seq]] = {LSTMConfig: LSTM, TransformerConfig: Transformer}


def build_model(
    config: ModelConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
) -> Seq2Seq:
    """The model that ``config`` describes (``ModelConfig.build``); raises ConfigError where a choice was not made."""
    for key in config.choices:
        if isinstance(getattr(config, key), str):  # OmegaConf's MISSING
            raise ConfigError(f"model.{key} is missing: choose one, as in model.{key}=global")
    return config.build(source_size, target_size, joint, label_smoothing)
