"""BLEU, chrF, TER and whatever else METRICS has, by sacreBLEU: a number here is the number its command line prints.

METRICS is the one table of metrics.  A row of it can be named in eval.metrics, in trainer.metric, and, if it has a
score of a single sentence, in decode.mbr; a program of one's own can add a row before it makes a configuration.

Texts are compared line by line as ``sacrebleu REFERENCE -i HYPOTHESES`` reads them: lines end at U+000A alone, and
white space at their ends does not count.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sacrebleu.metrics.base import Metric as SacrebleuMetric
from sacrebleu.metrics.base import Signature
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nmt.errors import ConfigError, DataError
from nmt.languages import HAN, KOREAN, language_of, script_of, without_spaces
from nmt.libraries import needed
from nmt.settings import check_ranges, setting

# Upper ends of the source lengths that BLEU is given for.
LENGTH_EDGES = (10, 20, 30, 40, 50)


class Preparation(NamedTuple):
    """What is done to each line of hypotheses and references before a metric sees it."""

    line: Callable[[str], str] = str
    signature: Mapping[str, str] = {}  # what the metric's signature has to say of it


@dataclass(frozen=True)
class Metric:
    """A row of METRICS.  Its functions take the code of the target language ("" where it is not known)."""

    corpus: Callable[[str], SacrebleuMetric]  # makes the metric of a whole set
    sentence: Callable[[str], SacrebleuMetric] | None = None  # and of one sentence; None: it has no such score
    higher_is_better: bool = True
    prepare: Callable[[str], Preparation] = lambda _: Preparation()
    title: str = ""  # where the name that sacreBLEU gives the metric would mislead


@dataclass(frozen=True)
class CorpusScore:
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


@dataclass
class EvalConfig:
    """What is measured (eval.*)."""

    metrics: list[str] = setting(
        ["bleu", "chrf", "ter"],
        "what to score by; bleu_lc_moses is the scale on which Multi30k is published",
        choices=lambda: tuple(METRICS),
    )
    limit: int | None = setting(None, "score so many sentences, evenly spread over the set; null: all", least=1)

    def __post_init__(self) -> None:
        check_ranges(self, "eval")


class PreparedMetric:
    """A metric of whole sets, made for a target language, and the lines that it is to see.

    Raises ConfigError for a name that is not in METRICS and where a package is missing.
    """

    def __init__(self, name: str, target_language: str = "") -> None:
        check_names([name], "metrics")
        row = METRICS[name]
        self.preparation, self.title = row.prepare(target_language), row.title
        self.metric = row.corpus(target_language)

    def lines(self, texts: Sequence[str]) -> list[str]:
        """Texts as the metric is to see them."""
        return [self.preparation.line(text) for text in texts]

    def signature(self, own: Signature) -> str:
        """A signature of the metric, with what was done to the lines written into it."""
        for key, value in self.preparation.signature.items():
            own.update(key, value)
        return str(own)


def score_corpus(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], target_language: str = ""
) -> dict[str, CorpusScore]:
    """Each named metric over the whole set.

    ``hypotheses`` are detokenized lines, ``references`` the untouched ones; ``target_language`` (zh, de_AT, ...)
    chooses the tokenizer of BLEU, which its signature names.  Raises ConfigError for an unknown metric
    and where a package is missing, DataError for unequal counts or no sentences.
    """
    check_names(names, "metrics")
    check_counts(hypotheses, references)
    results = {}
    for name in names:
        prepared = PreparedMetric(name, target_language)
        result = prepared.metric.corpus_score(prepared.lines(hypotheses), [prepared.lines(references)])
        signature = prepared.signature(prepared.metric.get_signature())
        results[name] = CorpusScore(prepared.title or result.name, result.score, signature, result._verbose)
        forget_lines(prepared.metric)
    return results


def forget_lines(metric: SacrebleuMetric) -> None:
    """Empty the caches of a metric's tokenizers.

    sacreBLEU keeps the last 65,536 lines that each kind of tokenizer has seen, apart for each object: those of a long
    training would grow by every validation.
    """
    tokenizer = getattr(metric, "tokenizer", None)
    while tokenizer is not None:
        empty = getattr(type(tokenizer).__call__, "cache_clear", None)
        if empty is not None:
            empty()
        tokenizer = getattr(tokenizer, "_post_tokenizer", None)


def sentence_utility(name: str, target_language: str = "") -> Callable[[str, str], float]:
    """u(hypothesis, reference) of one sentence by the metric of that name, the larger the better: TER counts negative.

    BLEU is that of ``sacrebleu --sentence-level``: only orders that the hypothesis has n-grams of count.
    Raises ConfigError for a name that ``sentence_metrics`` does not list and where a package is missing.
    """
    check_utility(name)
    row = METRICS[name]
    assert row.sentence is not None
    metric, sign = row.sentence(target_language), 1 if row.higher_is_better else -1
    # Each of the N candidates of a sentence is compared with N others; most preparations are slow.
    prepare = functools.lru_cache(maxsize=4096)(row.prepare(target_language).line)
    return lambda hypothesis, reference: sign * metric.sentence_score(prepare(hypothesis), [prepare(reference)]).score


def sentence_metrics() -> tuple[str, ...]:
    """The names of the metrics that have a score of one sentence, which minimum Bayes risk can use."""
    return tuple(name for name, row in METRICS.items() if row.sentence is not None)


def bleu_by_length(
    hypotheses: Sequence[str], references: Sequence[str], source_lengths: Sequence[int], target_language: str = ""
) -> list[LengthBucket]:
    """BLEU by bucket of source length (as Luong et al. 2015, figure 6); empty buckets are left out."""
    buckets = []
    for below, edge in zip((0, *LENGTH_EDGES), (*LENGTH_EDGES, None), strict=True):
        inside = [i for i, n in enumerate(source_lengths) if max(n, 1) > below and (edge is None or n <= edge)]
        if inside:
            value = score_corpus(
                ["bleu"], [hypotheses[i] for i in inside], [references[i] for i in inside], target_language
            )
            buckets.append(LengthBucket(below + 1, edge, len(inside), value["bleu"].value))
    return buckets


def text_lengths(texts: Sequence[str], language: str = "") -> list[int]:
    """Words of each text; characters for languages written without spaces."""
    if without_spaces(language):
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


def check_utility(name: str, key: str = "decode.mbr") -> None:
    """Raises ConfigError, naming ``key``, for a metric without a score of one sentence; see ``sentence_metrics``."""
    if name not in sentence_metrics():
        raise ConfigError(f"{key}: {name!r} is not one of none, {', '.join(sentence_metrics())}")


def check_counts(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raises DataError unless there is a reference for each hypothesis, and at least one."""
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    if not hypotheses:
        raise DataError("there are no sentences to score")


