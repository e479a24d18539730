"""What a user can choose about attention: one dataclass a mechanism, under the key ``model.attention``."""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from nmt.errors import ConfigError
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.attention.scores import SCORES, ConcatSource
from nmt.settings import check_ranges, setting


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

    def __post_init__(self) -> None:
        check_ranges(self, "model.attention")


@dataclass
class NoneConfig(AttentionConfig):
    """no attention: the decoder sees the source through its first state alone   (Sutskever et al. 2014)"""

    name: str = "none"


@dataclass
class NormalizedConfig(AttentionConfig):
    """Fields common to the mechanisms that turn scores into weights."""

    normalizer: str = setting("softmax", "how scores become weights", choices=lambda: tuple(NORMALIZERS))


@dataclass
class BahdanauConfig(NormalizedConfig):
    """every source position, scored by v . tanh(W q + U h_s), q the previous state   (Bahdanau et al. 2015)"""

    name: str = "bahdanau"
    hidden_size: int = setting(256, "width of the score network or of local_p's W_p", least=1)

    previous_state: ClassVar[bool] = True


@dataclass
class ScoredConfig(NormalizedConfig):
    """Fields common to Luong's mechanisms, which share the scores."""

    score: str = setting("general", "how a query is compared with the source", choices=lambda: tuple(SCORES))
    concat_source: ConcatSource = setting(ConcatSource.learned, "source half of score=concat: learned, or identity")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.concat_source is not ConcatSource.learned and self.score != "concat":
            raise ConfigError(
                f"model.attention.concat_source={self.concat_source.name} belongs to model.attention.score=concat, "
                f"not to score={self.score}"
            )


@dataclass
class GlobalConfig(ScoredConfig):
    """every source position   (Luong et al. 2015, section 3.1)"""

    name: str = "global"
    max_source: int | None = setting(None, "longest source that score=location has a row for (null: 256)", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_source is not None and self.score != "location":
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
    half_width: int = setting(10, "D: the window holds 2D+1 positions", least=1)


@dataclass
class LocalPConfig(LocalMConfig):
    """a window whose centre the query predicts   (Luong et al. 2015, section 3.2)"""

    name: str = "local_p"
    hidden_size: int = setting(256, "width of the score network or of local_p's W_p", least=1)
    sigma: Sigma = setting(Sigma.fixed, "width of the Gaussian: fixed (D/2) or learned")
    renormalize: bool = setting(False, "Gaussian inside the softmax, so that rows sum to 1 (Luong's normLocalAttn)")
