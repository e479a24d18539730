"""Attention mechanisms behind one interface: the table of them, and the names that other packages use."""

from nmt.models.attention.base import Attended, Attention, Memory
from nmt.models.attention.config import (
    AttentionConfig,
    BahdanauConfig,
    Centre,
    Gaussian,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    NoneConfig,
    Sigma,
)
from nmt.models.attention.global_attention import BahdanauAttention, GlobalAttention, HardAttention
from nmt.models.attention.local_attention import LocalAttention
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.attention.scores import SCORES, ConcatSource, Score, ScoreFunction

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
    "Gaussian",
    "GlobalConfig",
    "HardConfig",
    "LocalMConfig",
    "LocalPConfig",
    "Memory",
    "NoneConfig",
    "Score",
    "ScoreFunction",
    "Sigma",
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
}


def build_attention(config: AttentionConfig, query_size: int, memory_size: int) -> Attention | None:
    """The module a config asks for; None for ``none``, where the attentional vector is the state itself."""
    module = ATTENTIONS[type(config)]
    return None if module is None else module(config, query_size, memory_size)
