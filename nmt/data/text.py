"""What all kinds of corpus have in common: configuration keys, sets of sentence pairs, and the base class."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

from nmt.data.batching import BatchingConfig
from nmt.data.checks import ChecksConfig, Side
from nmt.data.mixing import MixConfig
from nmt.data.noise import NoiseConfig
from nmt.data.tokenizer import TokenizerConfig
from nmt.errors import ConfigError, DataError
from nmt.settings import check_ranges, setting

VALIDATION = "validation"  # what messages, folders of results and data.test call the validation set


@dataclass
class ParallelText:
    """A small set of sentence pairs in memory: for validation and for tests.

    The text is that of the file, without line ends and a byte order mark: scores are computed against it.
    ``gold`` holds one line of Pharaoh links a pair (0-based ``source-target`` over the words of
    ``pharaoh.split_words``, ``i-j`` sure, ``ipj`` possible), or is None where the links are not known.  ``tags`` is
    what a model reads in front of each source (data.tags), or None where it reads the sources alone.
    """

    name: str
    source: list[str]
    target: list[str]
    gold: list[str] | None = None
    target_file: str = ""  # where the target text stands, for messages; empty where it is in no file of its own
    language: str = ""  # of the target text; empty: data.target
    source_language: str = ""  # empty: data.source
    tags: list[str] | None = None

    def __post_init__(self) -> None:
        given = [lines for lines in (self.gold, self.tags) if lines is not None]
        sizes = {len(lines) for lines in (self.source, self.target, *given)}
        if len(sizes) != 1:
            raise DataError(f"{self.name}: the sides do not have the same number of lines: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.source)

    def tagged_source(self) -> list[str]:
        """The sources as a model reads them."""
        tags = self.tags or [""] * len(self)
        return [tagged(source, tag) for source, tag in zip(self.source, tags, strict=True)]


def tagged(text: str, tag: str) -> str:
    """The text with the tag in front of it, if there is a tag."""
    return f"{tag} {text}" if tag else text


@dataclass
class TextFiles:
    """Files of parallel text: the k-th file of one side goes with the k-th of the other, line by line."""

    source: Any = setting("", "a file or a list of files, plain, .gz, .bz2, .xz or .zst", path=True)
    target: Any = setting("", "as many files, with as many lines", path=True)
    gold: str | None = setting(None, "word alignment in Pharaoh form, of a held-out set", path=True)


@dataclass
class DataConfig:
    """Fields common to every kind of data (data.*)."""

    name: str = "?"
    source: str = setting("en", "language translated from: de, deu, de-AT, deu_Latn, ...")
    target: str = setting("de", "language translated into, likewise; it chooses the tokenizer of BLEU")
    pairs: Any = setting(
        None,
        "several directions in one training, as in [en-de,de-en] (codes with _ for -), instead of data.source and "
        "data.target, which are then those of the first; data=files: the k-th files are of the k-th direction",
    )
    tags: bool = setting(
        False, "begin each source with a tag of the language to translate into, <2de>: needed for several"
    )
    root: str = setting("data", "folder of the named corpora: root/NAME/train.en ...", path=True)
    cache: str = setting("data/cache", "folder of encoded text; safe to delete", path=True)
    test: Any = setting(
        None,
        "test sets to score, by name: A or [A,B], also validation and sets of sacreBLEU (wmt14); null: every test set; "
        "[]: none",
    )
    tests: dict[str, Any] = setting(
        {}, "more test sets: data.tests.NAME.source=FILE data.tests.NAME.target=FILE, and gold, optional"
    )
    gold: str | None = setting(
        None,
        "judge alignment while training: a test set that has gold links, or a file of links (Pharaoh) for "
        "the validation set; null: the validation set's own links, if any",
        path=True,
    )
    limit: int | None = setting(
        None, "train on the first so many pairs of the corpus (of each direction); null: on all", least=1
    )
    more: dict[str, Any] = setting(
        {}, "more training text, by a name of its own: data.more.NAME.source=FILE data.more.NAME.target=FILE"
    )
    alignments: Any = setting(
        None,
        "for guided alignment: file or files of Pharaoh links, a line for each training pair; null: what "
        "the corpus knows itself (phrases)",
        path=True,
    )
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    mix: MixConfig = field(default_factory=MixConfig)

    def __post_init__(self) -> None:
        check_ranges(self, "data")
        self.test = [self.test] if isinstance(self.test, str) and self.test else self.test
        if self.test is not None and not (isinstance(self.test, list) and all(map(is_name, self.test))):
            raise ConfigError(f"data.test must be a name or a list of names, as in data.test=[A,B], got {self.test!r}")
        self.check_pairs()
        if self.tags and self.alignments is not None:
            raise ConfigError(
                "data.alignments: data.tags=true puts a word before each source, which links do not count"
            )
        # The values are dicts when they come from a command line, because Hydra cannot add a typed one by its key.
        if isinstance(self.tests, dict):
            self.tests = {name: text_files(f"data.tests.{name}", value) for name, value in self.tests.items()}
        if isinstance(self.more, dict):
            self.more = {name: text_files(f"data.more.{name}", value) for name, value in self.more.items()}
            self.check_more()

    def check_more(self) -> None:
        """Raise ConfigError for data.more and data.mix that do not go with one another."""
        for name, files in self.more.items():
            if name == self.name:
                raise ConfigError(f"data.more.{name}: {name} is the name of the corpus itself; give it another name")
            if files.gold is not None:
                raise ConfigError(f"data.more.{name}.gold does nothing: alignment is judged on held-out text")
        if self.more and self.limit is not None and self.alignments is not None:
            raise ConfigError("data.limit leaves lines of data.alignments without a pair where data.more follows")
        if not self.mix:
            return
        if len(self.corpora()) < 2:
            raise ConfigError(
                "data.mix draws from several corpora: data.more.NAME.source=FILE data.more.NAME.target=FILE adds one"
            )
        self.mix.check(self.corpora())

    def corpora(self) -> list[str]:
        """The names of the corpora that the training text consists of, in its order."""
        pairs = self.pairs or []
        return [*pairs] if len(pairs) > 1 else [self.name, *self.more]

    def check_pairs(self) -> None:
        """Raise ConfigError for data.pairs that are none, or that cannot be told apart."""
        self.pairs = [self.pairs] if isinstance(self.pairs, str) else self.pairs
        if self.pairs is None:
            return
        if not (isinstance(self.pairs, list) and self.pairs and all(map(is_pair, self.pairs))):
            raise ConfigError(f"data.pairs must be a list of directions, as in [en-de,de-en], got {self.pairs!r}")
        twice = [pair for pair, count in Counter(self.pairs).items() if count > 1]
        if twice:
            raise ConfigError(f"data.pairs names {twice[0]} twice")
        first = dict(zip(("source", "target"), self.directions()[0], strict=True))
        for key, language in first.items():
            usual = next(f.default for f in fields(self) if f.name == key)
            if getattr(self, key) not in (usual, language):
                raise ConfigError(beside_pairs(f"data.{key}", getattr(self, key)))
            setattr(self, key, language)
        if len({target for _, target in self.directions()}) > 1 and not self.tags:
            raise ConfigError("data.pairs has several target languages: data.tags=true tells the model which is wanted")
        for key in ("gold", "alignments", "tests", "more"):
            if getattr(self, key):
                raise ConfigError(f"data.{key} is for one direction, and data.pairs names {len(self.pairs)}")

    def directions(self) -> list[tuple[str, str]]:
        """Source and target language of each direction."""
        pairs = self.pairs or [f"{self.source.replace('-', '_')}-{self.target.replace('-', '_')}"]
        return [(source, target) for source, _, target in (pair.partition("-") for pair in pairs)]


def beside_pairs(key: str, language: Any) -> str:
    """What is said of a language that is typed beside data.pairs."""
    return f"{key}={language} goes with one direction: data.pairs names the languages of all"


def is_pair(value: Any) -> bool:
    """Whether a value is a direction of data.pairs."""
    source, _, target = value.partition("-") if isinstance(value, str) else ("", "", "")
    return bool(source and target) and "-" not in target and source != target


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a test set."""
    return isinstance(value, str) and bool(value)


