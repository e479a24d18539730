"""The one evaluation: what training reports of its validation set, and ``nmt.eval`` of test sets."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch

from nmt.data.checks import blank
from nmt.data.directions import TaggedTokenizer
from nmt.data.pharaoh import Alignment, parse_pharaoh, split_words
from nmt.data.text import ParallelText
from nmt.data.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.eval.alignment import SHIFTS, AlignConfig, AlignmentScore, hard_alignment, score_alignments
from nmt.eval.challenges import Challenges, Share, challenges, unaligned_words
from nmt.eval.figures.painter import Painter, Pair
from nmt.eval.figures.picture import Picture
from nmt.eval.forced import NoAttentionError, PairMap, pair_maps
from nmt.eval.metrics import (
    CorpusScore,
    LengthBucket,
    bleu_by_length,
    check_names,
    one_line,
    score_corpus,
    text_lengths,
)
from nmt.eval.references import notes_on_references, notes_on_translations
from nmt.eval.reranking import reranking
from nmt.models.seq2seq import Seq2Seq
from nmt.search import DecodeConfig, ForcedOptions, Hypothesis, evaluating, force_decode, translate_ids
from nmt.search.scoring import BATCH_TOKENS

# A heatmap of so many pieces a side, or more, cannot be read.
LEGIBLE = 40


@dataclass(frozen=True)
class Evaluation:
    """A model on a set, or on part of it."""

    name: str  # of the set
    set_sentences: int  # how many the set has
    indices: list[int]  # the sentences' places in the set
    loss: float  # nats per target token, end-of-sentence included, no label smoothing
    target_tokens: int  # how many the loss is a mean of
    hypotheses: list[str]  # detokenized, one line each
    scores: dict[str, CorpusScore]  # by the name of the metric on the command line
    by_length: list[LengthBucket]  # BLEU by words of the source; empty unless BLEU was asked for
    alignment: dict[int, AlignmentScore]  # by align.shift; empty without gold links or without attention
    tokens: int  # pieces of the hypotheses, end-of-sentence included
    search_seconds: float
    seconds: float  # search, loss and metrics
    pictures: list[Picture] = field(repr=False)
    notes: list[str] = field(default_factory=list)  # what makes the scores mislead: see ``notes_on_references``
    challenges: Challenges | None = None  # where they were asked for

    @property
    def sentences(self) -> int:
        """How many sentences were evaluated."""
        return len(self.indices)

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where a float cannot hold it."""
        return math.exp(self.loss) if not self.loss > 700 else math.inf

    @property
    def tokens_per_second(self) -> float:
        """Speed of the search, in target pieces."""
        return self.tokens / max(self.search_seconds, 1e-9)

    def numbers(self) -> dict[str, float]:
        """Every figure under the name it is logged by; aer is that of the better shift."""
        found = {"loss": self.loss, "ppl": self.perplexity}
        found |= {name: metric.value for name, metric in self.scores.items()}
        return found | {"aer": min(judged.aer for judged in self.alignment.values())} if self.alignment else found

    def to_dict(self) -> dict[str, Any]:
        """Everything but hypotheses and pictures, in JSON types; a number that is not finite is None."""
        return {
            "name": self.name,
            "sentences": self.sentences,
            "set_sentences": self.set_sentences,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "perplexity": self.perplexity if math.isfinite(self.perplexity) else None,
            "target_tokens": self.target_tokens,
            "scores": {name: asdict(metric) for name, metric in self.scores.items()},
            "by_length": [asdict(bucket) for bucket in self.by_length],
            "alignment": {f"shift {shift}": asdict(judged) for shift, judged in self.alignment.items()},
            "tokens": self.tokens,
            "search_seconds": self.search_seconds,
            "tokens_per_second": self.tokens_per_second,
            "seconds": self.seconds,
            "notes": self.notes,
            "challenges": None if self.challenges is None else self.challenges.to_dict(),
        }

    def __str__(self) -> str:
        sentences = count_of(self.sentences, self.set_sentences)
        lines = [
            f"{self.name}: {sentences} sentences, loss {self.loss:.4f}, perplexity {self.perplexity:.2f}, "
            f"search {self.search_seconds:.1f} s ({self.tokens_per_second:.0f} tokens/s)",
            *(f"  {metric}" for metric in self.scores.values()),
            *(f"  {bucket}" for bucket in self.by_length),
            *(f"  align.shift={shift}: {judged}" for shift, judged in self.alignment.items()),
            *([str(self.challenges)] if self.challenges else []),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class EvaluationOptions:
    """How a set is evaluated.

    The text's references are aligned where it has gold links; ``gold`` is another text to align instead.
    """

    device: torch.device  # the model's
    decode: DecodeConfig  # its precision is that of the loss and the alignments, too
    metrics: Sequence[str] = ("bleu", "chrf")
    # Codes of source and target (nmt.languages); the target's chooses BLEU's tokenizer.
    languages: tuple[str, str] = ("", "")
    limit: int | None = None  # evaluate only so many sentences of a set, those of ``spread``
    alignment: AlignConfig = field(default_factory=AlignConfig)  # which map is aligned by; either shift is judged
    gold: ParallelText | None = None
    batch_tokens: int = BATCH_TOKENS  # of forced decoding
    challenges: bool = False  # count the faults of nmt.eval.challenges, for which translations are aligned, too
    known: Callable[[str], bool] | None = None  # whether the training target has a word in lower case

    @property
    def forced(self) -> ForcedOptions:
        """How references are read."""
        return ForcedOptions(self.device, self.decode.precision, self.batch_tokens)


class PictureRequest(NamedTuple):
    """Which attention is to be pictured."""

    sentences: Sequence[int] = ()  # their places in the set; each is pictured as reference and as translation
    self_attention: bool = False  # and the self-attention of both sides over the reference pair


def evaluate(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    text: ParallelText,
    options: EvaluationOptions,
    pictures: PictureRequest | None = None,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Loss of the references and metrics of the model's own translations.

    The references are force-decoded for the loss.  The raw sources are translated (blank ones to blank lines),
    detokenized and scored against the raw references.

    ``progress`` is called with the number of sentences translated since its last call.  The model is on
    ``options.device``; its mode is put back, and nothing is drawn from torch's random numbers unless ``options.decode``
    samples.  No figure depends on ``pictures`` or ``progress``, nor on ``options.batch_tokens`` but through rounding.

    Raises ConfigError for an unknown metric, DataError for no sentences or for bad gold links, ValueError if
    ``pictures`` names a sentence that ``options.limit`` leaves out.
    """
    check_names(options.metrics, "metrics")
    began = time.perf_counter()
    options = replace(options, languages=languages_of(text, options.languages))
    (source_language, target_language), with_bleu = options.languages, "bleu" in options.metrics
    part = EvaluatedPart(text, spread(len(text), options.limit), tokenizers)
    with evaluating(model):
        loss, target_tokens = mean_loss(model, part, options)
        best, search_seconds = best_translations(model, tokenizers, part, options, progress)
        drawn = draw_pictures(Painter(model, tokenizers, options.forced), part, best, pictures or PictureRequest())
        judged = judge_alignment(model, tokenizers, part, options)
    hypotheses = part.lines(tokenizers.target.decode([h.ids for h in best]))
    lengths = text_lengths(part.sources, source_language)
    return Evaluation(
        name=text.name,
        set_sentences=len(text),
        indices=part.indices,
        loss=loss,
        target_tokens=target_tokens,
        hypotheses=hypotheses,
        scores=score_corpus(options.metrics, hypotheses, part.targets, target_language),
        by_length=bleu_by_length(hypotheses, part.targets, lengths, target_language) if with_bleu else [],
        alignment=judged,
        tokens=sum(len(h.ids) + h.finished for h in best),
        search_seconds=search_seconds,
        seconds=time.perf_counter() - began,
        pictures=drawn,
        challenges=judge_challenges(model, tokenizers, part, hypotheses, best, options) if options.challenges else None,
        notes=[
            *notes_on_references(part.targets, target_language, text.target_file),
            *notes_on_translations(hypotheses),
        ],
    )


class EvaluatedPart:
    """The sentences of a set that are evaluated."""

    def __init__(self, text: ParallelText, indices: list[int], tokenizers: Tokenizers) -> None:
        if not indices:
            raise DataError(f"{text.name} has no sentences to evaluate")
        self.text, self.indices = text, indices
        self.sources, self.targets = [text.source[i] for i in indices], [text.target[i] for i in indices]
        self.tags = [""] * len(indices) if text.tags is None else [text.tags[i] for i in indices]
        read = text.tagged_source()
        self.source_ids = tokenizers.source.encode([read[i] for i in indices])
        self.target_ids = tokenizers.target.encode(self.targets)

    def lines(self, translations: Sequence[str]) -> list[str]:
        """Translations as they stand in a file: one line each, blank where the source is."""
        pairs = zip(self.sources, translations, strict=True)
        return ["" if blank(source) else one_line(translation) for source, translation in pairs]


def languages_of(text: ParallelText, usual: tuple[str, str]) -> tuple[str, str]:
    """Source and target language of a set: its own, and else the ``usual`` ones."""
    return text.source_language or usual[0], text.language or usual[1]


def count_of(part: int, whole: int) -> str:
    """How many sentences were evaluated, as tables show it: 1,000, or 20 of 1,000."""
    return f"{part:,} of {whole:,}" if part < whole else f"{part:,}"


def spread(total: int, limit: int | None) -> list[int]:
    """``limit`` places evenly spread over ``total``, always the same; all where ``limit`` is None or not less."""
    if limit is None or limit >= total:
        return list(range(total))
    return [i * total // limit for i in range(limit)]


def sentences_to_draw(text: ParallelText, tokenizers: Tokenizers, count: int, limit: int | None = None) -> list[int]:
    """Places of ``count`` sentences of different lengths, among those of ``spread`` and legible as heatmaps.

    Always the same for the same set and tokenizers.  Fewer where there are fewer.
    """
    part, read = spread(len(text), limit), text.tagged_source()
    encoded = (
        tokenizers.source.encode([read[i] for i in part]),
        tokenizers.target.encode([text.target[i] for i in part]),
    )
    sizes = {i: (len(s), len(t)) for i, s, t in zip(part, *encoded, strict=True)}
    legible = sorted((i for i, size in sizes.items() if min(size) > 0 and max(size) < LEGIBLE), key=lambda i: sizes[i])
    count = min(count, len(legible))
    return sorted(legible[(2 * k + 1) * len(legible) // (2 * count)] for k in range(count))


def mean_loss(model: Seq2Seq, part: EvaluatedPart, options: EvaluationOptions) -> tuple[float, int]:
    """Nats per target token over all sentences together, and the number of those tokens."""
    results = dict(force_decode(model, part.source_ids, part.target_ids, options.forced))
    tokens = sum(len(forced.token_log_probs) for forced in results.values())
    return math.fsum(-forced.log_prob for forced in results.values()) / tokens, tokens


def best_translations(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    part: EvaluatedPart,
    options: EvaluationOptions,
    progress: Callable[[int], object] | None,
) -> tuple[list[Hypothesis], float]:
    """The best translation of each sentence, and the seconds that the search took."""
    began = time.perf_counter()
    found = translate_ids(
        model,
        part.source_ids,
        options.decode,
        options.device,
        progress=progress,
        reranking=reranking(options.decode, tokenizers, options.languages[1]),
    )
    return [hypotheses[0] for hypotheses in found], time.perf_counter() - began


def draw_pictures(
    painter: Painter, part: EvaluatedPart, best: Sequence[Hypothesis], wanted: PictureRequest
) -> list[Picture]:
    """All pictures that are wanted; ``best``: the translations found for the sentences of ``part``.

    A translation's maps are read by forcing it.  They are those of its search, because attention depends on nothing but
    the source and the words so far; and so the search itself is the same whichever sentences are pictured.
    Raises ValueError for a sentence that is not evaluated.
    """
    left_out = set(wanted.sentences) - set(part.indices)
    if left_out:
        raise ValueError(f"sentences {sorted(left_out)} are to be pictured but not evaluated")
    rows = [part.indices.index(i) for i in wanted.sentences]
    references = [Pair(part.indices[row], part.source_ids[row], part.target_ids[row]) for row in rows]
    translations = [pair._replace(target=best[row].ids) for pair, row in zip(references, rows, strict=True)]
    both = painter.attention(references, "reference"), painter.attention(translations, "translation")
    pictures = [picture for of_sentence in zip(*both, strict=True) for picture in of_sentence]
    return pictures + painter.self_attention(references) if wanted.self_attention else pictures


def judge_challenges(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    part: EvaluatedPart,
    hypotheses: Sequence[str],
    best: Sequence[Hypothesis],
    options: EvaluationOptions,
) -> Challenges:
    """The faults of the translations; source words are unaligned that no target word attends to most."""
    finished = [hypothesis.finished for hypothesis in best]
    rows = zip(part.sources, hypotheses, part.tags, strict=True)
    pairs = [(s, h, tag) for s, h, tag in rows if not blank(s) and not blank(h)]
    shift, pool = options.alignment.steps_later, options.alignment.pool
    unaligned: Share | None = None
    if pairs:
        sources, translations, tags = map(list, zip(*pairs, strict=True))
        with contextlib.suppress(NoAttentionError):
            maps = tagged_pair_maps(model, tokenizers, (sources, translations), tags, options)
            links = (hard_alignment(found.between_words(shift, pool)).sure for found in maps)
            unaligned = unaligned_words(zip(links, (len(split_words(s)) for s in sources), strict=True))
    return challenges(part.sources, part.targets, hypotheses, finished, options.known, unaligned)


def tagged_pair_maps(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    texts: tuple[Sequence[str], Sequence[str]],
    tags: Sequence[str],
    options: EvaluationOptions,
) -> Iterator[PairMap]:
    """``pair_maps`` of sources without their tags, of which there may be several; they count as no word."""
    if not any(tags):
        yield from pair_maps(model, tokenizers, *texts, options.forced, options.alignment)
        return
    found: dict[int, PairMap] = {}
    for tag in dict.fromkeys(tags):
        places = [place for place, one in enumerate(tags) if one == tag]
        sides = replace(tokenizers, source=TaggedTokenizer(tokenizers.source, tag))
        sources, targets = ([side[place] for place in places] for side in texts)
        maps = pair_maps(model, sides, sources, targets, options.forced, options.alignment)
        found.update(zip(places, maps, strict=True))
    yield from (found[place] for place in range(len(tags)))


def judge_alignment(
    model: Seq2Seq, tokenizers: Tokenizers, part: EvaluatedPart, options: EvaluationOptions
) -> dict[int, AlignmentScore]:
    """The references' attention against gold links, by shift; nothing without those links or without attention."""
    if options.gold is not None:
        part = EvaluatedPart(options.gold, spread(len(options.gold), options.limit), tokenizers)
    text, config = part.text, options.alignment
    if text.gold is None:
        return {}
    lengths = [(len(split_words(s)), len(split_words(t))) for s, t in zip(text.source, text.target, strict=True)]
    gold = parse_pharaoh(text.gold, f"gold links of {text.name}", lengths)
    found: dict[int, list[Alignment]] = {shift: [] for shift in SHIFTS}
    try:
        for pair in tagged_pair_maps(model, tokenizers, (part.sources, part.targets), part.tags, options):
            for shift, links in found.items():
                links.append(hard_alignment(pair.between_words(shift, config.pool)))
    except NoAttentionError:
        return {}
    return {shift: score_alignments(links, [gold[i] for i in part.indices]) for shift, links in found.items()}
