"""Training pairs, validation text and test sets of a data config, whatever kind of corpus it describes."""

import json
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from nmt.data.directions import Directions
from nmt.data.files import Files, FilesConfig, paths, read_text, stamp, stamps
from nmt.data.hub import Hub, HubConfig
from nmt.data.mixed_corpus import Mixed
from nmt.data.named import HansardsEnFrConfig, Multi30kConfig, Named, NewsEnDeConfig
from nmt.data.pharaoh import leading_words, parse_line, parse_pharaoh, split_words
from nmt.data.phrases import Phrases, PhrasesConfig
from nmt.data.sacrebleu_sets import DATASETS as DATASETS_OF_SACREBLEU
from nmt.data.sacrebleu_sets import sacrebleu_text
from nmt.data.text import VALIDATION, Corpus, DataConfig, NoSuchTestError, ParallelText, TextFiles
from nmt.data.textfile import home_expanded, lines, strict_lines
from nmt.errors import ConfigError, DataError

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
    """The corpus that ``config`` describes, of all its directions."""
    if config.pairs or config.tags:
        return Directions(config, open_corpus)
    if config.more:
        return Mixed(config, DATASETS[type(config)](config))
    return DATASETS[type(config)](config)


def training_pairs(config: DataConfig, seed: int) -> Iterator[tuple[str, ...]]:
    """The training text, streamed and never all in memory: raw lines without line ends and byte order mark.

    ``seed`` is that of a generated corpus (phrases); text from files does not depend on it.  Bytes that are not UTF-8
    arrive as surrogates (PEP 383), for ``checks.clean`` to find.  Files of unequal length raise DataError, or end in
    pairs with ``checks.UNPAIRED`` if data.checks.line_counts says so.
    """
    corpus = open_corpus(config)
    return corpus.with_tags(corpus.untagged(seed))


def linked_pairs(corpus: Corpus, seed: int) -> Iterator[tuple[str, str, str]]:
    """The training text of an open corpus, each pair with a line of Pharaoh links.

    The lines are those of data.alignments or, where it is null, those that the corpus brings.  Raises ConfigError
    where there are none, DataError for lines that do not belong to the pairs.
    """
    given = corpus.config.alignments
    if given is None:
        yield from islice(corpus.linked_pairs(seed), corpus.config.limit)
        return
    files = paths(given, "data.alignments")
    links = ((f"{path}:{number}", line) for path in files for number, line in enumerate(lines(path), 1))
    # All of both are counted: where a line is missing, links before data.limit may be those of other pairs.
    for count, (pair, found) in enumerate(zip_longest(corpus.pairs(seed), links)):
        if pair is None or found is None:
            fewer, more = ("lines", "pairs") if found is None else ("pairs", "lines")
            raise DataError(f"data.alignments={given}: there are only {count:,} {fewer}, and more training {more}")
        if corpus.config.limit is not None and count >= corpus.config.limit:
            continue
        where, line = found
        alignment = parse_line(line, where, (len(split_words(pair[0])), len(split_words(pair[1]))))
        # The checks strip the edges of a text, and words that hold no more than a no-break space with them.
        lost = leading_words(pair[0]), leading_words(pair[1])
        yield pair[0], pair[1], str(alignment.shifted(*lost)) if any(lost) else line


def validation_text(config: DataConfig) -> ParallelText:
    """The text that models are validated on during training; where data.gold is a file, with its links.

    Raises DataError for unequal sides, bytes that are not UTF-8, and links that do not belong to the sentences.
    """
    corpus = open_corpus(config)
    text = corpus.validation()
    path = gold_file(corpus)
    if path is not None:
        text.gold = strict_lines(path)
        check_gold(text, str(path))
    elif text.gold is not None:
        check_gold(text, gold_name(config, text.name))
    return text


def gold_file(corpus: Corpus) -> Path | None:
    """The file of links that data.gold names; None where it is null or a test set.  Raises DataError where it is none
    of these."""
    given = corpus.config.gold
    if given is None or given in tests_of(corpus):
        return None
    path = home_expanded(given, "data.gold")
    if not path.is_file():
        if isinstance(corpus, Named):
            corpus.split("train")  # where the whole corpus is missing, says so and how to get it
        raise DataError(
            f"data.gold={given} is neither a file (looked for from {Path.cwd()}) nor a test set; "
            f"there are: {', '.join(tests_of(corpus)) or 'none'}"
        )
    return path


def gold_text(config: DataConfig) -> ParallelText | None:
    """The test set that data.gold names, with its gold links; None where it names none.

    Raises ConfigError for one without links, DataError for links that do not belong to its sentences.
    """
    corpus = open_corpus(config)
    if config.gold is None or config.gold not in tests_of(corpus):
        return None
    text = test_text(corpus, config.gold)
    if text.gold is None:
        raise ConfigError(f"data.gold={config.gold}: this test set has no gold links, or none for its languages")
    check_gold(text, gold_name(config, text.name))
    return text


