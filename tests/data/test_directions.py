"""data.pairs and data.tags: several directions of translation in one training."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from served import serving

import nmt
from nmt.cli import align, eval, serve, translate
from nmt.data import corpus
from nmt.data.checks import Action, CheckCounts, ChecksConfig, Side, clean
from nmt.data.corpus import FilesConfig, Multi30kConfig, TextFiles, open_corpus, training_pairs
from nmt.data.directions import TaggedTokenizer, tag_of, toward
from nmt.data.encode import open_text, read_side
from nmt.data.phrases import PhrasesConfig
from nmt.data.pieces import SUBWORDS, TokenizerKind
from nmt.data.prepare import prepare
from nmt.data.text import ParallelText, tagged
from nmt.data.tokenizer import TokenizerConfig
from nmt.errors import ConfigError, DataError
from nmt.eval.evaluate import EvaluationOptions, evaluate
from nmt.eval.figures.painter import Painter
from nmt.export import ExportRequest, export
from nmt.models import build_model
from nmt.models.attention import GlobalConfig
from nmt.models.lstm.config import LSTMConfig
from nmt.report.alignments import side_by_side
from nmt.runs.directory import Run
from nmt.runs.results import read_results
from nmt.runs.summary import SetKey, read_runs
from nmt.runs.table import configurations
from nmt.search import DecodeConfig
from nmt.serve import server

BOTH = ["en-de", "de-en"]
SIZES: dict[str, Any] = {"train_size": 60, "validation_size": 4, "test_size": 3}


def phrases(**changes) -> PhrasesConfig:
    return PhrasesConfig(**(SIZES | {"pairs": BOTH, "tags": True} | changes))


def texts_of(text: ParallelText) -> list[tuple[str, str]]:
    return list(zip(text.tagged_source(), text.target, strict=True))


@pytest.mark.parametrize(
    ("language", "tag"), [("de", "<2de>"), ("deu_Latn", "<2de_latn>"), ("zh-Hans", "<2zh_hans>"), ("pt_BR", "<2pt_br>")]
)
def test_a_tag_names_the_language_once(language, tag):
    assert tag_of(language) == tag


def test_both_directions_are_trained_on_each_with_its_tag():
    """The pairs of the corpora of one direction each, one corpus after the other."""
    forward, back = (PhrasesConfig(**SIZES, source=s, target=t) for s, t in (("en", "de"), ("de", "en")))
    expected = [
        (f"<2{config.target}> {source}", target)
        for config in (forward, back)
        for source, target in training_pairs(config, 5)
    ]
    assert list(training_pairs(phrases(), 5)) == expected


def test_the_first_sentences_of_the_validation_set_are_of_all_directions():
    forward, back = (
        open_corpus(PhrasesConfig(**SIZES, source=s, target=t)).validation() for s, t in (("en", "de"), ("de", "en"))
    )
    found = open_corpus(phrases()).validation()
    assert texts_of(found)[::2] == [(f"<2de> {s}", t) for s, t in texts_of(forward)]
    assert texts_of(found)[1::2] == [(f"<2en> {s}", t) for s, t in texts_of(back)]


def test_test_sets_are_scored_apart_each_in_its_language():
    found = corpus.test_texts(phrases())
    assert [(text.name, text.language) for text in found] == [("test.en-de", "de"), ("test.de-en", "en")]
    assert [t.name for t in corpus.test_texts(phrases(), ["test"])] == ["test.en-de", "test.de-en"]
    (one,) = corpus.test_texts(phrases(), ["test.de-en"])
    assert texts_of(one) == texts_of(found[1])
    assert one.tags == ["<2en>"] * 3
    assert not any("<2" in source for source in one.source)
    for name in ("test.en-fr", "tset", "wmt14"):
        with pytest.raises(ConfigError, match=f"no test set '{name}', only: test.en-de, test.de-en"):
            corpus.test_texts(phrases(), [name])


@pytest.mark.parametrize("kind", [*SUBWORDS, TokenizerKind.word])
def test_a_tag_is_one_piece_of_the_vocabulary(tmp_path, kind):
    """And a tagged tokenizer gives the ids of the tagged text; its words are those of the text alone."""
    config = phrases(cache=str(tmp_path), tokenizer=TokenizerConfig(kind=kind, vocab_size=400))
    tokenizers = prepare(config, 1).tokenizers
    for tag in ("<2de>", "<2en>"):
        (ids,) = tokenizers.source.encode([f"{tag} one two"])
        assert tokenizers.source.pieces(ids)[:2].count(tag) == 1
        directed = TaggedTokenizer(tokenizers.source, tag)
        assert directed.encode(["one two"]) == [ids]
        assert directed.sample(["one two"], 0.5, 3) == tokenizers.source.sample([f"{tag} one two"], 0.5, 3)
        words = directed.words(ids, "one two")
        assert words == [max(0, word - 1) for word in tokenizers.source.words(ids, f"{tag} one two")]
        assert set(words) == {0, 1}
        assert directed.size == tokenizers.source.size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": False}, "data.pairs has several target languages: data.tags=true"),
        ({"pairs": ["en-de", "en-de"]}, "data.pairs names en-de twice"),
        ({"pairs": ["ende"]}, "data.pairs must be a list of directions, as in"),
        ({"pairs": ["en-en"]}, "data.pairs must be a list of directions"),
        ({"pairs": []}, "data.pairs must be a list of directions"),
        ({"pairs": 3}, "data.pairs must be a list of directions"),
        ({"gold": "x"}, "data.gold is for one direction, and data.pairs names 2"),
        ({"alignments": "x"}, "data.alignments is for one direction"),
        ({"source": "fr"}, "data.source=fr goes with one direction: data.pairs names the languages"),
        ({"target": "fr"}, "data.target=fr goes with one direction: data.pairs names the languages"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        phrases(**changes)


def test_sources_of_one_target_language_need_no_tag():
    config = phrases(pairs=["de-en", "fr-en"], tags=False)
    assert (config.source, config.target) == ("de", "en")
    assert not any(source.startswith("<2") for source, _ in training_pairs(config, 1))
    assert len(list(training_pairs(config, 1))) == 2 * SIZES["train_size"]


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_files_go_with_the_directions_in_their_order(tmp_path):
    a, b, c, d = (write(tmp_path / name, f"{name} 1", f"{name} 2") for name in "abcd")
    train, validation = TextFiles([a, b], [c, d]), TextFiles([b, a], [d, c])
    config = FilesConfig(train=train, validation=validation, pairs=["en-de", "en-fr"], tags=True)
    assert list(training_pairs(config, 1)) == [
        *(("<2de> a 1", "c 1"), ("<2de> a 2", "c 2"), ("<2fr> b 1", "d 1"), ("<2fr> b 2", "d 2"))
    ]
    assert open_corpus(config).locate(2, Side.target) == f"{d} line 1"
    with pytest.raises(ConfigError, match=r"data\.train\.source names 1 file and data\.pairs 2 directions"):
        open_corpus(replace(config, train=TextFiles(a, [c, d])))


def test_what_the_checks_look_for_has_no_tag(tmp_path):
    """Each check finds and drops as many pairs of two tagged directions as of each direction alone together."""
    a = write(tmp_path / "a", "one", "\u200b", "", "two", "three " * 3, "held out", "e\u0301 a ", "x " * 20)
    b = write(tmp_path / "b", "eins", "x", "y", "zwei", "drei " * 3, "anders", "\u00e9 a", "y " * 20, "neun")
    held = [write(tmp_path / "c", "held out"), write(tmp_path / "d", "zur\u00fcck")]
    checks = ChecksConfig(line_counts=Action.drop, max_source=19, max_target=20)
    train, validation = TextFiles([a, b], [b, a]), TextFiles(held, held[::-1])
    both = FilesConfig(train=train, validation=validation, pairs=BOTH, tags=True, checks=checks, cache=str(tmp_path))
    both.tokenizer = TokenizerConfig(kind=TokenizerKind.word, vocab_size=100)
    found = prepare(both, 1).table.checks
    sums, kept = (Counter(), Counter()), []
    for place, tag in enumerate(("<2de>", "<2en>")):
        texts = (TextFiles(files.source[place], files.target[place]) for files in (train, validation))
        one = replace(both, **dict(zip(("train", "validation"), texts, strict=True)), pairs=None, tags=False)
        alone = CheckCounts()
        passed = clean(training_pairs(one, 1), checks, alone, corpus.held_out_sentences(both))
        kept += [f"{tag} {source}" for source, _ in passed]
        for total, counted in zip(sums, (alone.found, alone.dropped), strict=True):
            total.update(counted)
    assert (found.found, found.dropped, found.kept) == (*sums, len(kept))
    assert {"line_counts", "blank", "long", "in_test", "normalized", "stripped"} <= set(found.found)
    assert {*corpus.held_out_sentences(both)} == {"held out", "zur\u00fcck"}
    stored = open_text(next(tmp_path.glob("text-*")))
    assert list(read_side(stored, "source")) == kept


def tagged_files(folder: Path, **changes) -> FilesConfig:
    """One direction with a tag: six training pairs, one to validate on, and a test set of its own."""
    names = {
        "train": (["one", "two", "three four", "five", "six", "seven"], ["eins", "zwei", "drei vier", "f", "s", "si"]),
        "dev": (["Hello", "", "big world"], ["Hallo", "", "Welt gro\u00df"]),
        "mine": (["one", "eight"], ["eins", "acht"]),
    }
    files = {
        name: TextFiles(write(folder / f"{name}.en", *sides[0]), write(folder / f"{name}.de", *sides[1]))
        for name, sides in names.items()
    }
    settings: dict[str, Any] = {"train": files["train"], "validation": files["dev"], "tests": {"mine": files["mine"]}}
    word = TokenizerConfig(kind=TokenizerKind.word, vocab_size=100)
    return FilesConfig(**(settings | {"tags": True, "cache": str(folder), "tokenizer": word} | changes))


def test_a_test_set_of_ones_own_is_read_behind_the_tag_and_not_trained_on(tmp_path):
    config = tagged_files(tmp_path)
    (text,) = corpus.test_texts(config, ["mine"])
    assert (text.source, text.tagged_source()) == (["one", "eight"], ["<2de> one", "<2de> eight"])
    assert (text.source_language, text.language) == ("en", "de")
    assert {"one", "eins"} <= {*corpus.held_out_sentences(config)}
    prepared = prepare(config, 1)
    assert prepared.table.checks.dropped["in_test"] == 1
    assert len(prepared.train) == 5


def test_gold_links_count_words_of_the_text_and_not_the_tag(tmp_path):
    """Attention that stays on the first piece of each target word's place is judged as without tags."""
    gold = write(tmp_path / "gold", "0-0", "", "0-1 1-0")
    text = corpus.validation_text(tagged_files(tmp_path, gold=gold))
    assert (text.gold, text.tags) == (["0-0", "", "0-1 1-0"], ["<2de>"] * 3)
    wrong = write(tmp_path / "wrong", "1-0", "", "0-1 1-0")
    with pytest.raises(DataError, match=r"wrong:1.* outside its source sentence of 1 words"):
        corpus.validation_text(tagged_files(tmp_path, gold=wrong))


