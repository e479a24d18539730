"""The keys decode.*: how a model's distribution becomes sentences."""

import math
from dataclasses import dataclass, fields, replace
from enum import Enum

from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.settings import check_ranges, setting, take_types

# What is wrong with decode.coverage, said before and after there is a model.
NO_COVERAGE = "decode.coverage is for models with attention; this one has none: decode.coverage=0"


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


# With 8,000 pieces a step of 1,000 hypotheses has 8 million log-probabilities a sentence, 32 MB.
MAX_BEAM = 1000
# decode.mbr compares each draw with every other one: 10,000 are 100 million comparisons a sentence.
MAX_SAMPLES = 10_000
MAX_LENGTH = 1_000_000  # tokens, more than any sentence has


class Average(Enum):
    """How an ensemble of M models combines p_1 ... p_M over the next token."""

    probabilities = "probabilities"  # p = 1/M sum_m p_m
    log_probabilities = "log_probabilities"  # log p = 1/M sum_m log p_m - log Z


@dataclass
class DecodeConfig:
    """Lengths count target tokens without end-of-sentence; S is the number of source tokens."""

    method: Method = setting(Method.beam, "beam or sample")
    beam_size: int = setting(5, "hypotheses kept a step; 1 is greedy", least=1, most=MAX_BEAM)
    n_best: int = setting(1, "hypotheses returned a sentence, best first", least=1, most=MAX_SAMPLES)
    groups: int = setting(1, "diverse beam search: the beam is split into so many groups", least=1, most=MAX_BEAM)
    diversity: float = setting(
        0.5, "diverse beam search: cost of a token for each earlier group that chose it", least=0
    )
    stopping: Stopping = setting(Stopping.full, "full: when beam_size have ended; safe: when none can improve")
    length_penalty: LengthPenalty = setting(LengthPenalty.average, "none, average, gnmt or reward")
    length_alpha: float = setting(1.0, "alpha of gnmt and reward")
    coverage: float = setting(0.0, "beta of the GNMT coverage penalty", least=0)
    min_length: int = setting(0, "fewest target tokens", least=0, most=MAX_LENGTH)
    min_ratio: float = setting(0.0, "fewest target tokens as a multiple of S", least=0, most=MAX_LENGTH)
    max_length: int = setting(256, "most target tokens", least=1, most=MAX_LENGTH)
    max_ratio: float | None = setting(
        2.0, "most target tokens: max_ratio * S + max_extra; null: max_length alone", least=0, most=MAX_LENGTH
    )
    max_extra: int = setting(20, "see max_ratio", least=0, most=MAX_LENGTH)
    no_repeat_ngram: int = setting(0, "no n-gram of this order twice in a hypothesis; 0 allows all", least=0)
    allow_unk: bool = setting(False, "let <unk> be produced; for word-level vocabularies")
    samples: int = setting(1, "method=sample: draws a sentence", least=1, most=MAX_SAMPLES)
    temperature: float = setting(1.0, "method=sample: logits are divided by it", above=0)
    top_k: int | None = setting(None, "method=sample: draw from the k most probable tokens", least=1)
    top_p: float = setting(
        1.0, "method=sample: draw from the fewest tokens that hold this probability", above=0, most=1
    )
    epsilon: float = setting(0.0, "method=sample: draw from tokens at least this probable", least=0, most=1)
    seed: int = setting(1, "method=sample: seeds each sentence together with its number", least=0)
    # The names of metrics are known above this package only; whoever builds a whole configuration checks them.
    mbr: str = setting(NO_MBR, "minimum Bayes risk over the draws or the beam, by a metric of one sentence")
    ensemble: Average = setting(
        Average.probabilities, "several runs at once: the mean of probabilities or log_probabilities"
    )
    batch_size: int = setting(64, "sentences searched at once", least=1, most=100_000)
    precision: Precision = setting(Precision.auto, "fp32, bf16, fp16, int8 (on a CPU) or auto")

    def __post_init__(self) -> None:
        take_types(self, "decode")
        check_ranges(self, "decode")
        if self.min_length > self.max_length:
            raise ConfigError(f"decode.min_length={self.min_length} is above decode.max_length={self.max_length}")
        if self.beam_size % self.groups:
            raise ConfigError(f"decode.beam_size={self.beam_size} is no multiple of decode.groups={self.groups}")
        if self.n_best > self.candidates:
            source = "beam_size" if self.method is Method.beam else "samples"
            raise ConfigError(f"decode.n_best={self.n_best} is above decode.{source}={self.candidates}")

    def checked(self) -> "DecodeConfig":
        """A copy; raises ConfigError where an attribute was set that is no field, or to what it cannot be."""
        others = vars(self).keys() - {declared.name for declared in fields(self)}
        if others:
            raise ConfigError(f"decode has no {min(others)}")
        return replace(self)

    def check_candidates(self) -> None:
        """Raise ConfigError where minimum Bayes risk would have one candidate to choose from."""
        if self.reranks and self.candidates < 2:
            key = "beam_size" if self.method is Method.beam else "samples"
            raise ConfigError(f"decode.mbr={self.mbr} chooses among candidates: decode.{key} must be at least 2, got 1")

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
