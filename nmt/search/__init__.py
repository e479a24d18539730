"""From a model's step to sentences: greedy, beam, sampling, forced decoding.  No model is named here."""

from nmt.search.batches import evaluating
from nmt.search.config import Average, DecodeConfig, LengthPenalty, Method, Stopping
from nmt.search.decode import search, translate_ids
from nmt.search.ensemble import Ensemble, average_states
from nmt.search.hypothesis import Hypothesis
from nmt.search.mbr import Reranking
from nmt.search.scoring import Forced, ForcedOptions, Scored, force_decode, score_ids

__all__ = [
    "Average",
    "DecodeConfig",
    "Ensemble",
    "Forced",
    "ForcedOptions",
    "Hypothesis",
    "LengthPenalty",
    "Method",
    "Reranking",
    "Scored",
    "Stopping",
    "average_states",
    "evaluating",
    "force_decode",
    "score_ids",
    "search",
    "translate_ids",
]
