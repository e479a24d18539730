"""Test sets that sacreBLEU knows by name, from a cache that the tests make; no network."""

import os
import subprocess
import sys
import urllib.error

import pytest
import sacrebleu

from nmt.data import corpus as corpora
from nmt.data.corpus import PhrasesConfig
from nmt.errors import ConfigError, DataError

PAIRS = [("One.", "Eins."), ("Two and two.", "Zwei und zwei.")]
LOAD = """
from nmt.data import corpus
(text,) = corpus.test_texts(corpus.PhrasesConfig(source="eng_Latn", target="deu", test=["wmt14"]))
print(text.name, text.source, text.target)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """sacreBLEU's folder with the processed files of wmt14 en-de."""
    folder = tmp_path / "wmt14"
    folder.mkdir()
    for place, field in enumerate(sacrebleu.DATASETS["wmt14"].fieldnames("en-de")):
        lines = [pair[place] if place < 2 else "x" for pair in PAIRS]
        (folder / f"wmt14.en-de.{field}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name in ("wmt14", "wmt13"):
        monkeypatch.setattr(sacrebleu.DATASETS[name], "_outdir", str(tmp_path / name))
        monkeypatch.setattr(sacrebleu.DATASETS[name], "_rawdir", str(tmp_path / name / "raw"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    return tmp_path


def no_network(*words, **keys):
    raise urllib.error.URLError("no such host")


def test_the_environment_names_the_cache(cache):
    """In a process of its own, because sacreBLEU reads the variable once; other codes of a language are understood."""
    found = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**os.environ, "SACREBLEU": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    source, target = map(list, zip(*PAIRS, strict=True))
    assert found.stdout == f"wmt14 {source} {target}\n", found.stderr


def test_a_set_is_scored_by_its_name_and_kept_out_of_training(cache):
    config = PhrasesConfig(train_size=100, validation_size=2, test_size=2, test=["wmt14", "test"])
    assert [text.name for text in corpora.test_texts(config)] == ["wmt14", "test"]
    assert {"Two and two.", "Zwei und zwei."} <= set(corpora.held_out_sentences(config))
    other = PhrasesConfig(train_size=100, validation_size=2, test_size=2)
    assert "Zwei und zwei." not in set(corpora.held_out_sentences(other))
    assert corpora.fingerprint(config, 1) != corpora.fingerprint(other, 1)


def test_what_cannot_be_had_is_said(cache):
    """In one line: languages that a set does not have, no network, and names that are not known at all."""
    with pytest.raises(ConfigError, match=r"data\.test=wmt14: sacreBLEU has no en-hu of this set, only cs-en, "):
        corpora.test_texts(PhrasesConfig(target="hu", test=["wmt14"]))
    with pytest.raises(
        DataError, match=r"data\.test=wmt13: .* could not be fetched: no such host\. .*-t wmt13 -l en-de"
    ):
        corpora.test_texts(PhrasesConfig(test=["wmt13"]))
    with pytest.raises(ConfigError, match="has no test set 'wmt1'"):
        corpora.test_texts(PhrasesConfig(test=["wmt1"]))


def test_several_references_are_named(cache, monkeypatch):
    """One is scored against: which, is for the user to say."""
    files = [str(cache / "wmt14" / f"wmt14.en-de.{field}") for field in ("ref", "docid")]
    monkeypatch.setattr(sacrebleu.DATASETS["wmt14"], "get_reference_files", lambda pair: files)
    with pytest.raises(ConfigError, match=rf"has 2 references a sentence.* data\.tests\.NAME\.target={files[0]}"):
        corpora.test_texts(PhrasesConfig(test=["wmt14"]))