def test_what_is_counted_of_a_tagged_set_is_counted_of_its_text(tmp_path):
    """Gold links, unaligned words, lengths and blank lines; loss and translations are those of the tagged text."""
    gold = write(tmp_path / "gold", "0-0", "", "0-1 1-0")
    config = tagged_files(tmp_path, gold=gold)
    tokenizers, text = prepare(config, 1).tokenizers, corpus.validation_text(config)
    torch.manual_seed(1)
    model = build_model(
        LSTMConfig(hidden_size=8, attention=GlobalConfig()), tokenizers.source.size, tokenizers.target.size, True
    )
    options = EvaluationOptions(
        torch.device("cpu"), DecodeConfig(beam_size=1, max_length=3, allow_unk=True), challenges=True
    )
    found = evaluate(model, tokenizers, text, options)
    directed = replace(tokenizers, source=TaggedTokenizer(tokenizers.source, "<2de>"))
    expected = evaluate(model, directed, replace(text, tags=None), options)
    assert (found.loss, found.hypotheses) == (expected.loss, expected.hypotheses)
    assert found.hypotheses[1] == ""
    assert (found.alignment, found.by_length, found.challenges) == (
        expected.alignment,
        expected.by_length,
        expected.challenges,
    )
    assert found.alignment
    assert found.challenges is not None
    assert found.challenges.unaligned is not None
    assert found.challenges.unaligned.of <= 3


