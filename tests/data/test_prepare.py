"""Preparing: what is read again from the cache is what was put there, and the cache knows everything it depends on."""

import dataclasses
import errno
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from nmt.data import prepare as module
from nmt.data.batching import TrainBatches
from nmt.data.checks import ChecksConfig
from nmt.data.corpus import FilesConfig, TextFiles
from nmt.data.encode import RECORD_BATCH_PAIRS, open_text, read_side, write_ids, write_text
from nmt.data.prepare import SUMS, build_once, find_damage, load_tests, prepare
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind, train_tokenizers
from nmt.errors import ConfigError, DataError

ENGLISH = [f"The {a} dog \u00a0sees {n} cats" for a in ("old", "young") for n in range(20)]
GERMAN = [f"Der {a} Hu\u0308nd sieht {n} Katzen " for a in ("alte", "junge") for n in range(20)]


@pytest.fixture
def config(tmp_path):
    for name, texts in {
        "train.en": ["", *ENGLISH],
        "train.de": ["?", *GERMAN],
        "dev.en": ["a"],
        "dev.de": [" b "],
    }.items():
        (tmp_path / name).write_text("".join(t + "\n" for t in texts), encoding="utf-8")
    train, dev = (TextFiles(str(tmp_path / f"{s}.en"), str(tmp_path / f"{s}.de")) for s in ("train", "dev"))
    return FilesConfig(
        train=train, validation=dev, cache=str(tmp_path / "cache"), tokenizer=TokenizerConfig(vocab_size=330)
    )


def folders(config):
    return {path.name for path in Path(config.cache).iterdir()}


def everything(prepared):
    """All pairs as ids."""
    return prepared.train.read(np.arange(len(prepared.train)))


def test_ids_are_the_checked_text(config):
    """Each pair's ids decode to its text in NFC, stripped; blanks are dropped; validation text stays raw."""
    prepared = prepare(config, seed=1)
    sources, targets = everything(prepared)
    assert prepared.tokenizers.source.decode(sources) == ENGLISH
    assert prepared.tokenizers.target.decode(targets) == [t.replace("u\u0308", "ü").strip() for t in GERMAN]
    assert prepared.train.lengths.tolist() == [[len(r) for r in rows] for rows in (sources, targets)]
    assert prepared.validation.target == [" b "]
    assert (prepared.table.pairs, prepared.table.checks.read) == (40, 41)


