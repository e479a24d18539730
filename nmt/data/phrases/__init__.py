"""An embedded parallel corpus, generated in any two languages of CLDR (data=phrases).

A sentence has one to three clauses - a place or language, an amount, a time - each one piece of ``cldr`` or a list of
up to eight of a kind.  CLDR has the form of a piece in each language.  The clauses stand in the order of month, day and
year in the language's own dates (United States place, amount, time; Germany amount, place, time; Japan time, place,
amount), so that whole clauses change places, beside what changes places inside them.  Where two languages agree in
this, the first clause of the target moves to its end.

A word is what stands between spaces.  Japanese, Chinese, Thai and their like get a space between the members of a
list, and between clauses as every language does.
"""

import difflib
import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from babel import Locale, UnknownLocaleError, localedata

from nmt.data.batching import BatchingConfig
from nmt.data.checks import Side
from nmt.data.pharaoh import SEPARATORS
from nmt.data.phrases import cldr
from nmt.data.phrases.cldr import Fragments, Piece, list_of, list_styles, pieces, text_of
from nmt.data.text import Corpus, DataConfig, ParallelText, no_such_test
from nmt.data.tokenizer import TokenizerConfig
from nmt.errors import ConfigError
from nmt.languages import canonical
from nmt.settings import setting

# A clause, by the letter of the date field whose place it takes, and its kinds of piece.
CLAUSES = {
    "M": ("territory", "language"),
    "d": ("number", "measure", "money", "money in words", "duration"),
    "y": ("date", "short date", "moment", "time", "relative"),
}
LISTED = frozenset(("territory", "language", "number", "measure", "money", "money in words", "relative"))
# How many clauses a sentence has and how many members a list, each as likely.  Most sentences are short, because from
# those a small model learns where to look; the long lists are there to be seen.
PRESENT = (1, 1, 2, 2, 2, 3)
MEMBERS = (*[1] * 20, *[2] * 4, 3, 3, 4, 6, 8)
DASH: Fragments = ((None, " "), ("dash", "–"), (None, " "))
MIN_WORDS = 3
MAX_REFUSALS = 10_000  # after so many refused sentences in a row, the grammar is taken to have no more

T = TypeVar("T")


@dataclass
class PhrasesConfig(DataConfig):
    """an embedded corpus in any two languages of CLDR: names, money, measures, dates   (no download)"""

    name: str = "phrases"
    train_size: int = setting(20_000, "training pairs", least=1, most=100_000_000)
    validation_size: int = setting(500, "validation pairs", least=1, most=1_000_000)
    test_size: int = setting(1000, "test pairs", least=1, most=1_000_000)
    max_words: int = setting(40, "words in the longest sentence, on either side", least=MIN_WORDS)
    # There are some 2,300 different words; the rarest are put together of pieces.
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(vocab_size=2000))
    batching: BatchingConfig = field(default_factory=lambda: BatchingConfig(tokens=1024))


class Sentence(NamedTuple):
    """One sentence in both languages; fragments with the same key mean the same."""

    source: Fragments
    target: Fragments


