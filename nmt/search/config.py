"""The keys decode.*: how a model's distribution becomes sentences."""

import math
from dataclasses import dataclass, field
from enum import Enum

from nmt.device import Precision
from nmt.errors import ConfigError


class Method(Enum):
    """Where hypotheses come from."""

    beam = "beam"  # the best found by beam search; greedy with beam_size=1
    sample = "sample"  # independent draws from the model


class LengthPenalty(Enum):
    """How a sum of log-probabilities becomes a score; formulas in nmt/search/penalty.py."""

    none = "none"
    average = "average"
    gnmt = "gnmt"
    reward = "reward"


class Stopping(Enum):
    """When beam search leaves a sentence before the length limit."""

    full = "full"  # when beam_size hypotheses have ended, or when `safe` would
    safe = "safe"  # when no live hypothesis can still enter the n best: the same result as searching to the limit


NO_MBR = "none"  # decode.mbr: no reranking


class Average(Enum):
    """How an ensemble of M models combines p_1 ... p_M over the next token."""

    probabilities = "probabilities"  # p = 1/M sum_m p_m
    log_probabilities = "log_probabilities"  # log p = 1/M sum_m log p_m - log Z


@dataclass
class DecodeConfig:
    """Lengths count target tokens without end-of-sentence; S is the number of source tokens."""

    method: Method = field(default=Method.beam, metadata={"help": "beam or sample"})
    beam_size: int = field(default=5, metadata={"help": "hypotheses kept a step; 1 is greedy"})
    n_best: int = field(default=1, metadata={"help": "hypotheses returned a sentence, best first"})
    groups: int = field(default=1, metadata={"help": "diverse beam search: the beam is split into so many groups"})
    diversity: float = field(
        default=0.5, metadata={"help": "diverse beam search: cost of a token for each earlier group that chose it"}
    )
    stopping: Stopping = field(
        default=Stopping.full, metadata={"help": "full: when beam_size have ended; safe: when none can improve"}
    )
    length_penalty: LengthPenalty = field(
        default=LengthPenalty.average, metadata={"help": "none, average, gnmt or reward"}
    )
    length_alpha: float = field(default=1.0, metadata={"help": "alpha of gnmt and reward"})
    coverage: float = field(default=0.0, metadata={"help": "beta of the GNMT coverage penalty"})
    min_length: int = field(default=0, metadata={"help": "fewest target tokens"})
    min_ratio: float = field(default=0.0, metadata={"help": "fewest target tokens as a multiple of S"})
    max_length: int = field(default=256, metadata={"help": "most target tokens"})
    max_ratio: float | None = field(
        default=2.0, metadata={"help": "most target tokens: max_ratio * S + max_extra; null: max_length alone"}
    )
    max_extra: int = field(default=20, metadata={"help": "see max_ratio"})
    no_repeat_ngram: int = field(
        default=0, metadata={"help": "no n-gram of this order twice in a hypothesis; 0 allows all"}
    )
    allow_unk: bool = field(default=False, metadata={"help": "let <unk> be produced; for word-level vocabularies"})
    samples: int = field(default=1, metadata={"help": "method=sample: draws a sentence"})
    temperature: float = field(default=1.0, metadata={"help": "method=sample: logits are divided by it"})
    top_k: int | None = field(default=None, metadata={"help": "method=sample: draw from the k most probable tokens"})
    top_p: float = field(
        default=1.0, metadata={"help": "method=sample: draw from the fewest tokens that hold this probability"}
    )
    epsilon: float = field(default=0.0, metadata={"help": "method=sample: draw from tokens at least this probable"})
    seed: int = field(default=1, metadata={"help": "method=sample: seeds each sentence together with its number"})
    # The names of metrics are known above this package only; whoever builds a whole configuration checks them.
    mbr: str = field(
        default=NO_MBR,
        metadata={"help": "minimum Bayes risk over the draws or the beam, by a metric of one sentence:"},
    )
    ensemble: Average = field(
        default=Average.probabilities,
        metadata={"help": "several runs at once: the mean of probabilities or log_probabilities"},
    )
    batch_size: int = field(default=64, metadata={"help": "sentences searched at once"})
    precision: Precision = field(default=Precision.auto, metadata={"help": "fp32, bf16 or auto"})

    def __post_init__(self) -> None:
        for key, least in LEAST.items():
            value = getattr(self, key)
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= least):
                raise ConfigError(f"decode.{key} must be at least {least}, got {value}")
        for key, value in {"temperature": self.temperature, "top_p": self.top_p}.items():
            if value <= 0:
                raise ConfigError(f"decode.{key} must be above 0, got {value}")
        for key, value in {"top_p": self.top_p, "epsilon": self.epsilon}.items():
            if value > 1:
                raise ConfigError(f"decode.{key} is a probability, got {value}")
        if not math.isfinite(self.length_alpha):
            raise ConfigError(f"decode.length_alpha must be finite, got {self.length_alpha}")
        if self.min_length > self.max_length:
            raise ConfigError(f"decode.min_length={self.min_length} is above decode.max_length={self.max_length}")
        if self.beam_size % self.groups:
            raise ConfigError(f"decode.beam_size={self.beam_size} is no multiple of decode.groups={self.groups}")
        if self.n_best > self.candidates:
            source = "beam_size" if self.method is Method.beam else "samples"
            raise ConfigError(f"decode.n_best={self.n_best} is above decode.{source}={self.candidates}")

    @property
    def reranks(self) -> bool:
        """Whether minimum Bayes risk chooses among the candidates."""
        return self.mbr != NO_MBR

    @property
    def candidates(self) -> int:
        """Hypotheses a sentence that there are to choose from."""
        return self.beam_size if self.method is Method.beam else self.samples

    def lengths(self, source: int) -> tuple[int, int]:
        """Fewest and most target tokens for S = ``source``; the maximum wins over the relative minimum."""
        most = self.max_length
        if self.max_ratio is not None:
            most = min(most, math.floor(self.max_ratio * source) + self.max_extra)
        most = max(most, self.min_length)
        return min(max(self.min_length, math.ceil(self.min_ratio * source)), most), most


LEAST = {
    "beam_size": 1,
    "n_best": 1,
    "groups": 1,
    "diversity": 0,
    "coverage": 0,
    "min_length": 0,
    "min_ratio": 0,
    "max_length": 1,
    "max_ratio": 0,
    "max_extra": 0,
    "no_repeat_ngram": 0,
    "samples": 1,
    "temperature": 0,
    "top_k": 1,
    "top_p": 0,
    "epsilon": 0,
    "seed": 0,
    "batch_size": 1,
}
