"""translate.tags=true: what is taken out of a text, and where it comes back."""

import random
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.errors import ConfigError
from nmt.eval.forced import NoAttentionError
from nmt.models import LSTMConfig
from nmt.models.attention import NoneConfig
from nmt.runs.directory import Run
from nmt.search import DecodeConfig
from nmt.translate.markup import MARK, take_out
from nmt.translate.options import AlignmentOutput, Format, TranslateOptions
from nmt.translate.put_back import put_back
from nmt.translate.translator import Translator

MARKS = [
    "{name}",
    "{0:.2f}",
    "{{ user.name }}",
    "${HOME}",
    "%s",
    "%d",
    "%.2f",
    "%1$s",
    "%(count)d",
    "__VAR__",
    "__A_B2__",
]
TAGS = [
    "<b>",
    "</b>",
    "<br/>",
    "<a href=\"x?a=1&amp;b=2\" title='a > b'>",
    "<!-- <b> -->",
    "<ns:x.y-z>",
    "<![CDATA[a<b]]>",
]
NO_MARKS = ["50% of", "100%discount", "a < b", "1<2 and 3>2", "{ a b }", "a__b__c", "__", "%20and", "x & y;", "<3"]


@pytest.mark.parametrize("mark", MARKS + TAGS)
def test_what_is_taken_out(mark):
    marked = take_out(f"one {mark} two")
    assert marked.text == "one two"
    assert [(m.raw, m.at, m.before, m.after) for m in marked.marks] == [(mark, 4, True, True)]
    assert marked.is_markup == (mark in TAGS)


@pytest.mark.parametrize("text", NO_MARKS)
def test_what_stays_in_the_text(text):
    marked = take_out(text)
    assert (marked.text, marked.marks, marked.is_markup) == (text, [], False)
    assert put_back(marked, text, np.eye(len(text.split()))) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Click <b>here</b>.", "Click here."),
        ("Hello {name}, you", "Hello, you"),
        ("un<b>believ</b>able", "unbelievable"),
        ("One.</p><p>Two<br>three", "One. Two three"),
        ("AT&amp;T &lt;3 &#233; &unknown;", "AT&T <3 é &unknown;"),
        ("{a} {b} x {c}", "x "),
        ("file{n}.txt", "file.txt"),
    ],
)
def test_the_text_without_marks_reads_as_a_sentence(source, text):
    assert take_out(source).text == text


def back(source: str, target: str, *links: tuple[int, int]) -> str:
    """The target with the marks of the source; links (source word, target word)."""
    marked = take_out(source)
    weights = np.zeros((len(target.split()), len(marked.text.split())))
    for i, j in links:
        weights[j, i] = 1
    return put_back(marked, target, weights)


@pytest.mark.parametrize(
    ("source", "target", "links", "expected"),
    [
        ("a <b>red</b> car.", "une voiture rouge.", [(0, 0), (2, 1), (1, 2)], "une voiture <b>rouge</b>."),
        (
            "<p>a <i>big <b>red</b></i> car</p>",
            "X R B C",
            [(0, 0), (2, 1), (1, 2), (3, 3)],
            "<p>X <i><b>R</b> B</i> C</p>",
        ),
        ("<b>a</b> <i>b</i>", "B A", [(0, 1), (1, 0)], "<i>B</i> <b>A</b>"),
        # Words between those of the first belong to it; the second has what is left.
        ("<b>a c</b> <i>b</i>", "A B C", [(0, 0), (1, 2), (2, 1)], "<b>A B C</b><i></i>"),
        ("<b>a c</b> <i>b d</i>", "A B C D", [(0, 0), (1, 2), (2, 1), (3, 3)], "<b>A B C</b> <i>D</i>"),
        ("<b>b d</b> <i>a c</i>", "A B C D", [(0, 1), (1, 3), (2, 0), (3, 2)], "<i>A</i> <b>B C D</b>"),
        ("Hello {name}, you", "Du, hallo!", [(0, 1), (1, 0)], "Du, hallo {name}!"),
        ("%s won <br/> twice", "Zweimal gewann", [(0, 1), (1, 0)], "%s <br/> Zweimal gewann"),
        ("costs {cur}5 now", "jetzt kostet 5", [(0, 1), (1, 2), (2, 0)], "jetzt kostet {cur}5"),
        ("it is {a}{b} so", "es ist so", [(0, 0), (1, 1), (2, 2)], "es ist {a}{b} so"),
        ("say (<b>no</b>)!", "sag (nein)!", [(0, 0), (1, 1)], "sag (<b>nein</b>)!"),
        ("<b>Stop!</b> now", "Halt! jetzt", [(0, 0), (1, 1)], "<b>Halt!</b> jetzt"),
        ("<b>all of it</b>", "das alles", [(0, 1)], "<b>das alles</b>"),
        ("R&amp;D <b>x</b>", "F&E y <", [(0, 0), (1, 1)], "F&amp;E <b>y</b> &lt;"),
        ("a </b> b <i> c", "A B C", [(0, 0), (1, 1), (2, 2)], "A </b> B <i> C"),
        ("file{n}.txt x", "X file.txt", [(0, 1), (1, 0)], "X file{n}.txt"),
        ("a {x} b", "A B", [], "A {x} B"),
        ("a <b>b</b>", "", [], "<b></b>"),
    ],
)
def test_marks_come_back_where_links_say(source, target, links, expected):
    assert back(source, target, *links) == expected