class Phrases(Corpus):
    """The grammar over the pieces that the two languages share.

    The validation and test sets are the same whatever the seed, and no sentence of them, in either language, is in the
    training text of any seed.
    """

    def __init__(self, config: PhrasesConfig) -> None:
        super().__init__(config)
        self.locales = (parse_locale(config.source, "data.source"), parse_locale(config.target, "data.target"))
        source, target = (clause_order(locale) for locale in self.locales)
        self.styles = list_styles(*self.locales)
        self.orders = (source, target if target != source else target[1:] + target[:1])

    @cached_property
    def kinds(self) -> dict[str, list[tuple[str, list[Piece]]]]:
        """For each clause its kinds of piece, as far as both languages know them; no clause without any."""
        pool = pieces(*self.locales)
        known = {clause: [(kind, pool[kind]) for kind in kinds if kind in pool] for clause, kinds in CLAUSES.items()}
        if not any(known.values()) or not self.styles:
            languages = " and ".join(f"{locale} ({locale.english_name})" for locale in self.locales)
            raise ConfigError(f"data.source, data.target: CLDR knows too little of {languages} to make phrases")
        return {clause: kinds for clause, kinds in known.items() if kinds}

    def sentences(self, stream: str) -> Iterator[Sentence]:
        """Random sentences without end, the same for the same ``stream`` on every machine."""
        rng = random.Random(stream)  # a string seeds through SHA-512: PYTHONHASHSEED does not matter
        while True:
            clauses = {letter: self.clause(rng, letter) for letter in sample(rng, list(self.kinds), pick(rng, PRESENT))}
            sides = []
            for side, order in enumerate(self.orders):
                ordered = [tagged(letter, clauses[letter][side]) for letter in order if letter in clauses]
                sides.append(join_clauses(ordered))
            yield Sentence(*sides)

    def clause(self, rng: random.Random, letter: str) -> Sentence:
        """One piece, or a list of several of a kind."""
        kind, pool = pick(rng, self.kinds[letter])
        members = sample(rng, pool, pick(rng, MEMBERS) if kind in LISTED else 1)
        style = pick(rng, self.styles)
        source, target = (
            list_of(locale, [tagged(str(i), member[side]) for i, member in enumerate(members)], style)
            for side, locale in enumerate(self.locales)
        )
        return Sentence(source, target)

    def fresh(self, stream: str, used: set[str], once: bool) -> Iterator[Sentence]:
        """The sentences of ``stream`` that have the right length and are not in ``used``; ``once``: each only once."""
        refused = 0
        for sentence in self.sentences(stream):
            source, target = text_of(sentence.source), text_of(sentence.target)
            lengths = len(source.split()), len(target.split())
            if lengths[0] < MIN_WORDS or max(lengths) > self.config.max_words or source in used or target in used:
                refused += 1
                if refused == MAX_REFUSALS:
                    raise ConfigError(
                        f"data.max_words={self.config.max_words}: there are too few sentences of that length for "
                        f"data.validation_size={self.config.validation_size}, data.test_size={self.config.test_size}"
                    )
                continue
            refused = 0
            if once:
                used.update((source, target))
            yield sentence

    @cached_property
    def held_out(self) -> tuple[ParallelText, ParallelText, set[str]]:
        """The validation set, the test set, and the sentences of both."""
        used: set[str] = set()
        test = list(islice(self.fresh("test", used, once=True), self.config.test_size))
        validation = list(islice(self.fresh("validation", used, once=True), self.config.validation_size))
        return with_gold("validation", validation), with_gold("test", test), used

    def training(self, seed: int) -> Iterator[Sentence]:
        """The sentences to train on."""
        return islice(self.fresh(f"train {seed}", self.held_out[2], once=False), self.config.train_size)

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        for sentence in self.training(seed):
            yield text_of(sentence.source), text_of(sentence.target)

    def linked_pairs(self, seed: int) -> Iterator[tuple[str, str, str]]:
        for sentence in self.training(seed):
            yield text_of(sentence.source), text_of(sentence.target), links(sentence)

    def validation(self) -> ParallelText:
        return self.held_out[0]

    def validation_has_gold(self) -> bool:
        return True

    def test_names(self) -> list[str]:
        return ["test"]

    def test(self, name: str) -> ParallelText:
        if name not in self.test_names():
            raise no_such_test(name, self.config, self.test_names())
        return self.held_out[1]

    def fingerprint(self, seed: int) -> dict[str, Any]:
        config: PhrasesConfig = self.config
        code = b"".join(Path(file).read_bytes() for file in (__file__, cldr.__file__))
        return {
            "languages": [str(locale) for locale in self.locales],
            "sizes": [config.train_size, config.validation_size, config.test_size, config.max_words],
            "seed": seed,
            "versions": [version("babel"), version("num2words")],
            "code": hashlib.sha256(code).hexdigest(),
        }

    def locate(self, number: int, side: Side) -> str:
        return f"data=phrases, pair {number + 1}, {side.name} side"


