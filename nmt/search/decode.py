"""Search for the translations of one batch, or of any number of sentences."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nmt.device import Precision
from nmt.models.seq2seq import Seq2Seq
from nmt.search.batches import in_batches
from nmt.search.beam import beam_search
from nmt.search.config import DecodeConfig, Method
from nmt.search.hypothesis import Hypothesis
from nmt.search.mbr import Reranking, rerank
from nmt.search.request import make_request
from nmt.search.sampling import search_by_sampling


@torch.inference_mode()
def search(
    model: Seq2Seq,
    source: Tensor,
    lengths: Tensor,
    config: DecodeConfig,
    want_maps: bool = False,
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    numbers: Sequence[int] | None = None,
    reranking: Reranking | None = None,
) -> list[list[Hypothesis]]:
    """The n best hypotheses for each source sentence, best first; the model is expected in eval mode.

    source (B, S) and lengths (B,) on the model's device.  ``prefixes``: how each translation must begin (ids).
    ``numbers``: the sentences' places in the corpus, which seed sampling together with ``config.seed``; 0 to B - 1
    where not given.  ``reranking``: how candidates are compared, needed where ``config.mbr`` asks for minimum Bayes
    risk and not used otherwise.  Raises UserError where the model's probabilities are not finite, ValueError where
    ``reranking`` is needed and missing.
    """
    if config.reranks and reranking is None:
        raise ValueError("decode.mbr compares texts: pass reranking")
    request = make_request(source, lengths, config, prefixes, numbers, model.longest_target)
    find = beam_search if config.method is Method.beam and config.beam_size > 1 else search_by_sampling
    found = find(model, request, config, want_maps)
    if config.reranks and reranking is not None:
        return [rerank(candidates, reranking, config) for candidates in found]
    return [hypotheses[: config.n_best] for hypotheses in found]


@torch.inference_mode()
def translate_ids(
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    config: DecodeConfig,
    device: torch.device,
    precision: Precision | None = None,
    want_maps: bool = False,
    progress: Callable[[int], object] | None = None,
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    first: int = 0,
    reranking: Reranking | None = None,
) -> list[list[Hypothesis]]:
    """Hypotheses for each of ``sources`` (ids without BOS and EOS), in their order; see ``search`` and ``in_batches``.

    ``precision`` overrides ``config.precision``.  ``progress`` is called with the number of sentences finished since
    its last call.  ``prefixes``: for each source the ids that its translation must begin with, perhaps none.
    ``first`` is the place in the corpus of the first sentence, for callers that pass it in pieces.
    """

    def work(chosen: list[int], source: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        forced = None if prefixes is None else [prefixes[i] for i in chosen]
        numbers = [first + i for i in chosen]
        return search(model, source, lengths, config, want_maps, prefixes=forced, numbers=numbers, reranking=reranking)

    return in_batches(work, model, sources, config, device, precision, progress)
