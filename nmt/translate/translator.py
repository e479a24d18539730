"""From text to text: what nmt.translate and ``nmt.load(DIR)`` do with a run, or with several as an ensemble."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nmt.batch import EOS, UNK
from nmt.data.pieces import SUBWORDS, Tokenizer, TokenizerKind, normalize
from nmt.device import resolve_device
from nmt.errors import ConfigError
from nmt.eval.alignment import AlignConfig
from nmt.eval.forced import NoAttentionError, PairMap
from nmt.eval.metrics import one_line
from nmt.eval.reranking import reranking
from nmt.languages import without_spaces
from nmt.runs.directory import Run, alignment_config
from nmt.runs.ensemble import EnsembleRun, open_run
from nmt.search import DecodeConfig, Hypothesis, score_ids, translate_ids
from nmt.translate.sentence_split import split_long
from nmt.translate.translation import Translation, joined
from nmt.translate.unknown_words import read_dictionary, replace_unknown

# A source of so many pieces is translated in one piece even where decode.max_length is less.
ORDINARY = 250


class Links(Enum):
    """How word alignments are given."""

    none = "none"
    hard = "hard"  # each target word with the source word of greatest weight
    soft = "soft"  # all weights


class Format(Enum):
    """What a line of output is."""

    text = "text"  # the best translation
    jsonl = "jsonl"  # a JSON object with all of decode.n_best


@dataclass
class TranslateOptions:
    """What is made of each line (translate.*)."""

    format: Format = field(
        default=Format.text,
        metadata={"help": "text: the best translation; jsonl: a JSON object with all of decode.n_best"},
    )
    token_scores: bool = field(default=False, metadata={"help": "jsonl: the pieces and the log-probability of each"})
    alignments: Links = field(
        default=Links.none, metadata={"help": "words of source and translation: none, hard (links) or soft (weights)"}
    )
    alignments_file: str | None = field(
        default=None, metadata={"help": "write alignments here, a line for each line: Pharaoh form, or all weights"}
    )
    replace_unknown: bool = field(
        default=False, metadata={"help": "word-level models: replace each <unk> by the source word it attends to"}
    )
    dictionary: str | None = field(
        default=None, metadata={"help": "for replace_unknown: a file of two columns, source word and translation"}
    )
    max_source: int | None = field(
        default=None,
        metadata={"help": f"split lines of more pieces; null: decode.max_length, but at least {ORDINARY}"},
    )

    def __post_init__(self) -> None:
        if isinstance(self.max_source, int) and self.max_source < 1:
            raise ConfigError(f"translate.max_source must be at least 1, got {self.max_source}")
        if self.dictionary is not None and not self.replace_unknown:
            raise ConfigError("translate.dictionary is for translate.replace_unknown=true")
        if self.token_scores and self.format is not Format.jsonl:
            raise ConfigError("translate.token_scores=true needs translate.format=jsonl")
        if self.alignments_file is not None and self.alignments is Links.none:
            raise ConfigError("translate.alignments_file needs translate.alignments=hard or soft")
        if self.alignments is not Links.none and self.alignments_file is None and self.format is Format.text:
            raise ConfigError(
                f"translate.alignments={self.alignments.name} has nowhere to go: type "
                "translate.alignments_file=FILE or translate.format=jsonl"
            )


class Part(NamedTuple):
    """What is translated at once: a text, or a part of a long one."""

    text: str
    ids: list[int]
    start: int = 0  # its first character in the whole text


class Translator:
    """Text to text with a run's model.

    ``decode`` (nmt.search.DecodeConfig) may be changed between calls: ``translator.decode.n_best = 3``.
    """

    def __init__(
        self,
        run: Run | EnsembleRun,
        decode: DecodeConfig,
        device: torch.device,
        checkpoint: str = "best",
        options: TranslateOptions | None = None,
        align: AlignConfig | None = None,
    ) -> None:
        self.options, self.align = options or TranslateOptions(), alignment_config(run.config, align)
        self.name, self.tokenizers, self.decode, self.device = run.name, run.tokenizers, decode, device
        self.language = run.config.data.target
        # What stands between the translations of the parts of a text.
        self.between = "" if without_spaces(self.language) else " "
        self.dictionary: dict[str, str] = {}
        if self.options.replace_unknown:
            check_words(run.name, self.tokenizers.target)
            self.decode = replace(decode, allow_unk=True)
            if self.options.dictionary is not None:
                self.dictionary = read_dictionary(Path(self.options.dictionary), self.as_read)
        self.model, _ = run.load_model(checkpoint, device)
        self.translated = 0  # sentences so far; they seed sampling

    def translate(self, texts: Sequence[str], progress: Callable[[int], object] | None = None) -> list[str]:
        """The best translation of each text, in order, each without line breaks; blank text gives an empty string."""
        return [found[0].text if found else "" for found in self.hypotheses(texts, progress)]

    def hypotheses(
        self,
        texts: Sequence[str],
        progress: Callable[[int], object] | None = None,
        warn: Callable[[int, str], object] | None = None,
    ) -> list[list[Translation]]:
        """Up to ``decode.n_best`` translations of each text, the best first; none for blank text.

        A text over the limit is translated in parts, of which the best translations are joined, the second best, and
        so on.  ``warn`` is told of its place among ``texts`` and of what was done.  ``progress`` is called with the
        number of parts finished since its last call.  Raises NoAttentionError where ``options`` need attention that
        the model does not have.
        """
        plan = list(self.plan(texts, warn or warn_of_text))
        parts = [part for group in plan for part in group]
        found = iter(self.search(parts, progress))
        return [self.join(text, group, [next(found) for _ in group]) for text, group in zip(texts, plan, strict=True)]

    def limit(self) -> int:
        """The most source pieces translated at once: no more than the model can read."""
        chosen = self.options.max_source or max(self.decode.max_length, ORDINARY)
        longest = self.model.longest_source
        return chosen if longest is None else max(1, min(chosen, longest - self.model.source_eos))

    def plan(self, texts: Sequence[str], warn: Callable[[int, str], object]) -> Iterator[list[Part]]:
        """The parts of each text: none of a blank one, one of most."""
        encode, limit = self.tokenizers.source.encode, self.limit()

        def sizes(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in encode(texts)]

        for number, (text, ids) in enumerate(zip(texts, encode(texts), strict=True)):
            if not text.strip():
                yield []
            elif len(ids) <= limit:
                yield [Part(text, ids)]
            else:
                spans, where = split_long(text, limit, sizes)
                warn(number, f"{len(ids):,} pieces, over {limit:,}: translated in {len(spans)} parts, split {where}")
                rows = encode([text[a:b] for a, b in spans])
                yield [Part(text[a:b], row[:limit], a) for (a, b), row in zip(spans, rows, strict=True)]

    def search(self, parts: Sequence[Part], progress: Callable[[int], object] | None) -> list[list[Translation]]:
        """The hypotheses of each part."""
        sources, options = [part.ids for part in parts], self.options
        decode = replace(self.decode)  # checked anew: a caller may have changed it
        attended = options.alignments is not Links.none or options.replace_unknown
        found = translate_ids(
            self.model,
            sources,
            decode,
            self.device,
            want_maps=attended,
            progress=progress,
            first=self.translated,
            reranking=reranking(decode, self.tokenizers, self.language),
        )
        self.translated += len(parts)
        scores: list[list[list[float] | None]] = [[None] * len(hypotheses) for hypotheses in found]
        if options.token_scores:
            targets = [[h.ids for h in hypotheses] for hypotheses in found]
            scored = score_ids(self.model, sources, targets, decode, self.device)
            scores = [[given.tokens for given in row] for row in scored]
        return [
            [self.translation(part, h, attended, given) for h, given in zip(hypotheses, row, strict=True)]
            for part, hypotheses, row in zip(parts, found, scores, strict=True)
        ]

    def translation(self, part: Part, h: Hypothesis, attended: bool, scores: list[float] | None) -> Translation:
        """A hypothesis as text."""
        target = self.tokenizers.target
        text, tokens = one_line(target.decode([h.ids])[0]), target.pieces([*h.ids, EOS])
        words = self.attention(part, h, text) if attended else None
        if self.options.replace_unknown and words is not None and UNK in h.ids:
            unknown = [i == UNK for i in h.ids]
            source = self.as_read(part.text).split()
            text = " ".join(replace_unknown(tokens[:-1], unknown, words, source, self.dictionary))
        alignment = None if self.options.alignments is Links.none else words
        return Translation(text, h.score, h.log_prob, h.finished, tokens, scores, alignment)

    def attention(self, part: Part, h: Hypothesis, text: str) -> np.ndarray:
        """Weights between the words of a part and of its translation: (target words, source words)."""
        if h.maps is None:
            raise NoAttentionError(
                f"{self.name} has no attention, from which translate.alignments and translate.replace_unknown are read"
            )
        pair = PairMap.of(h.maps, self.tokenizers, (part.text, text), (part.ids, h.ids), self.align)
        return pair.between_words(self.align.shift, self.align.pool)

    def join(self, text: str, parts: Sequence[Part], found: Sequence[list[Translation]]) -> list[Translation]:
        """The hypotheses of a text from those of its parts."""
        if len(parts) == 1:
            return found[0]
        starts = [part.start for part in parts]
        return [joined(self.between, text, starts, ranked) for ranked in zip(*found, strict=False)]

    def as_read(self, text: str) -> str:
        """Source text as the model reads it."""
        return normalize(text, self.tokenizers.source.lowercase)


def check_words(name: str, tokenizer: Tokenizer) -> None:
    """Raise ConfigError where unknown words are nothing that a source word could replace."""
    if tokenizer.kind is TokenizerKind.word:
        return
    reason = (
        "its pieces spell every word, so it never says <unk>"
        if tokenizer.kind in SUBWORDS
        else "what it does not know are characters, not words"
    )
    raise ConfigError(
        f"translate.replace_unknown is for models of whole words; {name} has "
        f"data.tokenizer.kind={tokenizer.kind.name}: {reason}"
    )


def warn_of_text(number: int, message: str) -> None:
    """A warning to callers in Python, who know a text by its place."""
    warnings.warn(f"text {number}: {message}", stacklevel=4)


def load(directory: str | Path | Sequence[str | Path], device: str = "auto", checkpoint: str = "best") -> Translator:
    """A translator for a run directory, or for an ensemble of several, decoding as the (first) config.yaml says."""
    run = open_run(directory)
    return Translator(run, run.config.decode, resolve_device(device), checkpoint)
