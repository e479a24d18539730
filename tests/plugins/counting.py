"""A plug-in for the tests: a corpus of numbers that are counted backwards, and a model with another table of words."""

from dataclasses import dataclass

import torch
from torch import nn

from nmt.data.corpus import DATASETS, Corpus, DataConfig, ParallelText
from nmt.models import MODELS
from nmt.models.lstm.config import LSTMConfig
from nmt.models.lstm.model import LSTM
from nmt.settings import setting


@dataclass
class CountingConfig(DataConfig):
    """digits, and the same digits backwards"""

    name: str = "counting"
    pairs_made: int = setting(50, "pairs to train on", least=1)


class Counting(Corpus):
    """Pair n is the digits of n + 100, and the same backwards."""

    def made(self, first, count):
        digits = [str(n) for n in range(first, first + count)]
        return [" ".join(d) for d in digits], [" ".join(reversed(d)) for d in digits]

    def pairs(self, seed):
        return iter(zip(*self.made(100, self.config.pairs_made), strict=True))

    def validation(self):
        return ParallelText("validation", *self.made(4000, 3))

    def test_names(self):
        return ["backwards"]

    def test(self, name):
        return ParallelText(name, *self.made(5000, 4))

    def fingerprint(self, seed):
        return {"pairs": self.config.pairs_made}

    def locate(self, number, side):
        return f"number {number + 100}"


@dataclass
class GainConfig(LSTMConfig):
    """an LSTM whose source word vectors are multiplied by a number that is learnt"""

    name: str = "gain"

    def build(self, source_size, target_size, joint, label_smoothing=0.0):
        return Gain(self, source_size, target_size, joint, label_smoothing)


class Gained(nn.Embedding):
    """exp(g) x for each word vector x."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, input):
        return self.gain.exp() * super().forward(input)


class Gain(LSTM):
    """The LSTM with another table of source words."""

    def __init__(self, config, source_size, *rest):
        super().__init__(config, source_size, *rest)
        table = self.source_embedding
        self.source_embedding = Gained(*table.weight.shape, padding_idx=table.padding_idx)


DATASETS[CountingConfig] = Counting
MODELS[GainConfig] = Gain
