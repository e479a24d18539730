"""Parallel text of every kind, behind a few functions: training pairs, validation text, test texts."""

import json
from collections.abc import Iterator

from nmt.data.files import Files, FilesConfig, read_text, stamps
from nmt.data.hub import Hub, HubConfig
from nmt.data.named import HansardsEnFrConfig, Multi30kConfig, Named, NewsEnDeConfig
from nmt.data.phrases import Phrases, PhrasesConfig
from nmt.data.text import Corpus, DataConfig, ParallelText, TextFiles

__all__ = [
    "DATASETS",
    "Corpus",
    "DataConfig",
    "FilesConfig",
    "HansardsEnFrConfig",
    "HubConfig",
    "Multi30kConfig",
    "NewsEnDeConfig",
    "ParallelText",
    "PhrasesConfig",
    "TextFiles",
]

# Config dataclass to the class that reads it.  The command line, --help and open_corpus read this one table.
DATASETS: dict[type[DataConfig], type[Corpus]] = {
    PhrasesConfig: Phrases,
    Multi30kConfig: Named,
    NewsEnDeConfig: Named,
    HansardsEnFrConfig: Named,
    FilesConfig: Files,
    HubConfig: Hub,
}


def open_corpus(config: DataConfig) -> Corpus:
    """The corpus that ``config`` describes."""
    return DATASETS[type(config)](config)


def training_pairs(config: DataConfig, seed: int) -> Iterator[tuple[str, str]]:
    """The training text, streamed and never held: raw lines without line ends and byte order mark.

    ``seed`` draws the corpus that is generated (phrases); text from files is what it is.  Bytes that are not UTF-8
    arrive as surrogates (PEP 383), for ``checks.clean`` to find.  Files of unequal length raise DataError, or end in
    pairs with ``checks.UNPAIRED`` if data.checks.line_counts says so.
    """
    return open_corpus(config).pairs(seed)


def validation_text(config: DataConfig) -> ParallelText:
    """The text that training is steered by; raises DataError for unequal sides and bytes that are not UTF-8."""
    return open_corpus(config).validation()


def test_texts(config: DataConfig, names: list[str] | None = None) -> list[ParallelText]:  # noqa: PT028 - no test
    """The test sets ``names``, or those of data.test, or (where that is empty) all there are, data.tests included.

    Raises ConfigError for a name that does not exist, DataError for text that cannot be used.
    """
    return named_tests(open_corpus(config), names or config.test)


def named_tests(corpus: Corpus, names: list[str]) -> list[ParallelText]:
    """The test sets of an open corpus and of its data.tests, all of them if ``names`` is empty."""
    extra = corpus.config.tests
    return [
        read_text(name, extra[name], f"data.tests.{name}") if name in extra else corpus.test(name)
        for name in names or dict.fromkeys([*corpus.test_names(), *extra])
    ]


def held_out_sentences(config: DataConfig) -> Iterator[str]:
    """Every sentence of the validation set and of all test sets, in both languages: what must not be trained on."""
    corpus = open_corpus(config)
    for text in (corpus.validation(), *named_tests(corpus, [])):
        yield from text.source
        yield from text.target


def fingerprint(config: DataConfig, seed: int) -> str:
    """Everything that the text of ``training_pairs`` and ``held_out_sentences`` depends on, as a line of JSON."""
    tests = {name: stamps(files, f"data.tests.{name}") for name, files in config.tests.items()}
    parts = {"name": config.name, "corpus": open_corpus(config).fingerprint(seed), "tests": tests}
    return json.dumps(parts, sort_keys=True)
