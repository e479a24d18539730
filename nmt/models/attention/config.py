"""What a user can choose about attention: one dataclass a mechanism, under the key ``model.attention``."""

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from nmt.errors import ConfigError
from nmt.models.attention.scores import SCORES, ConcatSource


class Sigma(Enum):
    """The width of local_p's Gaussian."""

    fixed = "fixed"  # D/2 (Luong et al. 2015, eq. 10)
    learned = "learned"  # one parameter that starts at D/2 (the layer-specific window of Yang et al. 2018, section 3.2)


@dataclass
class AttentionConfig:
    """Fields common to all mechanisms."""

    name: str = "?"

    # True where the query is the state before the step, s_{t-1}, and the context enters the step.
    previous_state: ClassVar[bool] = False


@dataclass
class NoneConfig(AttentionConfig):
    """no attention: the decoder sees the source through its first state alone   (Sutskever et al. 2014)"""

    name: str = "none"


@dataclass
class BahdanauConfig(AttentionConfig):
    """every source position, scored by v . tanh(W q + U h_s), q the previous state   (Bahdanau et al. 2015)"""

    name: str = "bahdanau"
    hidden_size: int = field(default=256, metadata={"help": "width of the score network or of local_p's W_p"})

    previous_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(1, "hidden_size", self.hidden_size)


@dataclass
class ScoredConfig(AttentionConfig):
    """Fields common to Luong's mechanisms, which share the scores."""

    score: str = field(default="general", metadata={"help": f"score: {', '.join(SCORES)}"})
    concat_source: ConcatSource = field(
        default=ConcatSource.learned, metadata={"help": "source half of score=concat: learned, or identity"}
    )

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ConfigError(f"model.attention.score: {self.score!r} is not one of {', '.join(SCORES)}")
        if self.concat_source is not ConcatSource.learned and self.score != "concat":
            raise ConfigError(
                f"model.attention.concat_source={self.concat_source.name} belongs to model.attention.score=concat, "
                f"not to score={self.score}"
            )


@dataclass
class GlobalConfig(ScoredConfig):
    """every source position   (Luong et al. 2015, section 3.1)"""

    name: str = "global"
    max_source: int | None = field(
        default=None, metadata={"help": "longest source that score=location has a row for (null: 256)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_source is not None:
            at_least(1, "max_source", self.max_source)
            if self.score != "location":
                raise ConfigError(
                    f"model.attention.max_source belongs to model.attention.score=location, not to score={self.score}"
                )


@dataclass
class HardConfig(GlobalConfig):
    """one source position at a time: drawn in training, the likeliest in search   (Xu et al. 2015, section 4.1)"""

    name: str = "hard"


@dataclass
class LocalMConfig(ScoredConfig):
    """a window centred on the target position t   (Luong et al. 2015, section 3.2)"""

    name: str = "local_m"
    half_width: int = field(default=10, metadata={"help": "D: the window holds 2D+1 positions"})

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "half_width", self.half_width)


@dataclass
class LocalPConfig(LocalMConfig):
    """a window whose centre the query predicts   (Luong et al. 2015, section 3.2)"""

    name: str = "local_p"
    hidden_size: int = field(default=256, metadata={"help": "width of the score network or of local_p's W_p"})
    sigma: Sigma = field(default=Sigma.fixed, metadata={"help": "width of the Gaussian: fixed (D/2) or learned"})
    renormalize: bool = field(
        default=False, metadata={"help": "Gaussian inside the softmax, so that rows sum to 1 (Luong's normLocalAttn)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "hidden_size", self.hidden_size)


def at_least(low: int, key: str, value: int) -> None:
    if value < low:
        raise ConfigError(f"model.attention.{key} must be at least {low}, got {value}")
