"""nmt.augment as typed: which pairs each method makes, what is left out, and that a killed command goes on."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import MODELS, make_run

import nmt
from nmt.augment import writing
from nmt.cli import augment
from nmt.data.corpus import PhrasesConfig, training_pairs
from nmt.runs.directory import read_config, save_config
from nmt.translate.translator import Translator

PHRASES = list(training_pairs(PhrasesConfig(train_size=4, validation_size=1, test_size=1), seed=1))
GERMAN = ["eins zwei", "drei , vier", "", "eins zwei", "Hund Katze", "sechs sieben acht", "neun"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """runs/f1 and f2 translate from English to German, b1 and b2 back; trained on four phrases."""
    folder = tmp_path_factory.mktemp("augment")
    for name in ("f1", "f2", "b1", "b2"):
        make_run(folder / "runs" / name, MODELS["local_p"], seed=ord(name[0]) + int(name[1]))
        config, languages = read_config(folder / "runs" / name), ("en", "de") if name[0] == "f" else ("de", "en")
        data = PhrasesConfig(source=languages[0], target=languages[1], train_size=4, validation_size=1, test_size=1)
        save_config(folder / "runs" / name, replace(config, data=replace(data, tokenizer=config.data.tokenizer)))
    (folder / "mono.de").write_text("".join(f"{line}\n" for line in GERMAN), encoding="utf-8")
    return folder


@pytest.fixture
def typed(runs, tmp_path, monkeypatch, capsys):
    """Call it with the words of a command: gives what was printed, or raises SystemExit."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs", "mono.de"):
        Path(name).symlink_to(runs / name)

    def typed(words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nmt.augment", *words.split(), "device=cpu", "threads=1"])
        augment.main()
        return capsys.readouterr().out

    return typed


def corpus(folder: str, source: str = "en", target: str = "de") -> list[tuple[str, ...]]:
    texts = [Path(folder, name).read_text().split("\n")[:-1] for name in (f"train.{source}", f"train.{target}")]
    return list(zip(*texts, strict=True))


def origins(folder: str) -> list[list[str]]:
    return [line.split("\t") for line in Path(folder, "origin.tsv").read_text().splitlines()]


def translations(run: str, texts: list[str]) -> list[str]:
    return nmt.load(f"runs/{run}", device="cpu").translate(texts)


def keep_cut(fault_of):
    """The filter, but for translations that were cut, which untrained models' often are."""
    return lambda pair, line, finished, original, seen: fault_of(pair, line, True, original, seen)


def test_back_translation_makes_sources_of_the_text(typed):
    """Each with its origin; blank lines and pairs that are there already are left out."""
    said = typed("run=runs/b1 method=back input=mono.de output=back tag='<BT>'")
    found = dict(zip(GERMAN, translations("b1", GERMAN), strict=True))
    made = corpus("back")
    assert made, said
    assert all(source == f"<BT> {found[target]}" for source, target in made)
    assert origins("back") == [["runs/b1", "mono.de", str(GERMAN.index(target) + 1)] for _, target in made]
    assert f"back: {len(made)} pairs" in said
    assert "left out, blank: 1" in said
    assert "data.more.NAME.source=back/train.en data.more.NAME.target=back/train.de" in said
    counts = json.loads(Path("back/augment.json").read_text())["pairs"]
    assert sum(counts.values()) == len(GERMAN)
    assert counts["kept"] == len(made)
    assert not Path("back.parts").exists()


def test_forward_translation_makes_targets_of_the_text(typed):
    typed("run=[runs/b1,runs/b2] method=forward input=[mono.de,mono.de] output=forward")
    made = corpus("forward", "de", "en")
    assert len(set(made)) == len(made)
    wanted = [(text, t) for run in ("b1", "b2") for text, t in zip(GERMAN, translations(run, GERMAN), strict=True)]
    assert set(made) <= set(wanted)
    assert {run for run, _, _ in origins("forward")} == {"runs/b1", "runs/b2"}


def test_distillation_translates_the_training_text_of_the_run(typed, monkeypatch):
    monkeypatch.setattr(writing, "fault_of", keep_cut(writing.fault_of))
    typed("run=[[runs/f1,runs/f2]] method=distill output=distilled")
    sources = [source for source, _ in PHRASES]
    ensemble = nmt.load(["runs/f1", "runs/f2"], device="cpu").translate(sources)
    assert set(corpus("distilled")) <= set(zip(sources, ensemble, strict=True))
    assert {tuple(row[:2]) for row in origins("distilled")} == {("runs/f1 runs/f2", "phrases")}


def test_diversification_translates_both_sides_with_every_model(typed, monkeypatch):
    """K models each way; a pair of the training text is not repeated."""
    monkeypatch.setattr(writing, "fault_of", keep_cut(writing.fault_of))
    typed("run=[runs/f1,runs/f2] reverse=[runs/b1,runs/b2] method=diversify output=diverse")
    wanted = set()
    for run in ("f1", "f2"):
        wanted |= {(x, t) for (x, _), t in zip(PHRASES, translations(run, [x for x, _ in PHRASES]), strict=True)}
    for run in ("b1", "b2"):
        wanted |= {(t, y) for (_, y), t in zip(PHRASES, translations(run, [y for _, y in PHRASES]), strict=True)}
    wanted = {(x, y) for x, y in wanted if x and y}
    assert set(corpus("diverse")) == wanted
    assert {run for run, _, _ in origins("diverse")} == {"runs/f1", "runs/f2", "runs/b1", "runs/b2"}
    assert json.loads(Path("diverse/augment.json").read_text())["pairs"].get("cut") is None


@pytest.mark.parametrize(
    ("pair", "text", "more", "fault"),
    [
        (("a", "b"), "b", (True, False, False), None),
        (("a", " "), " ", (True, False, False), "blank"),
        (("", "b"), "b", (True, False, False), "no translation"),
        (("a", "b"), "b", (False, False, False), "cut"),
        (("a", "b"), "b", (True, True, False), "as the original"),
        (("a", "b"), "b", (True, False, True), "duplicate"),
    ],
)
def test_what_is_left_out_and_why(pair, text, more, fault):
    assert writing.fault_of(pair, writing.Line(text, "x", 1), *more) == fault
    assert fault is None or fault in writing.DROPPED


@pytest.mark.parametrize("decode", ["decode=greedy", "decode=sample"])
def test_a_killed_command_goes_on_and_makes_the_same(typed, monkeypatch, decode):
    """A chunk at a time; what was translated is not translated again."""
    monkeypatch.setattr(writing, "CHUNK", 2)
    words = f"run=runs/b1 method=back input=mono.de {decode} decode.max_length=20"
    typed(f"{words} output=whole")
    real, calls = Translator.hypotheses, []

    def interrupted(self, texts, **more):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, texts, **more)

    monkeypatch.setattr(Translator, "hypotheses", interrupted)
    with pytest.raises(SystemExit):
        typed(f"{words} output=parts")
    assert sorted(path.name for path in Path("parts.parts").iterdir()) == [
        "00-00000000.jsonl", "00-00000001.jsonl", "settings.json"
    ]  # fmt: skip
    assert not Path("parts").exists()
    with pytest.raises(SystemExit, match=r"parts\.parts holds the beginning of another command, or of other text"):
        typed(f"{words} output=parts decode.max_length=21")
    typed(f"{words} output=parts")
    assert len(calls) == 5
    for name in ("train.en", "train.de", "origin.tsv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert not Path("parts.parts").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run=runs/b1 method=back input=none.de output=x", "input: no file none.de"),
        ("run=runs/b1 method=sideways output=x", "method"),
        ("run=runs/b1 output=x", "method is missing: type method="),
        ("run=runs/b1 method=back input=mono.de output=runs", "output=runs is there already; type another folder"),
        ("run=runs/b1 method=back input=mono.de output=x tag=''", "tag must be one word without spaces"),
        ("run=runs/f1 method=diversify output=x", "method=diversify needs runs of both directions: reverse="),
        ("run=runs/f1 reverse=runs/b1 method=distill output=x", "reverse goes with method=diversify"),
        ("run=runs/f1 method=distill input=mono.de output=x", "method=distill translates the training text"),
        ("run=[runs/f1,runs/b1] method=distill output=x", "run: runs/b1 translates de-en, and runs/f1 en-de"),
        ("run=runs/f1 reverse=runs/f2 method=diversify output=x", "runs/f2 translates en-de, which is not the other"),
        ("run=runs/f1 reverse=runs/none method=diversify output=x", "runs/none"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(typed, words, said):
    with pytest.raises(SystemExit) as caught:
        typed(words)
    assert said in str(caught.value.code)
    assert "\n" not in str(caught.value.code).strip() or "did you mean" in str(caught.value.code)
    assert not Path("x").exists()
    assert not Path("x.parts").exists()


def test_a_model_that_was_trained_anew_is_another(typed, monkeypatch):
    """Under the same name, and of the same step."""

    def broken(request):
        raise OSError(28, "No space left on device")

    words = "run=runs/b1 method=back input=mono.de output=back"
    Path("runs").unlink()
    shutil.copytree(Path("mono.de").resolve().parent / "runs", "runs")
    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_corpus", broken)
        with pytest.raises(SystemExit, match="No space left on device"):
            typed(words)
    file = Path("runs/b1/checkpoints/best.pt")
    state = torch.load(file)
    state["model"]["projection.bias"][0] += 1
    torch.save(state, file)
    with pytest.raises(SystemExit, match=r"holds the beginning of another command"):
        typed(words)


def test_a_corpus_without_pairs_is_not_written(typed):
    Path("none.de").write_text("")
    with pytest.raises(SystemExit, match=r"output=back: no pair is kept \(the text has no lines\)"):
        typed("run=runs/b1 method=back input=none.de output=back")
    assert not Path("back").exists()


def test_bytes_that_are_not_utf8_are_named(typed):
    Path("bad.de").write_bytes(b"eins\n\xff\n")
    with pytest.raises(SystemExit, match=r"bad\.de line 2: bytes that are not UTF-8"):
        typed("run=runs/b1 method=back input=bad.de output=x")
    assert not Path("x").exists()


def test_a_damaged_part_is_named(typed, monkeypatch):
    def stop(request):
        raise KeyboardInterrupt

    words = "run=runs/b1 method=back input=mono.de output=x"
    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_corpus", stop)
        with pytest.raises(SystemExit):
            typed(words)
    Path("x.parts/00-00000000.jsonl").write_text('["a", true]\n')
    with pytest.raises(
        SystemExit, match=r"x\.parts/00-00000000\.jsonl is damaged; remove it and type the command again"
    ):
        typed(words)
