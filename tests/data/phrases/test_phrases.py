"""The embedded corpus: what it promises of every language, and its gold alignment against independent readings."""

import datetime
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from babel import Locale
from babel.dates import format_date
from babel.lists import format_list

from nmt.data import phrases
from nmt.data.phrases import Phrases, PhrasesConfig, cldr
from nmt.data.phrases.cldr import text_of
from nmt.errors import ConfigError

LANGUAGES = [("en", "de"), ("en", "ja"), ("ar", "fr"), ("de", "cs")]


def corpus(source="en", target="de", **sizes: Any):
    return Phrases(PhrasesConfig(source=source, target=target, **{"test_size": 60, "validation_size": 30, **sizes}))


@pytest.fixture(scope="module")
def english_german():
    made = corpus(train_size=3000, test_size=200, validation_size=100)
    return made, list(made.pairs(seed=1))


def test_same_seed_same_text_in_another_process():
    """The hash seed of Python, which orders its sets, changes nothing."""
    program = (
        "from nmt.data.phrases import *; c = Phrases(PhrasesConfig(train_size=40, test_size=9, validation_size=9));"
        "print(repr((list(c.pairs(3)), c.test('test'), c.validation())))"
    )
    made = corpus(train_size=40, test_size=9, validation_size=9)
    here = repr((list(made.pairs(3)), made.test("test"), made.validation()))
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONIOENCODING": "utf-8"}
    there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert there.stdout.decode().rstrip("\n") == here


def test_seeds_differ_in_training_text_alone():
    one, other = corpus(train_size=30), corpus(train_size=30)
    assert list(one.pairs(1)) != list(other.pairs(2))
    assert (one.test("test"), one.validation()) == (other.test("test"), other.validation())
    assert one.fingerprint(1) != one.fingerprint(2)


@pytest.mark.parametrize(("source", "target"), LANGUAGES)
def test_splits_share_no_sentence(source, target):
    made = corpus(source, target, train_size=1500)
    splits = [list(zip(t.source, t.target, strict=True)) for t in (made.validation(), made.test("test"))]
    for seed in (1, 2):
        for side in (0, 1):
            train, validation, test = ({pair[side] for pair in s} for s in (list(made.pairs(seed)), *splits))
            assert not train & validation
            assert not train & test
            assert not validation & test
    assert [len(s) for s in splits] == [30, 60]


@pytest.mark.parametrize(("source", "target"), LANGUAGES)
def test_a_source_has_one_translation(source, target):
    """Nothing is ambiguous, so that a model could in principle translate all of it."""
    known = {}
    for sentence in islice(corpus(source, target).sentences("any"), 3000):
        text, translation = text_of(sentence.source), text_of(sentence.target)
        assert known.setdefault(text, translation) == translation


def test_lengths(english_german):
    """From 3 to 40 words, eight or so on average, a few near the top."""
    lengths = [len(source.split()) for source, _ in english_german[1]]
    assert min(lengths) == 3
    assert 30 < max(lengths) <= 40
    assert 7.5 <= sum(lengths) / len(lengths) <= 12
    assert max(len(target.split()) for _, target in english_german[1]) <= 40


def test_pairs_are_clean(english_german):
    """Only plain single spaces; every kind of piece of both languages occurs."""
    made, pairs = english_german
    assert all(" ".join(text.split()) == text for pair in pairs for text in pair)
    assert {kind for kinds in made.kinds.values() for kind, _ in kinds} == {kind for kind, _ in cldr.KINDS}
    assert any("PM" in source for source, _ in pairs)


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("de", "fr"), ("en", "ja"), ("en", "en")])
def test_clauses_change_places(source, target):
    """Links of most three-clause sentences cross by whole clauses, even where CLDR's dates agree in their order."""
    made = corpus(source, target)
    assert sorted(made.orders[0]) == sorted(made.orders[1])
    assert made.orders[0] != made.orders[1]
    crossing = 0
    for sentence in islice(made.sentences("any"), 300):
        keys = [[key[0] for key, _ in side if key and key[0] in "Mdy"] for side in sentence]
        crossing += list(dict.fromkeys(keys[0])) != list(dict.fromkeys(keys[1]))
    assert crossing > 75


def test_gold_of_a_language_with_itself():
    """In English to English (clauses moved) sure links join equal words, and every word has a link to an equal one."""
    text = corpus("en", "en", test_size=150).test("test")
    assert text.gold is not None
    for source, target, gold in zip(text.source, text.target, text.gold, strict=True):
        words = [[word.strip(",") for word in side.split()] for side in (source, target)]
        linked = set()
        for link in gold.split():
            i, j = map(int, link.replace("p", "-").split("-"))
            assert "p" in link or words[0][i] == words[1][j]
            if words[0][i] == words[1][j]:
                linked.add(j)
        assert linked == set(range(len(words[1])))