def test_an_element_that_no_word_is_linked_with_is_put_around_the_likeliest():
    marked = take_out("a <b>b</b> c")
    weights = np.array([[0.9, 0.1, 0.0], [0.0, 0.4, 0.6]])
    assert put_back(marked, "A C", weights) == "A <b>C</b>"


NAMES = ["b", "i", "x:g", "p"]
WORDS = ["one", "(two)", "three,", "&amp;", "--", "four.", "{name}", "%s", "<br/>", "un<b>real</b>,", "<x id='1'/>"]


def well_formed(draw: random.Random, depth: int = 0) -> str:
    """A random piece of XML."""
    parts = []
    for _ in range(draw.randrange(5)):
        if depth < 4 and draw.random() < 0.4:
            name = draw.choice(NAMES)
            parts.append(f"<{name}>{well_formed(draw, depth + 1)}</{name}>")
        else:
            parts.append(draw.choice(WORDS))
        parts.append(draw.choice(["", " ", " ", "  "]))
    return "".join(parts)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f'<root xmlns:x="x">{text}</root>')


def outline(element: ElementTree.Element) -> list:
    """Names of the tree, those of an element in any order."""
    return [element.tag, sorted((outline(child) for child in element), key=str)]


def test_whatever_the_links_tags_nest_as_in_the_source_and_nothing_is_lost():
    """By a real parser; words stay as they were, and every mark is there once, inside the same elements."""
    draw = random.Random(1)
    random_weights = np.random.default_rng(1)
    for _ in range(1500):
        source = well_formed(draw)
        marked = take_out(source)
        target = " ".join(draw.choices(["A", "(B)", "C,", "&", "<", "D."], k=draw.randrange(8)))
        weights = random_weights.random((len(target.split()), len(marked.text.split())))
        weights[random_weights.random(weights.shape) < 0.3] = 0
        found = put_back(marked, target, weights)
        if marked.is_markup:
            assert outline(parsed(found)) == outline(parsed(source)), (source, found)
        assert Counter(m[0] for m in MARK.finditer(found)) == Counter(m.raw for m in marked.marks)
        assert re.sub(r"\s", "", take_out(found).text) == re.sub(r"\s", "", target)


def test_any_text_with_any_marks_keeps_them():
    """Also what is not well formed, and nested without end."""
    draw = random.Random(2)
    pieces = [
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "<br>",
        "{x}",
        "%s",
        " ",
        "a",
        ".",
        "<",
        ">",
        "&amp;",
        "</p>",
        "<!--",
        "-->",
    ]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(30))) for _ in range(1000)]
    texts += ["<b>" * 3000 + "x" + "</b>" * 3000, "<a " * 500, "<!--" * 3000, "<b>x</b> " * 500, '<a "' * 500]
    for text in texts:
        marked = take_out(text)
        words = [word for word in re.split("[ \t]+", marked.text) if word]
        found = put_back(marked, " ".join(words[::-1]), np.eye(len(words))[::-1])
        assert Counter(m.raw for m in marked.marks) == Counter(m[0] for m in MARK.finditer(text))
        for mark, count in Counter(m.raw for m in marked.marks).items():
            assert found.count(mark) >= count


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(make_run(tmp_path_factory.mktemp("runs") / "run", MODELS["transformer"]))


def translator(run: Run, **options) -> Translator:
    decode = DecodeConfig(beam_size=2, n_best=2, max_length=6)
    return Translator(run, decode, torch.device("cpu"), options=TranslateOptions(**options))


def test_the_sentence_is_translated_as_without_its_marks(run):
    """All of an n-best list get them; links are of the words without them; a line of marks alone stays as it is."""
    options = {"alignments": AlignmentOutput.hard, "format": Format.jsonl}
    plain = translator(run, **options).hypotheses(["one two three four", "seven", ""])
    texts = ["<b>one {x} two</b> three %s four", "<i>seven</i>", "<br/> {y}"]
    found = translator(run, tags=True, **options).hypotheses(texts)
    for ranked, alone in zip(found[:2], plain, strict=False):
        assert [take_out(h.text).text.split() for h in ranked] == [h.text.split() for h in alone]
        for h, other in zip(ranked, alone, strict=True):
            np.testing.assert_array_equal(h.alignment, other.alignment)
    assert all({"<b>", "</b>", "{x}", "%s"} <= {m[0] for m in MARK.finditer(h.text)} for h in found[0])
    assert [h.text for h in found[2]] == ["<br/>{y}"]
    assert found[1][0].text == f"<i>{plain[1][0].text}</i>"
    assert translator(run, tags=True).hypotheses(texts)[0][0].alignment is None


def test_a_model_without_attention_and_a_language_without_spaces_are_refused(run, tmp_path, monkeypatch):
    blind = Run.open(make_run(tmp_path / "blind", LSTMConfig(hidden_size=8, attention=NoneConfig())))
    with pytest.raises(NoAttentionError, match=r"^\S*blind has no attention, which translate\.tags=true reads$"):
        translator(blind, tags=True)
    monkeypatch.setattr(run.config.data, "target", "ja")
    with pytest.raises(ConfigError, match=r"^translate\.tags=true puts tags around words, and ja has no spaces"):
        translator(run, tags=True)
