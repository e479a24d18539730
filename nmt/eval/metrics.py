"""BLEU, chrF and TER by sacreBLEU, so that a number here is the number its command line prints.

Texts are compared line by line as ``sacrebleu REFERENCE -i HYPOTHESES`` reads them: lines end at
U+000A alone, and white space at their ends does not count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sacrebleu.metrics.base import Metric, Signature
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.errors import ConfigError, DataError, UserError

# Languages written without spaces: their length is counted in characters.  sacreBLEU's own choice
# for Japanese and Korean needs MeCab and a dictionary; a fixed rule keeps a number from depending on
# what is installed.  For the other number: sacrebleu -tok ja-mecab REFERENCE -i HYPOTHESES.
SPACELESS = ("zh", "ja", "th", "lo", "km", "my")
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char", "lo": "char", "km": "char", "my": "char"}

# Upper ends of the source lengths that BLEU is given for.
LENGTH_EDGES = (10, 20, 30, 40, 50)


@dataclass(frozen=True)
class Score:
    """One number of one metric over a whole set."""

    name: str  # as the metric calls itself
    value: float  # per cent; TER may pass 100
    signature: str  # everything needed to compute it again
    detail: str = ""  # BLEU: precisions, brevity penalty, lengths

    def __str__(self) -> str:
        return f"{self.name}|{self.signature} = {self.value:.2f} {self.detail}".rstrip()


@dataclass(frozen=True)
class LengthBucket:
    """BLEU of the sentences whose source has ``shortest`` to ``longest`` words."""

    shortest: int
    longest: int | None  # None: no end
    sentences: int
    bleu: float

    def __str__(self) -> str:
        span = f"{self.shortest}+" if self.longest is None else f"{self.shortest}-{self.longest}"
        return f"{span:>6} words  {self.bleu:6.2f} BLEU  {self.sentences:6d} sentences"


class Measure(NamedTuple):
    """A sacreBLEU metric and what is done to hypotheses and references before it sees them."""

    metric: Metric
    prepare: Callable[[str], str]
    written: dict[str, str]  # what the metric cannot know about ``prepare``, for the signature
    name: str = ""  # where the metric's own would mislead

    def lines(self, texts: Sequence[str]) -> list[str]:
        """Texts as the metric is to see them."""
        return [self.prepare(text) for text in texts]

    def sign(self, signature: Signature) -> str:
        """A sacreBLEU signature, with what ``prepare`` did written into it."""
        for key, value in self.written.items():
            signature.update(key, value)
        return str(signature)


@dataclass
class EvalConfig:
    """What is measured (eval.*)."""

    metrics: list[str] = field(
        default_factory=lambda: ["bleu", "chrf", "ter"],
        metadata={"help": "any of bleu, chrf, ter, bleu_lc_moses (the published Multi30k scale)"},
    )
    limit: int | None = field(
        default=None, metadata={"help": "score so many sentences, evenly spread over the set; null: all"}
    )

    def __post_init__(self) -> None:
        if isinstance(self.metrics, list):
            check_names(self.metrics, "eval.metrics")
        if isinstance(self.limit, int) and self.limit < 1:
            raise ConfigError(f"eval.limit must be at least 1, got {self.limit}")


def score(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], target_language: str = ""
) -> dict[str, Score]:
    """Each named metric over the whole set.

    ``hypotheses`` are detokenized lines, ``references`` the untouched ones; ``target_language`` (ISO 639-1)
    chooses the tokenizer of BLEU, which its signature names.  Raises ConfigError for an unknown metric,
    DataError for unequal counts or no sentences, UserError where a package is missing.
    """
    check_names(names, "metrics")
    check_counts(hypotheses, references)
    results = {}
    for name in names:
        measure = METRICS[name](target_language)
        result = measure.metric.corpus_score(measure.lines(hypotheses), [measure.lines(references)])
        signature = measure.sign(measure.metric.get_signature())
        results[name] = Score(measure.name or result.name, result.score, signature, result._verbose)
    return results


def bleu_by_length(
    hypotheses: Sequence[str], references: Sequence[str], source_lengths: Sequence[int], target_language: str = ""
) -> list[LengthBucket]:
    """BLEU by bucket of source length (as Luong et al. 2015, figure 6); empty buckets are left out."""
    buckets = []
    for below, edge in zip((0, *LENGTH_EDGES), (*LENGTH_EDGES, None), strict=True):
        inside = [i for i, n in enumerate(source_lengths) if max(n, 1) > below and (edge is None or n <= edge)]
        if inside:
            value = score(["bleu"], [hypotheses[i] for i in inside], [references[i] for i in inside], target_language)
            buckets.append(LengthBucket(below + 1, edge, len(inside), value["bleu"].value))
    return buckets


def text_lengths(texts: Sequence[str], language: str = "") -> list[int]:
    """Words of each text; characters for languages written without spaces."""
    if language in SPACELESS:
        return [sum(not c.isspace() for c in text) for text in texts]
    return [len(text.split()) for text in texts]


def one_line(text: str) -> str:
    """Text without line ends, so that it stands in a file as one line; other odd characters stay as they are."""
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")


def check_names(names: Sequence[str], key: str) -> None:
    """Raises ConfigError, naming ``key``, for a metric that is not in the table."""
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"{key}: {name!r} is not one of {', '.join(METRICS)}")


def check_counts(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raises DataError unless there is a reference for each hypothesis, and at least one."""
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    if not hypotheses:
        raise DataError("there are no sentences to score")


def _bleu(target_language: str) -> Measure:
    # trg_lang is not passed on: it would only warn that the tokenizer is not the one sacreBLEU prefers.
    return Measure(BLEU(tokenize=BLEU_TOKENIZERS.get(target_language, "13a")), str, {})


def _bleu_lc_moses(target_language: str) -> Measure:
    """The scale on which Multi30k is published: multi-bleu over lowercased, Moses-tokenized text.

    As the data set's own scripts/task1-tokenize.sh: lower-case, normalize punctuation, tokenize without
    -a (hyphens stay).  The reference of test_2016_flickr in German then has 12103 tokens.  Not to be
    compared with BLEU on raw text.
    """
    try:
        import sacremoses
    except ImportError:
        raise UserError("bleu_lc_moses needs the package sacremoses: pip install sacremoses") from None
    language = target_language or "en"
    normalizer, tokenizer = sacremoses.MosesPunctNormalizer(language), sacremoses.MosesTokenizer(language)

    def prepare(line: str) -> str:
        # Escaping (&apos; for ') renames tokens on both sides alike and changes no count.
        return str(tokenizer.tokenize(normalizer.normalize(line.lower()), return_str=True, escape=False))

    written = {"case": "lc", "tok": f"moses-{language}", "norm": "moses", "sacremoses": sacremoses.__version__}
    return Measure(BLEU(tokenize="none", smooth_method="none", force=True), prepare, written, "BLEU-lc-moses")


# Name on the command line -> metric for a target language.
METRICS: dict[str, Callable[[str], Measure]] = {
    "bleu": _bleu,
    "chrf": lambda _: Measure(CHRF(), str, {}),
    "ter": lambda _: Measure(TER(), str, {}),
    "bleu_lc_moses": _bleu_lc_moses,
}
