"""Files of parallel text: lines stay paired, none is lost, and messages name the place of a fault."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nmt.data.corpus as corpora
from nmt.data.checks import Action, CheckCounts, ChecksConfig, Side, clean
from nmt.data.corpus import FilesConfig, TextFiles
from nmt.data.files import explain_unequal, file_pairs
from nmt.data.misalignment import find_missing_lines
from nmt.data.textfile import strict_lines
from nmt.errors import ConfigError, DataError

PAIRS = [("One.", "Eins."), ("Two and two.", "Zwei und zwei."), ("Three.", "Drei.")]
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def write(path, lines, suffix=""):
    """Lines (text or bytes) in a file, compressed according to its suffix; its name."""
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_name(path.name + suffix)
    path.write_bytes(COMPRESS[suffix](data))
    return str(path)


def sides(folder, stem, pairs=PAIRS, suffix="", languages=("en", "de")):
    names = [write(folder / f"{stem}.{languages[side]}", [pair[side] for pair in pairs], suffix) for side in (0, 1)]
    return TextFiles(*names)


def trained(config):
    return list(corpora.training_pairs(config, 1))


def paired(text):
    return list(zip(text.source, text.target, strict=True))


def test_text_without_a_line_is_refused(tmp_path):
    """Of data.more, too; one of several files may be empty."""
    text, none = sides(tmp_path, "a"), sides(tmp_path, "none", pairs=[])
    both = TextFiles([text.source, none.source], [text.target, none.target])
    assert trained(FilesConfig(train=both, validation=text)) == PAIRS
    for config in (
        FilesConfig(train=none, validation=text),
        FilesConfig(train=text, validation=text, more={"back": none}),
    ):
        with pytest.raises(DataError, match=r"has nothing to train on: there is no .*none\.en line 1"):
            trained(config)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_files_plain_and_compressed(tmp_path, suffix):
    text = sides(tmp_path, "a", suffix=suffix)
    config = FilesConfig(train=text, validation=text)
    assert trained(config) == paired(corpora.validation_text(config)) == PAIRS


@pytest.mark.parametrize("suffix", list(COMPRESS)[1:])
def test_compressed_files_are_known_by_their_content(tmp_path, suffix):
    """Whatever they are called; and plain text is, whatever it begins with."""
    (tmp_path / "a.en").write_bytes(COMPRESS[suffix](b"One.\nTwo.\n"))
    assert strict_lines(tmp_path / "a.en") == ["One.", "Two."]
    (tmp_path / "b.en").write_text("BZh is no word\n")
    assert strict_lines(tmp_path / "b.en") == ["BZh is no word"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("mark", [True, False])
def test_utf16_is_refused_with_and_without_a_byte_order_mark(tmp_path, encoding, mark):
    """Without one its bytes are valid UTF-8, with zeros between the letters."""
    data = (("\ufeff" if mark else "") + "red house\nblue car\n").encode(encoding)
    (tmp_path / "a.en").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.en .*UTF-16"):
        strict_lines(tmp_path / "a.en")
    (tmp_path / "a.de").write_bytes(data)
    text = TextFiles(str(tmp_path / "a.en"), str(tmp_path / "a.de"))
    config = FilesConfig(train=text, validation=text)
    with pytest.raises(DataError, match=r"a\.en .*UTF-16"):
        list(clean(trained(config), config.checks, CheckCounts(), (), corpora.open_corpus(config).locate))


def test_several_files_a_side_follow_each_other(tmp_path):
    texts = [sides(tmp_path, stem, [(f"{stem} {n}", f"{n} {stem}") for n in range(3)]) for stem in "ab"]
    both = TextFiles([t.source for t in texts], [t.target for t in texts])
    config = FilesConfig(train=both, validation=texts[0])
    assert [source for source, _ in trained(config)] == ["a 0", "a 1", "a 2", "b 0", "b 1", "b 2"]
    assert corpora.open_corpus(config).locate(4, Side.target) == f"{texts[1].target} line 2"
    with pytest.raises(ConfigError, match=r"names 2 files and data\.train\.target 1: they are read in pairs"):
        trained(FilesConfig(train=TextFiles(both.source, texts[0].target), validation=texts[0]))


ODD = "ab \t\u0085\u00a0\u2028\u2029\u200b\u200d\u202f\ufeff\u0301\u000b\u000c\u001c\U0001f600\u0627"
line = st.text(alphabet=st.sampled_from(ODD) | st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=9)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(line, line), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_odd_characters_neither_shift_lines_nor_get_lost(tmp_path, pairs, windows, mark):
    """Whatever a line holds, and whether lines end in CRLF and a file begins with a byte order mark."""
    end, start = (b"\r\n" if windows else b"\n"), (b"\xef\xbb\xbf" if mark else b"")
    for side, name in enumerate(("x.en", "x.de")):
        (tmp_path / name).write_bytes(start + b"".join(pair[side].encode() + end for pair in pairs))
    text = TextFiles(str(tmp_path / "x.en"), str(tmp_path / "x.de"))
    config = FilesConfig(train=text, validation=text)
    if not mark:  # then a U+FEFF that begins the text is one
        pairs = [tuple(part.removeprefix("\ufeff") for part in pairs[0]), *pairs[1:]]
    assert trained(config) == paired(corpora.validation_text(config)) == pairs


def test_undecodable_bytes_are_located(tmp_path):
    text = sides(tmp_path, "x", [*PAIRS, (b"na\xc3\xafve caf\xe9", b"gut")])
    config = FilesConfig(train=text, validation=sides(tmp_path, "dev"))
    corpus = corpora.open_corpus(config)
    with pytest.raises(DataError, match=r"x\.en line 4, byte 11 \(0xe9\): bytes that are not UTF-8"):
        list(clean(corpus.pairs(1), config.checks, CheckCounts(), (), corpus.locate))
    with pytest.raises(DataError, match=r"x\.en line 4, byte 11 \(0xe9\)"):
        corpora.validation_text(FilesConfig(train=text, validation=text))
    dropping = ChecksConfig(undecodable=Action.drop)
    assert list(clean(corpus.pairs(1), dropping, CheckCounts(), (), corpus.locate)) == PAIRS


def test_a_broken_archive_is_named(tmp_path):
    text = sides(tmp_path, "x", PAIRS * 500, suffix=".gz")
    Path(text.target).write_bytes(Path(text.target).read_bytes()[:40])
    with pytest.raises(DataError, match=r"x\.de\.gz cannot be read"):
        trained(FilesConfig(train=text, validation=text))


def test_files_that_are_missing(tmp_path):
    text = sides(tmp_path, "x")
    for train, validation in ((TextFiles(), text), (text, TextFiles()), (TextFiles(source="a"), text)):
        with pytest.raises(ConfigError, match=r"data\.(train|validation)\.(source|target) is missing"):
            FilesConfig(train=train, validation=validation)
    lost = FilesConfig(
        train=TextFiles(str(tmp_path / "lost.en"), text.target), validation=TextFiles("lost", ["a", "b"])
    )
    with pytest.raises(DataError, match=r"data\.train\.source: no file .*lost\.en"):
        trained(lost)
    with pytest.raises(DataError, match=r"data\.validation\.source: no file lost"):
        corpora.validation_text(lost)
    with pytest.raises(ConfigError, match=r"data\.train\.source must be a file or a list of files, got 3"):
        trained(FilesConfig(train=TextFiles(3, 4), validation=text))


def test_gold_links_of_the_training_text_are_refused(tmp_path):
    """Nothing would read them; the message names the keys that are read."""
    text = sides(tmp_path, "x")
    with pytest.raises(ConfigError, match=r"data\.train\.gold does nothing: .*data\.gold.* data\.alignments"):
        FilesConfig(train=TextFiles(text.source, text.target, "x.align"), validation=text)


# ---------------------------------------------------------------- sides of unequal length


def translations(count, seed=0):
    """Lines of real-looking lengths: the target's are the source's, give or take a fifth."""
    rng = random.Random(seed)
    lengths = [int(rng.lognormvariate(4, 0.5)) + 3 for _ in range(count)]
    return ["s" * n for n in lengths], ["t" * int(n * rng.uniform(0.9, 1.4)) for n in lengths]


@pytest.mark.parametrize(("place", "lost"), [(0, 1), (150, 1), (150, 3), (270, 1), (100, 60)])
@pytest.mark.parametrize("side", [0, 1])
def test_unequal_line_counts_are_explained(tmp_path, side, place, lost):
    text = translations(300)
    del text[side][place : place + lost]
    names = write(tmp_path / "x.en", text[0]), write(tmp_path / "x.de", text[1])
    with pytest.raises(DataError) as error:
        trained(FilesConfig(train=TextFiles(*names), validation=sides(tmp_path, "dev")))
    message = str(error.value)
    assert f"x.en has {len(text[0])} lines and " in message
    assert f"x.de has {len(text[1])}; x.{'en' if side == 0 else 'de'} seems to lack {lost} at about line" in message
    assert abs(int(message.split("about line ")[1].split(":")[0]) - place - 1) <= 8
    assert f"line n goes with line n + {lost} of x.{'de' if side == 0 else 'en'}" in message


def test_lines_missing_at_two_places_are_both_found():
    a, b = (np.array([len(text) for text in column]) for column in translations(600))
    gaps = find_missing_lines(a, np.delete(b, [200, 400, 401]), 3)
    assert gaps is not None
    assert [offset for _, offset in gaps] == [1, 3]
    assert [abs(line - place) <= 8 for (line, _), place in zip(gaps, (200, 399), strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("seed", "message"),
    [(0, "x.de seems to go with x.en up to its end, which is missing"), (1, "no pairing of their lines fits")],
)
def test_a_file_that_breaks_off_and_one_that_does_not_belong(tmp_path, seed, message):
    source, target = translations(300)[0], translations(250, seed)[1]
    paths = write(tmp_path / "x.en", source), write(tmp_path / "x.de", target)
    assert message in explain_unequal(*map(Path, paths))


def test_the_surplus_of_the_longer_side_can_be_dropped(tmp_path):
    config = FilesConfig(
        train=TextFiles(write(tmp_path / "x.en", ["a", "b", "c"]), write(tmp_path / "x.de", ["1", "2"])),
        validation=sides(tmp_path, "dev"),
        checks=ChecksConfig(line_counts=Action.drop),
    )
    table = CheckCounts()
    assert list(clean(trained(config), config.checks, table)) == [("a", "1"), ("b", "2")]
    assert dict(table.dropped) == {"line_counts": 1}


def test_held_out_sides_of_unequal_length_are_refused(tmp_path):
    text = TextFiles(write(tmp_path / "x.en", ["a", "b", "c"]), write(tmp_path / "x.de", ["1", "2"]))
    config = FilesConfig(train=sides(tmp_path, "train"), validation=text, checks=ChecksConfig(line_counts=Action.drop))
    with pytest.raises(DataError, match=r"data\.validation: .*x\.en has 3 lines and .*x\.de has 2"):
        corpora.validation_text(config)


def test_one_file_is_not_both_sides(tmp_path):
    (tmp_path / "a").write_text("x\n")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match=r"data\.train\.source and data\.train\.target are the same file"):
        file_pairs(TextFiles(str(tmp_path / "a"), str(tmp_path / "b")), "data.train")
