"""Checks before the first update for what would otherwise stop a run hours later."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from nmt.data.corpus import ParallelText
from nmt.data.encode import EncodedCorpus
from nmt.data.prepare import Prepared
from nmt.data.tokenizer import Tokenizers
from nmt.device import Precision
from nmt.errors import ConfigError, UserError
from nmt.eval.forced import NoAttentionError, align
from nmt.eval.metrics import METRICS, PreparedMetric
from nmt.eval.reranking import reranking
from nmt.models.seq2seq import Seq2Seq
from nmt.search import DecodeConfig, ForcedOptions, evaluating, force_decode, translate_ids
from nmt.train.config import ALIGNMENT_ERROR, NO_GOLD_LINKS

CPU = torch.device("cpu")
Ids = Sequence[list[int]]


def preflight_check(
    model: Seq2Seq,
    data: Prepared,
    tests: Sequence[ParallelText],
    *,
    decode: DecodeConfig,
    metric: str,
    language: str,
    gold: ParallelText | None = None,
) -> None:
    """Raise the errors that training, a validation or the final scoring would raise with any weights.

    The model, still on the CPU, reads the longest sentences of each text and makes the first step of translating one;
    the UserError names the text.  ``metric`` chooses the best checkpoint, ``language`` is that of the target side, and
    ``gold`` is the text that data.gold names, if any.  What the configuration alone shows to be impossible is refused
    earlier, by nmt.config_checks.check_sections.
    """
    if metric == ALIGNMENT_ERROR:
        check_alignment_error(model, data.tokenizers, data.validation if gold is None else gold)
    if metric in METRICS:
        PreparedMetric(metric, language)  # it may need a package that is not installed
    one_step = replace(decode, min_length=0, max_length=1)
    compare = reranking(decode, data.tokenizers, language)
    for name, sources, targets in longest_sentences(data, tests):
        try:
            with evaluating(model):
                for _ in force_decode(model, sources, targets, ForcedOptions(CPU, Precision.fp32)):
                    pass
            translate_ids(model, sources[:1], one_step, CPU, Precision.fp32, reranking=compare)
        except UserError as error:
            raise type(error)(f"{name}: {error}") from None


def longest_sentences(data: Prepared, tests: Sequence[ParallelText]) -> Iterator[tuple[str, Ids, Ids]]:
    """Of each text its name, and source and target ids of the pairs with the longest source and the longest target."""
    yield "training", *longest_pairs(data.train)
    for text in (data.validation, *tests):
        ids = data.tokenizers.source.encode(text.tagged_source()), data.tokenizers.target.encode(text.target)
        yield text.name, *longest_pairs(EncodedCorpus.of(*ids))


def longest_pairs(corpus: EncodedCorpus) -> tuple[list[list[int]], list[list[int]]]:
    """Source and target ids of two pairs: that with the longest source and that with the longest target."""
    return corpus.read(corpus.lengths.argmax(1))


def check_alignment_error(model: Seq2Seq, tokenizers: Tokenizers, text: ParallelText) -> None:
    """Raise ConfigError unless trainer.metric=aer can be computed: from attention, on the gold links of ``text``."""
    if text.gold is None:
        raise ConfigError(NO_GOLD_LINKS)
    try:
        next(align(model, tokenizers, text.source[:1], text.target[:1], ForcedOptions(CPU)))
    except NoAttentionError as error:
        raise ConfigError(f"trainer.metric=aer: {error}; choose another model.attention") from None