def test_a_named_corpus_is_read_both_ways(tmp_path):
    """Multi30k's files of each language serve as source and as target."""
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (tmp_path / "multi30k").mkdir(exist_ok=True)
            write(tmp_path / "multi30k" / f"{split}.{language}", f"{split} {language}")
    config = Multi30kConfig(root=str(tmp_path), pairs=BOTH, tags=True)
    assert list(training_pairs(config, 1)) == [("<2de> train en", "train de"), ("<2en> train de", "train en")]
    assert [t.name for t in corpus.test_texts(config)] == ["test_2016_flickr.en-de", "test_2016_flickr.de-en"]


def run(main, *words: str) -> None:
    with patch.object(sys, "argv", ["nmt", *words]):
        main()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    """A run of both directions, trained for a few updates."""
    folder = tmp_path_factory.mktemp("both")
    words = [
        *(f"runs={folder}", f"data.cache={folder}/cache", "name=both", "data.pairs=[en-de,de-en]", "data.tags=true"),
        *("data.train_size=60", "data.validation_size=4", "data.test_size=3", "data.tokenizer.vocab_size=400"),
        *("model.hidden_size=16", "trainer.max_steps=3", "decode=greedy", "logger.tensorboard=false", "device=cpu"),
        *("threads=1", "decode.max_length=8"),
    ]
    return nmt.train(words).directory


