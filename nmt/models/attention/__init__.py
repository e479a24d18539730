"""Attention mechanisms behind one interface: the table of them, and the names that other packages use."""

from nmt.models.attention.base import Attended, Attention, Memory
from nmt.models.attention.config import (
    AttentionConfig,
    BahdanauConfig,
    Centre,
    CoverageConfig,
    FixedMemoryConfig,
    Gaussian,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    LocationAwareConfig,
    MixtureForm,
    MixtureWindowConfig,
    MonotonicConfig,
    NoneConfig,
    Shares,
    Sigma,
    StructuralConfig,
    TemporalConfig,
)
from nmt.models.attention.fixed_memory import FixedMemoryAttention
from nmt.models.attention.global_attention import (
    BahdanauAttention,
    GlobalAttention,
    HardAttention,
    TemporalAttention,
)
from nmt.models.attention.history_attention import CoverageAttention, LocationAwareAttention, StructuralAttention
from nmt.models.attention.local_attention import LocalAttention
from nmt.models.attention.mixture_attention import MixtureWindowAttention
from nmt.models.attention.monotonic_attention import MonotonicAttention
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.attention.scores import SCORES, ConcatSource, Score, ScoreFunction
from nmt.models.attention.several_heads import SeveralHeads

__all__ = [
    "ATTENTIONS",
    "NORMALIZERS",
    "SCORES",
    "Attended",
    "Attention",
    "AttentionConfig",
    "BahdanauConfig",
    "Centre",
    "ConcatSource",
    "CoverageConfig",
    "FixedMemoryConfig",
    "Gaussian",
    "GlobalConfig",
    "HardConfig",
    "LocalMConfig",
    "LocalPConfig",
    "LocationAwareConfig",
    "Memory",
    "MixtureForm",
    "MixtureWindowConfig",
    "MonotonicConfig",
    "NoneConfig",
    "Score",
    "ScoreFunction",
    "Shares",
    "Sigma",
    "StructuralConfig",
    "TemporalConfig",
    "build_attention",
]

# The one table: the command line, --help and build_attention all read it.  None: h~_t = h_t, there is no module.
ATTENTIONS: dict[type[AttentionConfig], type[Attention] | None] = {
    NoneConfig: None,
    BahdanauConfig: BahdanauAttention,
    GlobalConfig: GlobalAttention,
    LocalMConfig: LocalAttention,
    LocalPConfig: LocalAttention,
    HardConfig: HardAttention,
    CoverageConfig: CoverageAttention,
    LocationAwareConfig: LocationAwareAttention,
    StructuralConfig: StructuralAttention,
    TemporalConfig: TemporalAttention,
    MixtureWindowConfig: MixtureWindowAttention,
    MonotonicConfig: MonotonicAttention,
    FixedMemoryConfig: FixedMemoryAttention,
}


def build_attention(config: AttentionConfig, query_size: int, memory_size: int) -> Attention | None:
    """The module a config asks for; None for ``none``, where the attentional vector is the state itself."""
    module = ATTENTIONS[type(config)]
    if module is None:
        return None
    if config.heads == 1:
        return module(config, query_size, memory_size)
    one = module(config, query_size // config.heads, memory_size // config.heads)
    return SeveralHeads(one, config.heads, query_size, memory_size)