def test_gold_of_a_sentence_aligned_by_hand():
    """Dates change places inside, clauses as a whole; a word that renders several is sure of each; glue has no link."""
    date = (("w", "Monday"), (None, ", "), ("m", "May"), (None, " "), ("d", "7"))
    datum = (("w", "Montag"), (None, ", "), ("d", "7"), (None, ". "), ("m", "Mai"))
    sentence = phrases.Sentence(
        source=(*date, (None, " at "), ("n", "six hundred"), (None, " – "), ("c", "New Guinea")),
        target=(("c", "Neu Guinea"), (None, " – "), *datum, (None, " "), ("n", "sechshundert")),
    )
    # Monday, May 7 at six hundred – New Guinea      Neu Guinea – Montag, 7. Mai sechshundert
    assert phrases.links(sentence) == "0-3 1-5 2-4 4-6 5-6 7p0 7p1 8p0 8p1"


def test_joints_of_a_list_go_together_by_place():
    """Arabic joins every member with a word of one letter, English only the last: that one renders that one."""
    lists = [
        cldr.list_of(Locale.parse(code), [(("1", "a"),), (("2", "b"),), (("3", "c"),)], "standard")
        for code in ("ar", "en")
    ]
    assert [text_of(fragments).split() for fragments in lists] == [["a", "وb", "وc"], ["a,", "b,", "and", "c"]]
    assert phrases.links(phrases.Sentence(*lists)) == "0-0 1-1 2-2 2-3"


@pytest.mark.parametrize("code", ["en", "de", "ar", "hi", "fi"])
@pytest.mark.parametrize("style", ["standard", "or"])
def test_lists_as_babel_writes_them(code, style):
    locale, items = Locale.parse(code), ["A", "B", "C", "D", "E"]
    for count in range(1, 6):
        fragments = [(("key", item),) for item in items[:count]]
        assert text_of(cldr.list_of(locale, fragments, style)) == format_list(items[:count], style, locale)


@pytest.mark.parametrize("code", ["en", "de", "ja", "ru", "pt", "fa"])
@pytest.mark.parametrize("length", ["full", "long"])
def test_dates_as_babel_writes_them(code, length):
    locale, day = Locale.parse(code), datetime.date(2021, 2, 28)
    fragments = cldr.in_fields(str(locale.date_formats[length].pattern), day, locale)
    assert text_of(fragments) == cldr.plain(format_date(day, length, locale))
    assert {"day", "month", "year"} <= {key for key, _ in fragments}


@pytest.mark.parametrize("code", ["ja", "zh", "th"])
def test_members_are_words_where_a_language_has_no_spaces(code):
    items = [(("key", text),) for text in ("日本", "中国", "韓国", "タイ")]
    words = text_of(cldr.list_of(Locale.parse(code), items, "standard")).split()
    assert {"日本", "中国", "韓国", "タイ"} <= {word.rstrip("、") for word in words}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("jp", "did you mean: ja"),
        ("german", "did you mean: de"),
        ("e", "data.target: babel"),
        ("", "knows no locale ''"),
    ],
)
def test_unknown_locales_are_refused_with_suggestions(code, message):
    with pytest.raises(ConfigError, match=message):
        corpus("en", code)


def test_a_regional_locale_is_known_in_both_spellings():
    assert corpus("pt-BR", "en_GB").locales == corpus("pt_BR", "en-GB").locales


@pytest.mark.parametrize(("source", "target"), [("eng_Latn", "deu"), ("ENG", "ger"), ("en", "DEU_latn")])
def test_a_language_is_the_same_by_any_of_its_codes(source, target):
    usual, spelt = corpus(), corpus(source, target)
    assert list(islice(spelt.pairs(1), 20)) == list(islice(usual.pairs(1), 20))


def test_asking_for_more_than_there_is_ends(monkeypatch):
    monkeypatch.setattr(phrases, "MAX_REFUSALS", 20)
    with pytest.raises(ConfigError, match=r"data.max_words=3: there are too few"):
        corpus(max_words=3, test_size=100_000).test("test")


@pytest.mark.parametrize("key", ["train_size", "validation_size", "test_size", "max_words"])
def test_sizes_are_checked(key: Any):
    with pytest.raises(ConfigError, match=f"data.{key} must be (at least|1 to)"):
        corpus("en", "de", **{key: 0})


@pytest.mark.parametrize("key", ["train_size", "validation_size", "test_size"])
def test_more_sentences_than_can_be_meant_are_refused(key):
    """They would be drawn for days."""
    with pytest.raises(ConfigError, match=rf"data\.{key} must be 1 to "):
        replace(PhrasesConfig(), **{key: 1_000_000_000})