def test_from_training_to_translation(both, tmp_path, capsys):
    """Each test set has its results; a text is translated as its tagged source is by the bare model."""
    for pair, language in (("en-de", "de"), ("de-en", "en")):
        found = read_results(both / "scores" / f"test.{pair}")
        assert found["sentences"] == 3
        assert found["languages"] == pair.split("-")
        assert "<2" not in (both / "scores" / f"test.{pair}" / "source.txt").read_text(encoding="utf-8")
        texts = ["one two", "drei Hunde"]
        loaded = nmt.load(both, device="cpu", into=language)
        opened = Run.open(both)
        assert loaded.language == language
        plain = [opened.tokenizers.source.encode([tagged(text, f"<2{language}>")])[0] for text in texts]
        assert loaded.tokenizers.source.encode(texts) == plain
        source = tmp_path / "in"
        write(source, *texts)
        words = (f"run={both}", f"input={source}", f"output={tmp_path / 'out'}", f"translate.into={language}")
        run(translate.main, *words, "device=cpu", "threads=1")
        assert (tmp_path / "out").read_text(encoding="utf-8").splitlines() == loaded.translate(texts)
        assert "chooses" not in capsys.readouterr().err
        links = loaded.align(texts, ["eins zwei", "three dogs"])
        assert {s for row in links for s, _ in row} <= {0, 1}
        capsys.readouterr()
        words = (f"run={both}", f"source={source}", f"target={source}", f"align.into={language}", "device=cpu")
        run(align.main, *words)
        assert capsys.readouterr().out.splitlines() == [
            " ".join(f"{s}-{t}" for s, t in row) for row in loaded.align(texts, texts)
        ]
    assert nmt.load(both, device="cpu").language == "de"