def text_files(key: str, value: Any) -> TextFiles:
    """A TextFiles from the dict typed under ``key``; raises ConfigError for unknown and missing parts."""
    if isinstance(value, TextFiles):
        return value
    if not isinstance(value, dict):
        raise ConfigError(f"{key}={value} is no test set: type {key}.source=FILE {key}.target=FILE")
    known = [f.name for f in fields(TextFiles)]
    for part in value:
        if part not in known:
            raise ConfigError(f"unknown key '{key}.{part}': a test set has {', '.join(known)}")
    for part in ("source", "target"):
        if not value.get(part):
            raise ConfigError(f"{key}.{part} is missing: type {key}.{part}=FILE")
    return TextFiles(**value)


class NoSuchTestError(ConfigError):
    """A corpus has no test set of that name."""


def no_such_test(name: str, config: DataConfig, known: list[str]) -> NoSuchTestError:
    """The error for a test set that does not exist."""
    known = [*known, *config.tests, VALIDATION]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean: {close[0]}?" if close else ""
    return NoSuchTestError(
        f"data.test: data={config.name} has no test set {name!r}, only: {', '.join(known)}{hint}"
        "\n  another: data.tests.NAME.source=FILE data.tests.NAME.target=FILE, or a set of sacreBLEU (wmt14, ...)"
    )


