"""What runs a model in search: torch, or another runtime that holds the same model."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from nmt.device import Precision
from nmt.models.ops.prepacked import KeptWeights
from nmt.models.seq2seq import Seq2Seq
from nmt.search.config import DecodeConfig
from nmt.search.decode import translate_ids
from nmt.search.hypothesis import Hypothesis
from nmt.search.mbr import Reranking
from nmt.search.scoring import Scored, score_ids


class Engine(Protocol):
    """Finds translations of ids, and scores given ones; the three limits are those of ``Seq2Seq``."""

    source_eos: bool
    longest_source: int | None
    longest_target: int | None

    def translate_ids(
        self,
        sources: Sequence[Sequence[int]],
        config: DecodeConfig,
        want_maps: bool = False,
        progress: Callable[[int], object] | None = None,
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        first: int = 0,
        reranking: Reranking | None = None,
    ) -> list[list[Hypothesis]]:
        """As ``nmt.search.translate_ids``; raises ConfigError, naming the key, for what the runtime cannot do."""
        ...

    def score_ids(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[Sequence[int]]], config: DecodeConfig
    ) -> list[list[Scored]]:
        """As ``nmt.search.score_ids``."""
        ...


class ModelEngine:
    """The search of this package over the step protocol of a model (nmt/models/seq2seq.py)."""

    def __init__(self, model: Seq2Seq, device: torch.device) -> None:
        self.model, self.device, self.kept = model, device, KeptWeights(model)
        self.source_eos = model.source_eos
        self.longest_source, self.longest_target = model.longest_source, model.longest_target

    def translate_ids(
        self,
        sources: Sequence[Sequence[int]],
        config: DecodeConfig,
        want_maps: bool = False,
        progress: Callable[[int], object] | None = None,
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        first: int = 0,
        reranking: Reranking | None = None,
    ) -> list[list[Hypothesis]]:
        """See ``nmt.search.translate_ids``."""
        if config.precision is Precision.int8:
            self.kept.refresh()
        return translate_ids(
            self.model,
            sources,
            config,
            self.device,
            want_maps=want_maps,
            progress=progress,
            prefixes=prefixes,
            first=first,
            reranking=reranking,
        )

    def score_ids(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[Sequence[int]]], config: DecodeConfig
    ) -> list[list[Scored]]:
        """See ``nmt.search.score_ids``."""
        return score_ids(self.model, sources, targets, config, self.device)
