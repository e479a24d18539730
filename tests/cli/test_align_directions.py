"""nmt.eval.align of runs of several directions: which direction each of the two runs is read in."""

import re
from pathlib import Path

import pytest
from command_line import refused, typed
from tiny_runs import ENGLISH, GERMAN, LSTMS, make_run

from nmt.cli import align
from nmt.data.corpus import PhrasesConfig
from nmt.data.tokenizer import TokenizerKind
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.runs.directory import Run, save_config

MODEL = LSTMConfig(attention=GlobalConfig(), **LSTMS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with texts, runs of one direction, and two of both directions in different orders."""
    folder = tmp_path_factory.mktemp("directions")
    for name, pairs, seed in (
        ("both", ["en-de", "de-en"], 1),
        ("other", ["de-en", "en-de"], 2),
        ("en_de", None, 3),
        ("de_en", None, 4),
    ):
        run = make_run(folder / name, MODEL, TokenizerKind.bpe, seed)
        config = Run.open(run).config
        assert isinstance(config.data, PhrasesConfig)
        config.data.validation_size = 6
        if pairs is None:
            config.data.source, config.data.target = name.split("_")
        else:
            config.data.pairs, config.data.tags = pairs, True
        (run / "config.yaml").unlink()
        save_config(run, config)
    (folder / "text.en").write_text("".join(f"{line}\n" for line in ENGLISH), encoding="utf-8")
    (folder / "text.de").write_text("".join(f"{line}\n" for line in GERMAN), encoding="utf-8")
    return folder


def links(folder: Path, *words: str) -> list[str]:
    """What is written for the texts, from English to German unless words say otherwise."""
    given = {"source": folder / "text.en", "target": folder / "text.de", "output": folder / "found"}
    given |= dict(word.split("=", 1) for word in words)
    typed(*(f"{key}={value}" for key, value in given.items()), command=align.COMMAND, job=align.align_files)
    return (folder / "found").read_text(encoding="utf-8").splitlines()


def turned(folder: Path) -> tuple[str, str]:
    return f"source={folder / 'text.de'}", f"target={folder / 'text.en'}"


@pytest.mark.parametrize(
    ("run", "into", "reverse", "back"),
    [
        ("both", "de", "both", "en"),  # one run, both ways
        ("both", "en", "both", "de"),
        ("both", "de", "other", "en"),  # whose first direction is the wanted one
        ("other", "de", "both", "en"),
        ("both", "de", "de_en", None),
        ("en_de", None, "both", "en"),
        ("both", None, "de_en", None),
    ],
)
def test_the_reverse_run_translates_back(runs, run, into, reverse, back):
    """The links are those of both runs, each told its direction by itself, merged."""
    mine, theirs = ([] if code is None else [f"align.into={code}"] for code in (into, back))
    texts, texts_back = ([*turned(runs)], []) if into == "en" else ([], [*turned(runs)])
    each = {"forward": (run, [*mine, *texts]), "back": (reverse, [*theirs, *texts_back])}
    for file, (name, words) in each.items():
        found = links(runs, f"run={runs / name}", *words)
        (runs / f"{file}.align").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    files = f"run={runs / 'forward.align'}", f"reverse={runs / 'back.align'}"
    expected = links(runs, *files, *texts, "symmetrize=union")
    assert links(runs, f"run={runs / run}", f"reverse={runs / reverse}", *mine, *texts, "symmetrize=union") == expected


def test_a_run_without_that_direction_is_refused(runs):
    words = [f"run={runs / 'both'}", f"reverse={runs / 'en_de'}", "align.into=de"]
    words += [f"source={runs / 'text.en'}", f"target={runs / 'text.de'}"]
    message = refused(*words, command=align.COMMAND, job=align.align_files)
    assert "translates en into de, and run translates en into de: reverse has to be of the other direction" in message


def test_layers_are_chosen_by_the_pairs_of_the_direction_that_is_aligned(runs, monkeypatch, capsys):
    """Without tags in the text: each run puts its own in front."""
    read = []
    original = align.links_by_reading

    def recorded(model, tokenizers, texts, *rest):
        read.append((tokenizers.source.encode(texts[0]), [*map(list, texts)]))
        return original(model, tokenizers, texts, *rest)

    monkeypatch.setattr(align, "links_by_reading", recorded)
    links(runs, f"run={runs / 'both'}", f"reverse={runs / 'other'}", "align.into=en", *turned(runs), "align.layer=auto")
    assert re.search("of the links of 6 validation pairs are those of both", capsys.readouterr().err)
    (ids, (german, english)), (ids_back, (english_back, german_back)) = read
    assert (german, english) == (german_back, english_back)
    assert not any("<2" in text for text in (*german, *english))
    assert any(re.search(r"\bund\b|ü|ß|ä|ö", text) for text in german)
    for name, rows, texts, tag in (("both", ids, german, "<2en>"), ("other", ids_back, english, "<2de>")):
        tokenizer = Run.open(runs / name).tokenizers.source
        assert rows == tokenizer.encode([f"{tag} {text}" for text in texts])