def parse_locale(code: str, key: str) -> Locale:
    """The CLDR locale of ``code``; raises ConfigError, naming ``key``, with the codes that may have been meant."""
    try:
        return Locale.parse(canonical(code))
    except (UnknownLocaleError, ValueError):
        known = localedata.locale_identifiers()
        names = {str(Locale.parse("en").languages.get(c, "")).lower(): c for c in known}
        close = [names[n] for n in difflib.get_close_matches(code.lower(), names, n=2, cutoff=0.8)]
        with suppress(UnknownLocaleError, ValueError):  # the language of a country: jp is Japan, so ja
            close.append(Locale.parse(f"und_{code}").language)
        close += difflib.get_close_matches(code, known, n=3, cutoff=0.5)
        hint = f"; did you mean: {', '.join(list(dict.fromkeys(close))[:3])}?" if close else ""
        raise ConfigError(f"{key}: babel (CLDR) knows no locale {code!r}{hint}") from None


def clause_order(locale: Locale) -> str:
    """M, d and y as the locale's long date has them, and with them the clauses."""
    fields = [letter for letter in str(locale.date_formats["long"].pattern).replace("L", "M") if letter in "Mdy"]
    return "".join(dict.fromkeys([*fields, *"dMy"]))


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of ``items``; drawn with rng.random() alone, the one draw that Python promises never to change."""
    return items[int(rng.random() * len(items))]


def sample(rng: random.Random, items: Sequence[T], count: int) -> list[T]:
    """``count`` different places of ``items`` (all of them, if there are fewer), in random order."""
    places: dict[int, None] = {}
    while len(places) < min(count, len(items)):
        places[int(rng.random() * len(items))] = None
    return [items[i] for i in places]


def join_clauses(clauses: Sequence[Fragments]) -> Fragments:
    """Clauses with a dash between them; the n-th dash of one language renders the n-th of the other."""
    dashes = [(), *(tagged(str(n), DASH) for n in range(1, len(clauses)))]
    return tuple(fragment for pair in zip(dashes, clauses, strict=True) for part in pair for fragment in part)


def tagged(tag: str, fragments: Fragments) -> Fragments:
    """The same fragments with ``tag`` before every key, so that two pieces of a sentence are told apart."""
    return tuple([(key and f"{tag} {key}", text) for key, text in fragments])


def words_of(fragments: Fragments) -> dict[str, list[int]]:
    """For each key the words, by spaces and tabs, that hold a character of its fragments."""
    found: dict[str, list[int]] = {}
    word, inside = -1, False
    for key, text in fragments:
        for character in text:
            started = character not in SEPARATORS and not inside
            inside = character not in SEPARATORS
            word += started
            if inside and key and word not in found.setdefault(key, []):
                found[key].append(word)
    return found


def links(sentence: Sentence) -> str:
    """Gold alignment in Pharaoh form: the words of a fragment with the words of the fragments of the same key.

    Sure (``i-j``) where one side is a single word; possible (``ipj``) where several words render several.
    """
    source, target = words_of(sentence.source), words_of(sentence.target)
    sure: dict[tuple[int, int], bool] = {}
    for key in source.keys() & target.keys():
        single = 1 in (len(source[key]), len(target[key]))
        for pair in ((i, j) for i in source[key] for j in target[key]):
            sure[pair] = single or sure.get(pair, False)
    return " ".join(f"{i}{'-' if sure[i, j] else 'p'}{j}" for i, j in sorted(sure))


def with_gold(name: str, sentences: Sequence[Sentence]) -> ParallelText:
    """Sentences as a set to validate or test on."""
    return ParallelText(
        name=name,
        source=[text_of(s.source) for s in sentences],
        target=[text_of(s.target) for s in sentences],
        gold=[links(s) for s in sentences],
    )