def test_which_direction_is_taken_by_default_is_said(both, tmp_path, capsys):
    source = write(tmp_path / "in", "one two")
    run(translate.main, f"run={both}", f"input={source}", "device=cpu", "threads=1")
    assert "note: into de, the first of de, en; translate.into=LANGUAGE chooses\n" in capsys.readouterr().err
    run(align.main, f"run={both}", f"source={source}", f"target={source}", "device=cpu", "threads=1")
    assert "note: into de, the first of de, en; align.into=LANGUAGE chooses\n" in capsys.readouterr().err


def test_a_server_translates_into_the_language_that_was_typed(both, monkeypatch):
    served: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda translator, options, say: served.append(translator))
    for language in ("en", "de"):
        run(serve.main, f"run={both}", f"serve.into={language}", "device=cpu", "threads=1")
        texts = ["one two", "drei Hunde"]
        assert served[-1].translate(texts) == nmt.load(both, device="cpu", into=language).translate(texts)
        assert served[-1].language == language
        with serving(served[-1]) as client:
            told = client.get("/health").tree
            assert (told["source"], told["target"]) == ({"en": "de", "de": "en"}[language], language)
    with pytest.raises(SystemExit, match=r"error: serve\.into=fr: this run translates into de, en"):
        run(serve.main, f"run={both}", "serve.into=fr", "device=cpu", "threads=1")


def test_a_report_draws_what_the_model_reads(both, monkeypatch):
    """The sources beside scores have no tags."""
    drawn: list[Any] = []
    monkeypatch.setattr(Painter, "attention", lambda painter, pairs, kind: drawn.extend(pairs) or [])
    of = configurations(read_runs([both]))
    for pair in ("en-de", "de-en"):
        drawn.clear()
        side_by_side(of, [SetKey(f"test.{pair}", "")], 2, torch.device("cpu"))
        (text,) = corpus.test_texts(Run.open(both).config.data, [f"test.{pair}"])
        ids = Run.open(both).tokenizers.source.encode(text.tagged_source())
        assert [ids[one.sentence] for one in drawn] == [one.source for one in drawn]
        assert len(drawn) == 2


def test_a_language_that_was_not_trained_is_refused(both, tmp_path):
    with pytest.raises(ConfigError, match=r"^translate\.into=fr: this run translates into de, en$"):
        nmt.load(both, device="cpu", into="fr")
    source = write(tmp_path / "in", "one")
    with pytest.raises(SystemExit, match=r"error: align\.into=fr: this run translates into de, en"):
        run(align.main, f"run={both}", f"source={source}", f"target={source}", "align.into=fr", "device=cpu")


def test_runs_are_compared_in_the_language_of_each_set(both, monkeypatch):
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        eval, "compare_runs", lambda found, metrics, language: asked.append((found[0].text.name, language))
    )
    run(eval.main, f"run=[{both},{both}]", "device=cpu", "threads=1")
    assert asked == [("test.en-de", "de"), ("test.de-en", "en")]


def test_a_model_card_names_the_direction_of_each_set(both, tmp_path):
    folder, _ = export(ExportRequest(Run.open(both), "huggingface", output=tmp_path / "card"))
    card = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    found = {one["dataset"]["name"]: one["dataset"]["args"] for one in card["model-index"][0]["results"]}
    assert (found["test.en-de"], found["test.de-en"]) == ("en-de", "de-en")


def test_a_set_is_scored_by_its_name(both, capsys):
    """Of one direction, or of all."""
    run(eval.main, f"run={both}", "data.test=[test.de-en]", "device=cpu", "threads=1")
    out = capsys.readouterr().out
    assert "test.de-en: 3 sentences" in out
    assert "test.en-de: " not in out


def test_a_run_of_one_direction_has_no_tags():
    tokenizers: Any = object()
    assert toward(tokenizers, PhrasesConfig(), None, "x")[0] is tokenizers
    with pytest.raises(ConfigError, match="x=en: this run translates into de"):
        toward(tokenizers, PhrasesConfig(), "en", "x")
