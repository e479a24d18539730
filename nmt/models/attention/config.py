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
    # One parameter that starts at D/2 or at sigma_start (the layer-specific window of Yang et al. 2018, section 3.2)
    learned = "learned"


class Gaussian(Enum):
    """Where local_p's Gaussian enters."""

    product = "product"  # weights are multiplied by it (Luong et al. 2015, eq. 10)
    bias = "bias"  # its logarithm is added to the scores (Yang et al. 2018)


class Centre(Enum):
    """How local_p predicts the centre of its window."""

    sentence = "sentence"  # S sigmoid(e): starts in the middle of the sentence (Luong et al. 2015, eq. 9)
    diagonal = "diagonal"  # the same, but for an e that starts where the centre is t (of this project)


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
    hidden_size: int = setting(256, "width of the score network or of local_p's W_p", least=1, most=65_536)

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
    max_source: int | None = setting(
        None, "longest source that score=location has a row for (null: 256)", least=1, most=10_000_000
    )

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
    half_width: int = setting(10, "D: the window holds 2D+1 positions", least=1, most=1_000_000)


@dataclass
class LocalPConfig(LocalMConfig):
    """a window whose centre the query predicts   (Luong et al. 2015, section 3.2)"""

    name: str = "local_p"
    hidden_size: int = setting(256, "width of the score network or of local_p's W_p", least=1, most=65_536)
    sigma: Sigma = setting(Sigma.fixed, "width of the Gaussian: fixed (D/2) or learned")
    renormalize: bool = setting(False, "Gaussian inside the softmax, so that rows sum to 1 (Luong's normLocalAttn)")
    gaussian: Gaussian = setting(
        Gaussian.product, "product: multiplies the weights; bias: its logarithm is added to the scores"
    )
    centre: Centre = setting(Centre.sentence, "p starts in the middle of the sentence (sentence) or at t (diagonal)")
    sigma_start: float | None = setting(None, "what sigma=learned starts at (null: D/2)", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.renormalize and self.gaussian is Gaussian.bias:
            raise ConfigError(
                "model.attention.renormalize=true multiplies scores by the Gaussian: "
                "it does not apply to model.attention.gaussian=bias, whose rows sum to 1 anyway"
            )
        if self.sigma_start is not None and self.sigma is not Sigma.learned:
            raise ConfigError(
                f"model.attention.sigma_start belongs to model.attention.sigma=learned, not to sigma={self.sigma.name}"
            )
