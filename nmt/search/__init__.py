"""From a model's step to sentences: greedy, beam, sampling, scoring.  No model is named here."""

from nmt.search.config import Average, DecodeConfig, LengthPenalty, Method, Stopping
from nmt.search.decode import search, translate_ids
from nmt.search.ensemble import Ensemble, average_states
from nmt.search.hypothesis import Hypothesis
from nmt.search.scoring import Scored, score, score_ids

__all__ = [
    "Average",
    "DecodeConfig",
    "Ensemble",
    "Hypothesis",
    "LengthPenalty",
    "Method",
    "Scored",
    "Stopping",
    "average_states",
    "score",
    "score_ids",
    "search",
    "translate_ids",
]
