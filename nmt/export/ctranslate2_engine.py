"""Search by CTranslate2 in an exported folder, with the results of this project's own search.

CTranslate2's beam search extends and ends hypotheses as nmt/search/beam.py does.  Three things differ and are put right
here, so that hypotheses, scores and n best are the same up to rounding:

- It forbids tokens before it normalizes, so that its probabilities are a little too large.  What it found is therefore
  scored anew, by its own forced decoding, which forbids nothing.
- It counts a batch's longest length limit for all its sentences, and cuts a hypothesis there without the probability of
  end-of-sentence.  A sentence that went on to its own limit is searched again by this project.
- It leaves a sentence as soon as the best hypothesis ends if scores are not divided by lengths.  They always are here:
  for decode.length_penalty=none by a power of the length that is 1 in float32.

What else it cannot do, or does in another way, is refused (``check_options``).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nmt.batch import BOS, EOS, PAD, UNK
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.export.quantization import Quantization
from nmt.libraries import needed
from nmt.search import DecodeConfig, Hypothesis, LengthPenalty, Method, Reranking, Scored, Stopping
from nmt.search.engine import Engine
from nmt.search.mbr import rerank
from nmt.search.penalty import length_score
from nmt.search.request import no_hypothesis

NO_PENALTY = 1e-9  # a power of any length that is 1 in float32, and not the 0 that changes when search ends


class ModelFacts(NamedTuple):
    """What search must know of a model, beside what the exported folder says to CTranslate2."""

    source_eos: bool
    longest_source: int | None
    longest_target: int | None


class Found(NamedTuple):
    """What CTranslate2 found for a sentence."""

    hypotheses: list[list[int]]  # ids without end-of-sentence
    complete: bool  # whether search ended before the sentence's length limit


class CTranslate2Engine:
    """An ``Engine``: a folder that ``write_model`` wrote, run by CTranslate2."""

    def __init__(
        self,
        folder: Path,
        vocabularies: tuple[Sequence[str], Sequence[str]],
        facts: ModelFacts,
        device: torch.device,
        compute_type: str,
        own: Callable[[], Engine] | None,
    ) -> None:
        """``own`` gives this project's search of the same model, for sentences that reach their length limit; None:
        what was found of them is dropped."""
        library = needed("ctranslate2", "engine=ctranslate2")
        self.source_tokens, self.target_tokens = vocabularies
        self.target_ids = {token: i for i, token in enumerate(self.target_tokens)}
        self.source_eos, self.longest_source, self.longest_target = facts
        self.make_own, self.own = own, None
        self.translator = library.Translator(
            str(folder),
            device.type,
            device_index=device.index or 0,
            compute_type=compute_type,
            intra_threads=torch.get_num_threads(),
        )

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
        """See ``nmt.search.engine.Engine``."""
        check_options(config, want_maps, prefixes is not None)
        rows = [list(source) or [UNK] for source in sources]
        found = self.beam_search(rows, config, progress)
        done = [i for i, result in enumerate(found) if result.complete]
        scored = self.score_ids([rows[i] for i in done], [found[i].hypotheses for i in done], config)
        result: list[list[Hypothesis]] = [[] for _ in rows]
        for i, scores in zip(done, scored, strict=True):
            hypotheses = zip(found[i].hypotheses, scores, strict=True)
            result[i] = ranked([Hypothesis(ids, s.score, s.log_prob, True) for ids, s in hypotheses], first + i)
            if config.reranks and reranking is not None:
                result[i] = rerank(result[i], reranking, config)
        rest = [i for i, result in enumerate(found) if not result.complete]
        if rest and self.make_own is not None:
            self.own = self.own or self.make_own()
            again = self.own.translate_ids([rows[i] for i in rest], config, reranking=reranking)
            for i, hypotheses in zip(rest, again, strict=True):
                result[i] = hypotheses
        return result

    def beam_search(
        self, rows: Sequence[list[int]], config: DecodeConfig, progress: Callable[[int], object] | None
    ) -> list[Found]:
        """The hypotheses of each source, as many as ``config`` returns, in the order of the sources."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        groups = [order[start : start + config.batch_size] for start in range(0, len(order), config.batch_size)]
        limits = [self.limit(len(row), config) for row in rows]
        options = self.options(config)
        waiting = [
            self.translator.translate_batch(
                [self.tokens(rows[i]) for i in group],
                max_decoding_length=max(limits[i] for i in group) + 1,
                asynchronous=True,
                **options,
            )
            for group in groups
        ]
        result: dict[int, Found] = {}
        wanted = config.candidates if config.reranks else config.n_best
        for group, results in zip(groups, waiting, strict=True):
            for i, pending in zip(group, results, strict=True):
                found = pending.result().hypotheses
                # Search ended in the step at which the last of the beam did, and one of these ended there.
                complete = all(hypothesis[-1:] == [self.target_tokens[EOS]] for hypothesis in found)
                complete = complete and max(map(len, found)) <= limits[i]
                ids = [[self.target_ids[token] for token in hypothesis[:-1]] for hypothesis in found[:wanted]]
                result[i] = Found(ids, complete)
            if progress is not None:
                progress(len(group))
        return [result[i] for i in range(len(rows))]

    def limit(self, source: int, config: DecodeConfig) -> int:
        """The most target tokens of a source of that size, without end-of-sentence."""
        _, most = config.lengths(source)
        return most if self.longest_target is None else min(most, self.longest_target - 1)

    def options(self, config: DecodeConfig) -> dict[str, Any]:
        """What CTranslate2 is told of ``config``."""
        forbidden = (PAD, BOS) if config.allow_unk else (PAD, BOS, UNK)
        return {
            "beam_size": config.beam_size,
            "num_hypotheses": config.beam_size,
            "length_penalty": 1.0 if config.length_penalty is LengthPenalty.average else NO_PENALTY,
            "suppress_sequences": [[self.target_tokens[i]] for i in forbidden],
            "return_end_token": True,
            "max_input_length": 0,
            "min_decoding_length": 0,
        }

    def score_ids(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[Sequence[int]]], config: DecodeConfig
    ) -> list[list[Scored]]:
        """See ``nmt.search.engine.Engine``."""
        pairs = [
            (list(source) or [UNK], target) for source, row in zip(sources, targets, strict=True) for target in row
        ]
        given = self.translator.score_batch(
            [self.tokens(source) for source, _ in pairs],
            [[self.target_tokens[i] for i in target] for _, target in pairs],
            max_batch_size=config.batch_size,
            max_input_length=0,
        )
        scores = iter([score(result.log_probs, config) for result in given])
        return [[next(scores) for _ in row] for row in targets]

    def tokens(self, row: Sequence[int]) -> list[str]:
        """Source ids as CTranslate2 takes them."""
        return [self.source_tokens[i] for i in row]


