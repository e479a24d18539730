"""What a user can choose about attention: one dataclass a mechanism, under ``model.attention`` or another key."""

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


class Shares(Enum):
    """What sums to 1 where fixed_memory makes its vectors of the source."""

    of_position = "of_position"  # the shares that a position has in the vectors (Britz et al. 2017)
    of_vector = "of_vector"  # the shares of the positions in a vector, which is then a mean of encoder states


class MixtureForm(Enum):
    """How the mixture of gmm is made of its parameters."""

    v2 = "v2"  # normalized Gaussians, softplus (Battenberg et al. 2020)
    graves = "graves"  # exponentials (Graves 2013)


@dataclass
class SourceAttentionConfig:
    """Any way to attend to the source: what ``model.attention`` chooses, or ``model.cross_attention``."""

    name: str = "?"


@dataclass
class AttentionConfig(SourceAttentionConfig):
    """Fields common to all mechanisms.

    Messages name the key ``model.attention``; where ``model.cross_attention`` chose, they are made to name that
    (``Choices.said_as``).
    """

    name: str = "?"
    heads: int = setting(
        1, "heads side by side, each with queries and encoder states of 1/heads of the width", least=1, most=1024
    )

    # True where the query is the state before the step, s_{t-1}, and the context enters the step.
    previous_state: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self, "model.attention")


@dataclass
class NoneConfig(AttentionConfig):
    """no attention: the decoder sees the source through its first state alone   (Sutskever et al. 2014)"""

    name: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads > 1:
            raise ConfigError(
                f"model.attention.heads={self.heads}: model.attention=none has nothing to attend with; "
                "choose another model.attention"
            )


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
class TemporalConfig(GlobalConfig):
    """every source position, less what it has had at earlier target positions   (Paulus et al. 2018)"""

    name: str = "temporal"


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


@dataclass
class HistoryConfig(NormalizedConfig):
    """Fields common to the mechanisms whose score sees the weights of the steps before."""

    hidden_size: int = setting(256, "width of the score network", least=1, most=65_536)


@dataclass
class CoverageConfig(HistoryConfig):
    """bahdanau's score, with h_t, that also sees how much of each word was read   (See et al. 2017; Tu et al. 2016)"""

    name: str = "coverage"
    max_fertility: float | None = setting(
        None, "a word is covered by as many target words as it predicts, at most this (null: by one)", above=0
    )


@dataclass
class LocationAwareConfig(HistoryConfig):
    """bahdanau's score that also sees filters over the weights of the step before   (Chorowski et al. 2015)"""

    name: str = "location_aware"
    filters: int = setting(10, "filters over the previous weights", least=1, most=65_536)
    filter_reach: int = setting(5, "positions on either side that a filter sees", least=0, most=10_000)

    previous_state: ClassVar[bool] = True


@dataclass
class StructuralConfig(HistoryConfig):
    """bahdanau's score that also sees positions and where it attended before   (Cohn et al. 2016)"""

    name: str = "structural"
    position: bool = setting(True, "see the logarithms of t, s and S")
    markov: bool = setting(True, "see the weights of the step before, of the position and its neighbours")
    fertility: bool = setting(True, "see the sum of all weights before, of the position and its neighbours")
    neighbours: int = setting(1, "k: how many on either side", least=0, most=10_000)

    previous_state: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.position or self.markov or self.fertility):
            raise ConfigError(
                "model.attention=structural without position, markov and fertility sees what bahdanau sees: "
                "use model.attention=bahdanau"
            )


@dataclass
class FixedMemoryConfig(NormalizedConfig):
    """K vectors, made of the source once, are all that a step reads   (Britz et al. 2017)"""

    name: str = "fixed_memory"
    vectors: int = setting(32, "K: vectors that the source becomes", least=1, most=65_536)
    shares: Shares = setting(
        Shares.of_position, "whose shares sum to 1: those of a position in the vectors, or of a vector in the positions"
    )
    position_encoding: bool = setting(False, "positions near k/K of the source count more for vector k")


@dataclass
class MixtureWindowConfig(AttentionConfig):
    """a mixture of Gaussians that moves forward, whatever the words are   (Graves 2013; Battenberg et al. 2020)"""

    name: str = "gmm"
    form: MixtureForm = setting(MixtureForm.v2, "v2: normalized Gaussians, softplus; graves: exponentials")
    components: int = setting(5, "K: Gaussians in the mixture", least=1, most=10_000)
    hidden_size: int = setting(128, "width of the hidden layer that predicts them", least=1, most=65_536)


@dataclass
class MonotonicConfig(AttentionConfig):
    """walk on from the last stop; look there, or at a chunk before it   (Raffel et al. 2017; Chiu and Raffel 2018)"""

    name: str = "monotonic"
    hidden_size: int = setting(256, "width of the score network", least=1, most=65_536)
    chunk: int = setting(1, "positions up to the stop that are read: 1, or more for MoChA", least=1, most=10_000)
    noise: float = setting(1.0, "deviation of the noise that training adds to the energy of stopping", least=0)
    offset_start: float = setting(0.0, "r, which is added to the energy of stopping, starts at this")

    previous_state: ClassVar[bool] = True