class Corpus:
    """Base class of all kinds of corpus, which are made from their config and read nothing before they are asked to."""

    def __init__(self, config: Any) -> None:
        self.config: Any = config

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        """All of the training text, streamed (see ``corpus.training_pairs``)."""
        raise NotImplementedError

    def untagged(self, seed: int) -> Iterator[tuple[str, ...]]:
        """What of it is trained on, data.limit pairs, as the checks see it, before ``with_tags``."""
        return islice(self.pairs(seed), self.config.limit)

    def parts(self, seed: int) -> Iterator[tuple[str, Iterator[tuple[str, ...]]]]:
        """The same in its parts, one after another, each with its name in data.mix."""
        yield self.config.name, self.untagged(seed)

    def with_tags(self, pairs: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
        """What ``untagged`` gave, and the checks kept, as it is trained on."""
        return pairs

    def apart(self) -> "list[Corpus]":
        """The corpora of which this one consists, each of one direction."""
        return [self]

    def linked_pairs(self, seed: int) -> Iterator[tuple[str, str, str]]:
        """The same as ``pairs``, each with a line of Pharaoh links.

        Raises ConfigError unless the corpus knows its alignment.
        """
        raise ConfigError(
            f"trainer.guided_alignment needs the word alignment of the training text, and data={self.config.name} does "
            "not bring one: data.alignments=FILE, a line of Pharaoh links (0-0 1-2) for each training pair"
        )

    def validation(self) -> ParallelText:
        """The text that models are validated on during training."""
        raise NotImplementedError

    def validation_has_gold(self) -> bool:
        """Whether gold word alignments come with the validation set, as far as can be told without reading it."""
        return False

    def test_names(self) -> list[str]:
        """The names of the corpus's own test sets, without those of data.tests."""
        raise NotImplementedError

    def test(self, name: str) -> ParallelText:
        """One of ``test_names``."""
        raise NotImplementedError

    def chosen(self, name: str) -> list[str]:
        """The test sets that a name in data.test stands for."""
        return [name]

    def fingerprint(self, seed: int) -> dict[str, Any]:
        """What the text of every split depends on, in JSON types."""
        raise NotImplementedError

    def locate(self, number: int, side: Side) -> str:
        """Where the ``number``-th training pair (0-based) comes from, for messages: file and line."""
        raise NotImplementedError


def locate_in(corpora: Iterable[Corpus], number: int, side: Side) -> str:
    """Where a pair of corpora one after another comes from, by reading them again: messages are rare."""
    *others, last = corpora
    for corpus in others:
        count = sum(1 for _ in corpus.untagged(0))
        if number < count:
            return corpus.locate(number, side)
        number -= count
    return last.locate(number, side)