def bleu_tokenizer(language: str) -> str:
    """The tokenizer of BLEU for a target language: characters where words have no spaces between them.

    zh counts Chinese characters and keeps words of other scripts whole.  sacreBLEU's own choice for Japanese and Korean
    needs MeCab and a dictionary; a fixed rule keeps a number from depending on what is installed.  For the other
    number: sacrebleu -tok ja-mecab REFERENCE -i HYPOTHESES.
    """
    script = script_of(language)
    if script in HAN:
        return "zh"
    return "char" if without_spaces(language) or script in KOREAN else "13a"


# trg_lang is not passed on: it would only warn that the tokenizer is not the one sacreBLEU prefers.  force changes no
# number: of tokenized text ``references.notes_on_translations`` warns once, not sacreBLEU for each metric and bucket.
def _bleu(target_language: str) -> BLEU:
    return BLEU(tokenize=bleu_tokenizer(target_language), force=True)


def _sentence_bleu(target_language: str) -> BLEU:
    return BLEU(tokenize=bleu_tokenizer(target_language), effective_order=True, force=True)


def _lowercase_moses(target_language: str) -> Preparation:
    """The scale on which Multi30k is published: multi-bleu over lowercased, Moses-tokenized text.

    As the data set's own scripts/task1-tokenize.sh: lower-case, normalize punctuation, tokenize without
    -a (hyphens stay).  The reference of test_2016_flickr in German then has 12103 tokens.  Not to be
    compared with BLEU on raw text.
    """
    sacremoses = needed("sacremoses", "eval.metrics: bleu_lc_moses", extra="moses")
    language = language_of(target_language) or "en"
    normalizer, tokenizer = sacremoses.MosesPunctNormalizer(language), sacremoses.MosesTokenizer(language)

    def prepare(line: str) -> str:
        # Escaping (&apos; for ') renames tokens on both sides alike and changes no count.
        return str(tokenizer.tokenize(normalizer.normalize(line.lower()), return_str=True, escape=False))

    written = {"case": "lc", "tok": f"moses-{language}", "norm": "moses", "sacremoses": sacremoses.__version__}
    return Preparation(prepare, written)


METRICS: dict[str, Metric] = {
    "bleu": Metric(_bleu, _sentence_bleu),
    "chrf": Metric(lambda _: CHRF(), lambda _: CHRF()),
    "chrfpp": Metric(lambda _: CHRF(word_order=2), lambda _: CHRF(word_order=2)),
    "ter": Metric(lambda _: TER(), lambda _: TER(), higher_is_better=False),
    "bleu_lc_moses": Metric(
        lambda _: BLEU(tokenize="none", smooth_method="none", force=True),
        lambda _: BLEU(tokenize="none", force=True, effective_order=True),
        prepare=_lowercase_moses,
        title="BLEU-lc-moses",
    ),
}