def gold_name(config: DataConfig, name: str) -> str:
    """What messages call the gold links of a held-out set: the key and the file, where both were typed."""
    if isinstance(config, FilesConfig) and name == "validation":
        return f"data.validation.gold={config.validation.gold}"
    files = config.tests.get(name)
    return f"gold links of {name}" if files is None else f"data.tests.{name}.gold={files.gold}"


def check_gold(text: ParallelText, name: str) -> None:
    """Raise DataError, naming ``name`` and the line, unless there are good links for each pair."""
    lengths = [(len(split_words(s)), len(split_words(t))) for s, t in zip(text.source, text.target, strict=True)]
    parse_pharaoh(text.gold or [], name, lengths)


def tests_of(corpus: Corpus) -> list[str]:
    """The names of an open corpus's test sets, data.tests included.

    Raises ConfigError for a test set that has the name of the validation set, whose scores it would replace.
    """
    if VALIDATION in corpus.config.tests:
        raise ConfigError(
            f"data.tests.{VALIDATION}: {VALIDATION} is the name of the validation set; give this test set another name "
            f"('~data.tests.{VALIDATION}' takes away what a run was trained with)"
        )
    return list(dict.fromkeys([*corpus.test_names(), *corpus.config.tests]))


def test_texts(config: DataConfig, names: list[str] | None = None) -> list[ParallelText]:  # noqa: PT028 - no test
    """The test sets ``names``, or those of data.test, or (where both are None) all there are, data.tests included.

    The name validation stands for the validation set.  Raises ConfigError for a name that does not exist, DataError
    for text and for gold links that cannot be used.
    """
    corpus = open_corpus(config)
    texts = []
    for name in names_of_tests(corpus, config.test if names is None else names):
        # With the links that data.gold brings for the validation set.
        text = validation_text(config) if name == VALIDATION else test_text(corpus, name)
        if text.gold is not None and name != VALIDATION:
            check_gold(text, gold_name(config, name))
        texts.append(text)
    return texts


def names_of_tests(corpus: Corpus, chosen: list[str] | None) -> list[str]:
    """The names of ``chosen`` test sets of an open corpus, each once; of all it has where ``chosen`` is None."""
    if chosen is None:
        return tests_of(corpus)
    return list(dict.fromkeys(name for given in chosen for name in corpus.chosen(given)))


def test_text(corpus: Corpus, name: str) -> ParallelText:
    """A test set of data.tests, of an open corpus or of sacreBLEU, in this order; ConfigError where there is none."""
    extra = corpus.config.tests
    if name in extra:
        text = read_text(name, extra[name], f"data.tests.{name}")
        # Beside several directions there is no data.tests.
        return corpus.with_tag(corpus.apart()[0], text) if isinstance(corpus, Directions) else text
    try:
        return corpus.test(name)
    except NoSuchTestError:
        if name not in DATASETS_OF_SACREBLEU or isinstance(corpus, Directions):
            raise
    return sacrebleu_text(name, corpus.config)


def sets_of_sacrebleu(corpus: Corpus) -> list[str]:
    """The sets that data.test names and that only sacreBLEU has."""
    if isinstance(corpus, Directions):  # those of sacreBLEU have no tags
        return []
    own = (VALIDATION, *tests_of(corpus))
    return [name for name in corpus.config.test or () if name in DATASETS_OF_SACREBLEU and name not in own]


def held_out_sentences(config: DataConfig) -> Iterator[str]:
    """Every sentence of the validation set and of all test sets, in both languages: what must not be trained on.

    Without tags, as ``checks.clean`` sees it.
    """
    whole = open_corpus(config)
    own = [test_text(whole, name) for name in config.tests]
    for corpus in whole.apart():
        names = (*corpus.test_names(), *sets_of_sacrebleu(corpus))
        own += [corpus.validation(), *(test_text(corpus, name) for name in names if name not in config.tests)]
    for text in own:
        yield from text.source
        yield from text.target


def fingerprint(config: DataConfig, seed: int) -> str:
    """Everything that the text of ``training_pairs`` and ``held_out_sentences`` depends on, as a line of JSON."""
    tests = {name: stamps(files, f"data.tests.{name}") for name, files in config.tests.items()}
    corpus = open_corpus(config)
    parts = {"name": config.name, "corpus": corpus.fingerprint(seed), "tests": tests}
    if config.limit is not None:
        parts["limit"] = config.limit
    fixed = sets_of_sacrebleu(corpus)  # whose text never changes
    if fixed:
        parts["sacrebleu"] = fixed
    return json.dumps(parts, sort_keys=True)


def links_fingerprint(config: DataConfig) -> list[list[Any]]:
    """Everything besides that the word alignment of the training text depends on, in JSON types."""
    return [] if config.alignments is None else [stamp(path) for path in paths(config.alignments, "data.alignments")]