def test_second_time_comes_from_the_cache(config, monkeypatch):
    """Nothing is read, learnt or encoded again, and the table is the same."""
    first = prepare(config, seed=1)
    for name in ("write_checked_text", "train_tokenizers"):
        monkeypatch.setattr(module, name, None)
    monkeypatch.setattr(module.encode, "write_ids", None)
    again = prepare(config, seed=1)
    assert everything(again) == everything(first)
    assert again.table == first.table
    assert again.tokenizers.digest() == first.tokenizers.digest()
    assert json.loads(json.dumps(again.table.as_dict())) == again.table.as_dict()
    assert str(again.table) == str(first.table)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "flipped": lambda path: path.write_bytes(
        (data := path.read_bytes())[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_files_are_named_and_made_anew(config, damage):
    """Each of them is noticed, and what is prepared is what it was."""
    first = prepare(config, seed=1)
    for path in sorted(Path(config.cache).rglob("*")):
        if path.is_file():
            whole = path.read_bytes()
            DAMAGES[damage](path)
            found = find_damage(path.parent)
            assert found is not None
            assert path.name in found
            path.write_bytes(whole)
            assert find_damage(path.parent) is None
    for name in ("text.arrow", "joint.model", "lengths.npy"):
        DAMAGES[damage](next(Path(config.cache).rglob(name)))
    again = prepare(config, seed=1)
    assert everything(again) == everything(first)
    said = [note for note in again.table.notes if "was damaged" in note]
    assert [name for note, name in zip(said, ("text", "joint", "lengths"), strict=True) if name not in note] == []
    assert prepare(config, seed=1).table == first.table


def test_a_digest_tells_texts_apart(config):
    """Of the pairs that are trained on, with and without links: a resumed training compares it."""
    found = [prepare(config, seed=1).train.text_digest for _ in range(2)]
    path = Path(config.train.source)
    path.write_text(path.read_text(encoding="utf-8").replace("7 cats", "8 cats"), encoding="utf-8")
    found.append(prepare(config, seed=1).train.text_digest)
    assert found[0] == found[1] != found[2]
    assert None not in found


def replaced(config, **changes):
    return dataclasses.replace(config, **changes)


def with_tokenizer(**changes):
    return lambda config: replaced(config, tokenizer=dataclasses.replace(config.tokenizer, **changes))


CHANGES = {
    "checks": (lambda c: replaced(c, checks=ChecksConfig(max_ratio=5.0)), {"text", "tokenizer", "ids"}),
    "kind": (with_tokenizer(kind=TokenizerKind.char), {"tokenizer", "ids"}),
    "lowercase": (with_tokenizer(lowercase=True), {"tokenizer", "ids"}),
    "joint": (with_tokenizer(joint=False), {"tokenizer", "ids"}),
    "sampling": (with_tokenizer(sampling=0.1), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_cache_key(config, change):
    """A change makes anew what depends on it and nothing else."""
    make, expected = CHANGES[change]
    prepare(config, seed=1)
    before = folders(config)
    prepare(make(config), seed=1)
    assert {name.split("-")[0] for name in folders(config) - before} == expected


def test_cache_follows_the_text(config):
    """Another training file is read; the old one's ids stay as they were."""
    before = everything(prepare(config, seed=1))
    Path(config.train.source).write_text("".join(f"{n} birds\n" for n in range(41)), encoding="utf-8")
    after = prepare(config, seed=1)
    assert after.tokenizers.source.decode(everything(after)[0])[-1] == "40 birds"
    assert everything(after) != before


def test_cache_follows_code_and_library(config, monkeypatch):
    """Another SentencePiece makes everything anew; so does changed code."""
    prepare(config, seed=1)
    before = folders(config)
    monkeypatch.setattr(module, "version", lambda name: "99")
    prepare(config, seed=1)
    assert len(folders(config) - before) == 3
    (Path(config.cache).parent / "prepare.py").write_text("# changed")
    monkeypatch.setattr(module, "__file__", str(Path(config.cache).parent / "prepare.py"))
    before = folders(config)
    prepare(config, seed=1)
    assert len(folders(config) - before) == 3


def test_seed_counts_only_where_something_is_drawn(config):
    """Runs with several seeds share one cache, unless the tokenizer is learnt from a sample."""
    prepare(config, seed=1)
    before = folders(config)
    prepare(config, seed=2)
    assert folders(config) == before
    few = with_tokenizer(kind=TokenizerKind.word, sample_sentences=5)(config)
    first, second = (prepare(few, seed=seed).tokenizers.digest() for seed in (1, 2))
    assert first != second
    assert first == prepare(replaced(few, cache=config.cache + "2"), seed=1).tokenizers.digest()


def test_given_tokenizers_are_used(config):
    """Another run's tokenizers encode the text; none is learnt."""
    words = TokenizerConfig(kind=TokenizerKind.word, joint=False)
    given = train_tokenizers(words, ["dog The"], ["Der"], seed=1)
    prepared = prepare(config, 1, tokenizers=given)
    assert prepared.tokenizers is given
    assert everything(prepared)[0] == given.source.encode(ENGLISH)
    assert prepared.table.source.unknown == 40 * 4
    assert not any(name.startswith("tokenizer") for name in folders(config))


def test_sampling_keeps_the_text(config):
    """With subword regularization batches spell the same text in other pieces."""
    config = with_tokenizer(sampling=0.3)(config)
    prepared = prepare(config, seed=1)
    batch = next(iter(TrainBatches(prepared.train, config.batching, seed=1)))
    source = prepared.tokenizers.source
    assert source.decode(batch.source.tolist()) == [ENGLISH[i] for i in batch.ids.tolist()]
    assert batch.source_lengths.tolist() != prepared.train.lengths[0, batch.ids].tolist()


def test_more_than_one_chunk(tmp_path):
    """The parts of a corpus that are written one after the other are read as one."""
    pairs = [(f"{i} a", "b " * (i % 3) + "c") for i in range(RECORD_BATCH_PAIRS + 7)]
    write_text(iter(pairs), tmp_path)
    text = open_text(tmp_path)
    assert list(zip(read_side(text, "source"), read_side(text, "target"), strict=True)) == pairs
    tokenizers = train_tokenizers(TokenizerConfig(kind=TokenizerKind.char), *zip(*pairs, strict=True), seed=1)
    write_ids(text, tokenizers, tmp_path, lambda side, texts, _: tokenizers.sides[side].encode(texts))
    lengths = np.load(tmp_path / "lengths.npy")
    assert lengths.tolist() == [[len(p[side]) for p in pairs] for side in (0, 1)]


def test_two_at_once(tmp_path):
    """Both builders finish, both see the folder whole, and nothing else is left."""
    meet, seen = threading.Barrier(2), []

    def build(part):
        (part / "a").write_text("whole")
        meet.wait(timeout=10)  # neither is done before the other has begun
        (part / "b").write_text("whole")

    def work():
        folder = build_once(tmp_path / "made", build, [])
        seen.append(sorted(p.name for p in folder.iterdir()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == [["a", "b", SUMS]] * 2
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_folder_appears_whole(tmp_path):
    """Nothing is at the place while it is built; then what was built is moved there, not copied."""
    inodes = []

    def build(part):
        assert not (tmp_path / "made").exists()
        inodes.append(part.stat().st_ino)

    assert build_once(tmp_path / "made", build, []).stat().st_ino == inodes[0]


def test_a_failure_leaves_nothing(tmp_path):
    def build(part):
        (part / "a").write_text("half")
        raise DataError("line 3 is bad")

    with pytest.raises(DataError):
        build_once(tmp_path / "made", build, [])
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache_is_explained(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache="):
        prepare(replaced(config, cache=str(tmp_path / "file")), seed=1)


def test_a_full_disk_is_explained(tmp_path):
    def build(part):
        (part / "a").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match=r"data\.cache=.* cannot be written: No space left on device"):
        build_once(tmp_path / "made", build, [])
    assert list(tmp_path.iterdir()) == []


def test_no_training_text_is_explained(config):
    """By the file that has none."""
    for path in (config.train.source, config.train.target):
        Path(path).write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"nothing to train on: there is no .*train\.en line 1"):
        prepare(config, seed=1)


def test_a_validation_set_of_blank_lines_is_refused(config):
    """Its loss would be that of end-of-sentence, and choose the weights."""
    for path, lines in ((config.validation.source, "\n \nx\n"), (config.validation.target, "\nx\n\u00a0\n")):
        Path(path).write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=r"^validation: a side of every pair is blank"):
        prepare(config, seed=1)


def test_notes(config):
    """The table says where a setting does not do what it says."""
    words = with_tokenizer(kind=TokenizerKind.word, sampling=0.1)(config)
    assert any("data.tokenizer.sampling does nothing" in note for note in prepare(words, seed=1).table.notes)
    config = with_tokenizer(vocab_size=8000)(config)
    config.batching.tokens = 4
    notes = prepare(config, seed=1).table.notes
    assert any("data.tokenizer.vocab_size=8000" in note for note in notes)
    assert any("data.batching.tokens=4" in note for note in notes)


def test_load_tests(config, tmp_path):
    """Test sets come raw and by name."""
    extra = {"mine": {"source": str(tmp_path / "dev.en"), "target": str(tmp_path / "dev.de")}}
    (text,) = load_tests(replaced(config, tests=extra))
    assert (text.name, text.source, text.target) == ("mine", ["a"], [" b "])
    with pytest.raises(ConfigError, match="nobody"):
        load_tests(config, ["nobody"])
