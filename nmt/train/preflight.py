"""What would stop a run hours from now is looked for before its first update."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from nmt.config import Config
from nmt.data.corpus import ParallelText
from nmt.data.encode import EncodedCorpus
from nmt.data.prepare import Prepared
from nmt.data.tokenizer import Tokenizers
from nmt.device import Precision
from nmt.errors import ConfigError, UserError
from nmt.eval.forced import NoAttentionError, align, evaluating, force_decode
from nmt.eval.metrics import METRICS, PreparedMetric, sentence_utility
from nmt.models.attention import HardConfig
from nmt.models.seq2seq import Seq2Seq
from nmt.search import translate_ids
from nmt.train.config import ALIGNMENT_ERROR

CPU = torch.device("cpu")
Ids = Sequence[list[int]]


def rehearse(
    config: Config, model: Seq2Seq, data: Prepared, tests: Sequence[ParallelText], gold: ParallelText | None
) -> None:
    """Raise what training, a validation or the scoring at the end would raise whatever the weights are.

    The model, still on the CPU, reads the longest sentences of each text and begins to translate one.  The UserError
    names the text.  ``gold`` is that of data.gold.
    """
    if config.trainer.metric == ALIGNMENT_ERROR:
        check_aer(model, data.tokenizers, gold or data.validation)
    if config.trainer.guided_alignment and isinstance(getattr(config.model, "attention", None), HardConfig):
        raise ConfigError(
            "trainer.guided_alignment teaches weights, and model.attention=hard trains with one position that is drawn "
            "from them; choose another model.attention"
        )
    if config.trainer.metric in METRICS:
        PreparedMetric(config.trainer.metric, config.data.target)  # it may need a package that is not installed
    decode = replace(config.decode, min_length=0, max_length=1)
    utility = sentence_utility(decode.mbr, config.data.target) if decode.reranks else None
    for name, sources, targets in longest(data, tests):
        try:
            with evaluating(model):
                for _ in force_decode(model, sources, targets, device=CPU, precision=Precision.fp32):
                    pass
            detokenize = data.tokenizers.target.decode
            translate_ids(model, sources[:1], decode, CPU, Precision.fp32, detokenize=detokenize, utility=utility)
        except UserError as error:
            raise type(error)(f"{name}: {error}") from None


def longest(data: Prepared, tests: Sequence[ParallelText]) -> Iterator[tuple[str, Ids, Ids]]:
    """Name, sources and targets of two pairs of each text: the longest source's and the longest target's."""
    yield "training", *read_longest(data.train)
    for text in (data.validation, *tests):
        ids = data.tokenizers.source.encode(text.source), data.tokenizers.target.encode(text.target)
        yield text.name, *read_longest(EncodedCorpus.of(*ids))


def read_longest(corpus: EncodedCorpus) -> tuple[list[list[int]], list[list[int]]]:
    """Source and target ids of the two pairs."""
    return corpus.read(corpus.lengths.argmax(1))


def check_aer(model: Seq2Seq, tokenizers: Tokenizers, text: ParallelText) -> None:
    """Raise ConfigError unless trainer.metric=aer can be computed: on the gold links of ``text``, from attention."""
    if text.gold is None:
        raise ConfigError(
            "trainer.metric=aer needs gold word alignments: data.gold=NAME (a test set that has them) or "
            "data.gold=FILE (links for the validation set)"
        )
    try:
        next(align(model, tokenizers, text.source[:1], text.target[:1], device=CPU))
    except NoAttentionError as error:
        raise ConfigError(f"trainer.metric=aer: {error}; choose another model.attention") from None
