"""The door of the room: search one batch, or translate any number of sentences."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nmt.device import Precision
from nmt.models.seq2seq import Seq2Seq
from nmt.search.batches import in_batches
from nmt.search.beam import beam_search
from nmt.search.config import DecodeConfig, Method
from nmt.search.hypothesis import Hypothesis
from nmt.search.mbr import Detokenize, Utility, rerank
from nmt.search.request import pose
from nmt.search.sampling import draw


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
    detokenize: Detokenize | None = None,
    utility: Utility | None = None,
) -> list[list[Hypothesis]]:
    """The n best hypotheses for each source sentence, best first; the model is expected in eval mode.

    source (B, S) and lengths (B,) on the model's device.  ``prefixes``: how each translation must begin (ids).
    ``numbers``: the sentences' places in the corpus, which seed sampling together with ``config.seed``; 0 to B - 1
    where not given.  ``detokenize`` (ids to text) and ``utility`` (of a hypothesis against a reference, such as
    nmt.eval.metrics.sentence_utility makes of ``config.mbr``) are needed where ``config.reranks``.
    Raises UserError where the model's probabilities are not finite.
    """
    if config.reranks and (detokenize is None or utility is None):
        raise ValueError("decode.mbr compares texts: pass detokenize and utility")
    problem = pose(source, lengths, config, prefixes, numbers, model.longest_target)
    find = beam_search if config.method is Method.beam and config.beam_size > 1 else draw
    found = find(model, problem, config, want_maps)
    if config.reranks and detokenize is not None and utility is not None:
        return [rerank(candidates, detokenize, utility, config) for candidates in found]
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
    detokenize: Detokenize | None = None,
    utility: Utility | None = None,
) -> list[list[Hypothesis]]:
    """Hypotheses for each of ``sources`` (ids without BOS and EOS), in their order; see ``search`` and ``in_batches``.

    ``precision`` overrides ``config.precision``.  ``progress`` is called with the number of sentences finished since
    its last call.  ``first`` is the place in the corpus of the first sentence, for callers that pass it in pieces.
    """

    def work(chosen: list[int], source: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        forced = None if prefixes is None else [prefixes[i] for i in chosen]
        numbers = [first + i for i in chosen]
        return search(
            model,
            source,
            lengths,
            config,
            want_maps,
            prefixes=forced,
            numbers=numbers,
            detokenize=detokenize,
            utility=utility,
        )

    return in_batches(work, model, sources, config, device, precision, progress)
