"""The numbers are sacreBLEU's, and lines are lines."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_corpora import real_file
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_base import BaseTokenizer

from nmt.errors import ConfigError, DataError
from nmt.eval.metrics import (
    METRICS,
    EvalConfig,
    Metric,
    bleu_by_length,
    bleu_tokenizer,
    one_line,
    score_corpus,
    sentence_metrics,
    sentence_utility,
    text_lengths,
)

# Characters that some program somewhere takes for a line end or for white space, and others that tokenizers treat.
ODD = [
    "Er sagte:\u00a0„Nein“,\u2028und\u2029ging \u0085 fort .",
    "\u000bTab\tund\u000cSeite\u001c\u001d\u001e!  ",
    "carriage\rreturn, 3.5 % &amp; &quot;x&quot; <skipped> -",
    "\u00a0am Rand\u3000",
    "zero\u200bwidth\ufeff und e\u0301 statt é",
    "",
    "彼は\u3000東京に行った。",
    "Die Straße ist 1,000.50 m lang - wirklich!",
]


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def corrupt(line: str, seed: int) -> str:
    """A hypothesis that differs a little from its reference."""
    rng = random.Random(seed)
    return " ".join(word for word in line.split(" ") if rng.random() > 0.2)


def command_line(folder: Path, *arguments: str) -> list[dict]:
    command = [sys.executable, "-m", "sacrebleu", "ref.txt", *arguments, "-f", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, encoding="utf-8")
    return json.loads(done.stdout)


@pytest.mark.parametrize("language", ["de", "ja"])
def test_numbers_and_signatures_are_those_of_the_sacrebleu_command(tmp_path, language):
    """The same hypotheses and references, read by its command line from files."""
    references = [line + str(i % 7) for i, line in enumerate(ODD * 3)]
    hypotheses = [corrupt(line, i) for i, line in enumerate(references)]
    write_lines(tmp_path / "ref.txt", references)
    write_lines(tmp_path / "hyp.txt", hypotheses)
    tokenizer = {"de": "13a", "ja": "char"}[language]
    said = command_line(tmp_path, "-i", "hyp.txt", "-m", "bleu", "chrf", "ter", "-w", "10", "-tok", tokenizer)
    ours = score_corpus(["bleu", "chrf", "ter"], hypotheses, references, language)
    for theirs, (name, result) in zip(said, ours.items(), strict=True):
        assert result.value == pytest.approx(theirs["score"], abs=1e-9), name
        assert 0 < result.value < 100
        assert result.signature == theirs["signature"]
        assert result.name == theirs["name"]


def test_the_target_language_chooses_the_tokenizer_of_bleu_and_the_signature_says_so():
    tokenizers = {"de": "13a", "": "13a", "ja": "char", "zh": "zh", "ko": "char", "zh_Hant_TW": "zh", "ZH-Hans": "zh"}
    tokenizers |= {"yue": "zh", "yue_HK": "zh"} | dict.fromkeys(("th", "lo", "km", "my", "bo", "dz"), "char")
    tokenizers |= {
        "zho_Hans": "zh",
        "cmn": "zh",
        "zh_Latn": "13a",
        "jpn_Jpan": "char",
        "KOR": "char",
        "deu_Latn": "13a",
    }
    for language, tokenizer in tokenizers.items():
        result = score_corpus(["bleu"], ["a b c d e"], ["a b c d e"], language)["bleu"]
        assert f"tok:{tokenizer}|" in result.signature


@given(st.text())
def test_one_line_is_one_line_and_leaves_others_alone(text):
    assert "\n" not in one_line(text)
    assert "\r" not in one_line(text)
    assert one_line(one_line(text)) == one_line(text)
    if not set(text) & {"\n", "\r"}:
        assert one_line(text) == text


def test_mistakes_are_named():
    with pytest.raises(
        ConfigError, match=r"eval\.metrics: 'blue' is not one of bleu, chrf, chrfpp, ter, bleu_lc_moses"
    ):
        EvalConfig(metrics=["blue"])
    with pytest.raises(ConfigError, match=r"eval\.limit must be at least 1, got 0"):
        EvalConfig(limit=0)
    with pytest.raises(ConfigError, match="'blue'"):
        score_corpus(["blue"], ["a"], ["a"])
    with pytest.raises(DataError, match=r"2 hypotheses .* 1 references"):
        score_corpus(["bleu"], ["a", "b"], ["a"])
    with pytest.raises(DataError, match="no sentences"):
        score_corpus(["bleu"], [], [])


def test_buckets_of_source_length_part_the_set():
    """Each sentence is in the bucket of its length; BLEU there is BLEU of those sentences alone."""
    lengths = [0, 1, 10, 11, 20, 21, 50, 51, 300]
    references = [f"sentence number {n} of a b c d e f" for n in lengths]
    hypotheses = [corrupt(line, i) for i, line in enumerate(references)]
    buckets = bleu_by_length(hypotheses, references, lengths)
    assert [(b.shortest, b.longest, b.sentences) for b in buckets] == [
        (1, 10, 3),
        (11, 20, 2),
        (21, 30, 1),
        (41, 50, 1),
        (51, None, 2),
    ]
    assert buckets[1].bleu == score_corpus(["bleu"], hypotheses[3:5], references[3:5])["bleu"].value


def test_length_is_in_words_or_in_characters_where_words_have_no_spaces():
    assert text_lengths(["two words\u00a0three", ""]) == [3, 0]
    for language in ("ja", "yue", "zh-Hans", "bo"):
        assert text_lengths(["東京 に"], language) == [3]


def test_chrfpp_is_that_of_the_sacrebleu_command(tmp_path):
    """chrF with word bigrams."""
    references = [f"Die Katze {i} sitzt auf der Matte, und {i % 3} schläft." for i in range(9)]
    hypotheses = [corrupt(line, i) for i, line in enumerate(references)]
    write_lines(tmp_path / "ref.txt", references)
    write_lines(tmp_path / "hyp.txt", hypotheses)
    theirs: Any = command_line(tmp_path, "-i", "hyp.txt", "-m", "chrf", "--chrf-word-order", "2", "-w", "10")
    ours = score_corpus(["chrfpp"], hypotheses, references)["chrfpp"]
    assert ours.value == pytest.approx(theirs["score"], abs=1e-9)
    assert (ours.name, ours.signature) == (theirs["name"], theirs["signature"])


@pytest.mark.parametrize("name", sentence_metrics())
def test_every_utility_is_the_larger_the_better(name):
    """A closer translation is worth more, the same text most of all."""
    if name == "bleu_lc_moses":
        pytest.importorskip("sacremoses")
    reference, utility = "the cat sat on the mat today", sentence_utility(name, "en")
    worth = [utility(text, reference) for text in ("no", "the cat sat", "the cat sat on the mat", reference)]
    assert worth == sorted(worth)
    assert len(set(worth)) == 4


def test_the_utility_of_a_language_without_spaces_counts_characters():
    """With words it would be 0 for every pair of different sentences."""
    utility = sentence_utility("bleu", "zh")
    assert 0 < utility("我们喜欢学习中文", "我们喜欢学习汉语") < 100


def test_utilities_that_do_not_exist_are_refused(monkeypatch):
    """A metric of whole sets alone is no utility, and is not listed as one."""
    monkeypatch.setitem(METRICS, "whole_sets", Metric(lambda _: CHRF()))
    for name in ("none", "blue", "whole_sets"):
        with pytest.raises(ConfigError, match=r"decode\.mbr: .* is not one of none, bleu, chrf, .*bleu_lc_moses$"):
            sentence_utility(name)


def test_bleu_lc_moses_ignores_case_and_keeps_hyphens():
    pytest.importorskip("sacremoses")
    reference = "Ein Mann im T-Shirt sagt: „Nein!“"
    result = score_corpus(["bleu_lc_moses"], [reference.upper()], [reference], "de")["bleu_lc_moses"]
    assert result.value == pytest.approx(100)
    assert "ref_len = 10)" in result.detail  # ein mann im t-shirt sagt : " nein ! "
    assert "case:lc" in result.signature
    assert "tok:moses-de" in result.signature


def test_bleu_lc_moses_is_the_published_scale():
    """The published length of the tokenized reference of test_2016_flickr."""
    pytest.importorskip("sacremoses")
    references = real_file("multi30k/test_2016_flickr.de").read_bytes().decode().removesuffix("\n").split("\n")
    assert len(references) == 1000
    assert "ref_len = 12103)" in score_corpus(["bleu_lc_moses"], references, references, "de")["bleu_lc_moses"].detail


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(ConfigError, match=r"pip install sacremoses, or pip install '\.\[moses\]'"):
        score_corpus(["bleu_lc_moses"], ["a"], ["a"])


@pytest.mark.parametrize("language", ["de", "zh", "ja"])
def test_scoring_again_and_again_keeps_no_lines(language):
    """sacreBLEU's caches of tokenized lines are empty afterwards, for every metric, so that memory does not rise."""
    cached = [vars(kind)["__call__"] for kind in BaseTokenizer.__subclasses__()]
    cached = [call for call in cached if hasattr(call, "cache_info")]
    for call in cached:
        call.cache_clear()
    names = [name for name in METRICS if name != "bleu_lc_moses" or language == "de"]
    lines = [f"line {i}" for i in range(5)]
    score_corpus(names, lines, lines, language)
    assert [call.cache_info().currsize for call in cached] == [0] * len(cached)
    BLEU(tokenize=bleu_tokenizer(language)).corpus_score(lines, [lines])
    assert sum(call.cache_info().currsize for call in cached) >= len(lines)