def score(log_probs: Sequence[float], config: DecodeConfig) -> Scored:
    """A target of which CTranslate2 gave the log-probability of each token, end-of-sentence's last."""
    log_prob = torch.tensor(log_probs, dtype=torch.float64).sum()
    return Scored(list(log_probs), log_prob.item(), length_score(log_prob, len(log_probs), config).item())


def ranked(hypotheses: list[Hypothesis], number: int) -> list[Hypothesis]:
    """The best scored first; raises UserError, with the ``number`` of the sentence, for a score that is not finite."""
    if not all(torch.isfinite(torch.tensor([h.score for h in hypotheses]))):
        raise no_hypothesis(number)
    return sorted(hypotheses, key=lambda h: -h.score)


def check_options(config: DecodeConfig, want_maps: bool = False, prefixes: bool = False) -> None:
    """Raise ConfigError, naming the key, for what CTranslate2 does not do, or not as this project does."""
    for key in refused(config, want_maps, prefixes):
        raise ConfigError(f"{key} is not to be had with engine=ctranslate2; engine=torch has it")


def refused(config: DecodeConfig, want_maps: bool, prefixes: bool) -> Iterator[str]:
    """The keys, with their values, that CTranslate2 cannot follow."""
    if config.method is not Method.beam:
        yield f"decode.method={config.method.name}"
    if config.length_penalty not in (LengthPenalty.none, LengthPenalty.average):
        yield f"decode.length_penalty={config.length_penalty.name}"
    if config.stopping is not Stopping.full and config.beam_size > 1:
        yield f"decode.stopping={config.stopping.name}"
    for key, off in {"groups": 1, "coverage": 0, "min_length": 0, "min_ratio": 0, "no_repeat_ngram": 0}.items():
        if getattr(config, key) != off:
            yield f"decode.{key}={getattr(config, key)}"
    if want_maps:
        yield "attention (translate.alignments, translate.replace_unknown=true, translate.tags=true)"
    if prefixes:
        yield 'a prefix (translate.prefix_file, "prefix" in translate.input_format=jsonl)'


def compute_type(precision: Precision, quantization: Quantization | None, device: torch.device) -> str:
    """CTranslate2's name of what it computes in: that of ``quantization`` or, without one, of the precision.

    decode.precision=auto is float32.  Raises ConfigError for what it does not have on this processor.
    """
    library = needed("ctranslate2", "engine=ctranslate2")
    types = {
        Precision.bf16: Quantization.bf16,
        Precision.fp16: Quantization.fp16,
        Precision.int8: Quantization.int8,
    }
    plain = types.get(precision, Quantization.fp32)
    chosen = (quantization or plain).value
    there = library.get_supported_compute_types(device.type, device.index or 0)
    if chosen not in there:
        key = f"decode.precision={precision.name}" if quantization is None else f"quantization={quantization.name}"
        raise ConfigError(
            f"{key}: CTranslate2 does not compute in {chosen} on this {device.type}; it has {', '.join(sorted(there))}"
        )
    return chosen
