"""Minimum Bayes risk by the metrics of evaluation."""

from nmt.data.tokenizer import Tokenizers
from nmt.eval.metrics import sentence_utility
from nmt.search import DecodeConfig, Reranking


def reranking(decode: DecodeConfig, tokenizers: Tokenizers, target_language: str = "") -> Reranking | None:
    """How ``nmt.search`` is to compare candidates as decode.mbr asks; None where decode.mbr=none.

    Raises what ``sentence_utility`` raises.
    """
    if not decode.reranks:
        return None
    return Reranking(tokenizers.target.decode, sentence_utility(decode.mbr, target_language))
