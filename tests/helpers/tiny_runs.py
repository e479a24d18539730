"""Run directories with tiny untrained models, whose weights are large enough for their answers to differ."""

from pathlib import Path
from typing import Any

import torch

from nmt.batch import EOS, UNK
from nmt.config import Config
from nmt.data.corpus import PhrasesConfig
from nmt.data.tokenizer import TokenizerKind, train_tokenizers
from nmt.device import Precision
from nmt.models import LSTMConfig, TransformerConfig
from nmt.models.attention import GlobalConfig, LocalPConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.runs import checkpoint
from nmt.runs.directory import TOKENIZER, Run, save_config

ENGLISH = ["one two three four five six seven eight nine ten", "a small dog , a big cat ."]
GERMAN = ["eins zwei drei vier fünf sechs sieben acht neun zehn", "ein kleiner Hund , eine große Katze ."]

LSTMS: dict[str, Any] = {"hidden_size": 8, "init_range": 0.9}
MODELS = {
    "local_p": LSTMConfig(attention=LocalPConfig(hidden_size=4, half_width=2), **LSTMS),
    "bahdanau-like": LSTMConfig(attention=GlobalConfig(), source_eos=True, **LSTMS),
    "transformer": TransformerConfig(
        hidden_size=8, heads=2, ffn_size=12, num_layers=2, self_attention=GlobalSelfAttentionConfig()
    ),
}


def make_run(
    directory: Path, model: Any, kind: TokenizerKind = TokenizerKind.word, seed: int = 0, likely: tuple[int, ...] = ()
) -> Path:
    """A run with checkpoints/best.pt of step 7; tokens that are ``likely`` get a large bias."""
    config = Config(model=model, data=PhrasesConfig())
    config.data.tokenizer.kind, config.data.tokenizer.vocab_size = kind, 320 if kind is TokenizerKind.bpe else 40
    config.decode.precision, config.decode.max_length = Precision.fp32, 8
    save_config(directory, config)
    train_tokenizers(config.data.tokenizer, ENGLISH, GERMAN, seed=1).save(directory / TOKENIZER)
    save_weights(directory, checkpoint.BEST, seed, likely)
    return directory


def save_weights(directory: Path, file: str, seed: int, likely: tuple[int, ...] = (), **more: Any) -> None:
    """A checkpoint of random weights."""
    torch.manual_seed(seed)
    built = Run.open(directory).build()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(2.0)
        for token in likely:
            built.get_parameter("projection.bias")[token] += 20.0 if token == UNK else 2.0
        if likely:
            built.get_parameter("projection.bias")[EOS] -= 5.0
    checkpoint.save(directory / file, {"model": built.state_dict(), "step": 7, **more})
