"""Word alignments: Pharaoh lines, and the links between pieces that they become."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.data import corpus
from nmt.data.batching import BatchingConfig, TrainBatches
from nmt.data.corpus import FilesConfig, PhrasesConfig, TextFiles, linked_pairs, open_corpus, training_pairs
from nmt.data.noise import NoiseConfig
from nmt.data.pharaoh import Alignment, parse_line, parse_pharaoh, piece_links
from nmt.data.prepare import prepare
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind
from nmt.errors import ConfigError, DataError

links = st.frozensets(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=8)
alignments = st.builds(lambda sure, more: Alignment(sure, sure | more), links, links)


def test_a_line_is_read_as_written():
    (found,) = parse_pharaoh(["0-1 2p3  10-4 0p1"], "x")
    assert found.sure == {(0, 1), (10, 4)}
    assert found.possible == {(0, 1), (10, 4), (2, 3)}
    assert str(found) == "0-1 2p3 10-4"


@given(st.lists(alignments, max_size=5))
def test_writing_and_reading_changes_nothing(found):
    assert parse_pharaoh([str(a) for a in found], "x") == found


def test_a_link_of_thousands_of_digits_is_refused_and_not_repeated():
    """Python makes no number of more than 4,300 digits; leading zeros are none."""
    with pytest.raises(DataError, match=r"^x:1: '9{80}'\.\.\. \(5,002 characters\) is not a link"):
        parse_pharaoh(["9" * 5000 + "-0"], "x")
    assert parse_pharaoh(["0" * 5000 + "3-0"], "x") == parse_pharaoh(["3-0"], "x")


@pytest.mark.parametrize("word", ["1", "1-", "1-2-3", "a-b", "1:2", "-1-2", "1P2", "１-2"])
def test_malformed_links_name_file_and_line(word):
    with pytest.raises(DataError, match=rf"gold\.align:2: '{word}' is not a link"):
        parse_pharaoh(["0-0", f"0-0 {word}"], "gold.align")


def test_links_that_do_not_belong_to_the_sentences_are_refused():
    with pytest.raises(DataError, match=r"gold:2: link 3-0 is outside its source sentence of 3 words"):
        parse_pharaoh(["0-0", "3-0"], "gold", [(1, 1), (3, 3)])
    with pytest.raises(DataError, match=r"gold:1: link 0p1 is outside its target sentence of 1 words"):
        parse_pharaoh(["0p1", "1-0"], "gold", [(1, 1), (3, 3)])
    for lines in (["0-0"], ["0-0"] * 3):
        with pytest.raises(DataError, match=f"gold has {len(lines)} lines for 2 sentence pairs"):
            parse_pharaoh(lines, "gold", [(1, 1), (3, 3)])


def test_every_piece_of_a_word_is_linked_to_every_piece_of_the_other():
    """Target position first; words without a piece have no link."""
    flat = piece_links("0-0 2p1 1-1", [0, 0, 2], [0, 1, 1])
    assert flat == [0, 0, 0, 1, 1, 2, 2, 2]


ENGLISH = ["the old dog sleeps", " a young  cat runs ", "", "the cat"]
GERMAN = ["der alte Hund", "eine junge Katze l\u00e4uft", "?", "die Katze"]
LINKS = ["0-0 1-1 2-2 3p2", "0-0 1-1 2-2 3-3", "", "0-0 1-1"]


@pytest.fixture
def config(tmp_path):
    def put(name, rows):
        (tmp_path / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return str(tmp_path / name)

    return FilesConfig(
        train=TextFiles(put("en", ENGLISH), put("de", GERMAN)),
        validation=TextFiles(put("dev.en", ["a"]), put("dev.de", ["b"])),
        alignments=put("links", LINKS),
        cache=str(tmp_path / "cache"),
        batching=BatchingConfig(sentences=2),
        tokenizer=TokenizerConfig(vocab_size=300),
    )


def rewrite(config, rows):
    Path(config.alignments).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def words_linked(tokenizers, batch) -> dict[int, set[tuple[int, int]]]:
    """By pair, the words whose pieces are linked; fails unless all of their pieces are."""
    found = {}
    for b, pair in enumerate(batch.ids.tolist()):
        places = [(t, s) for sentence, t, s in batch.links.tolist() if sentence == b]
        assert len(set(places)) == len(places)
        sides = tokenizers.source, tokenizers.target
        s_words, t_words = (
            side.words([i for i in row.tolist() if i > 3])
            for side, row in zip(sides, (batch.source[b], batch.target_out[b]), strict=True)
        )
        found[pair] = {(s_words[s], t_words[t]) for t, s in places}
        assert len(places) == sum(s_words.count(i) * t_words.count(j) for i, j in found[pair])
    return found


KINDS = [(TokenizerKind.bpe, 0.0), (TokenizerKind.char, 0.0), (TokenizerKind.word, 0.0), (TokenizerKind.bpe, 1.0)]


@pytest.mark.parametrize(("kind", "noise"), KINDS)
@pytest.mark.parametrize("sampling", [0.0, 0.5])
def test_links_stay_with_their_words_through_cleaning_pieces_and_batches(config, kind, sampling, noise):
    """Whatever the pieces and the noise, drawn anew for each epoch or not; the pair with a blank side is gone with its
    line."""
    config.tokenizer.kind, config.tokenizer.sampling = kind, sampling
    config.noise = NoiseConfig(case=noise, typos=noise, emoji=noise, urls=noise)
    prepared = prepare(config, seed=1, linked=True)
    kept = [parse_line(line, "").possible for line in LINKS if line]
    batches, found = TrainBatches(prepared.train, config.batching, seed=1), {}
    for batch in batches:
        found |= words_linked(prepared.tokenizers, batch)
        if batches.epoch == 2:
            break
    assert found == dict(enumerate(kept))


@pytest.mark.parametrize("kind", [TokenizerKind.bpe, TokenizerKind.char, TokenizerKind.word])
def test_no_break_spaces_do_not_move_links(config, kind):
    """Aligners count words between spaces and tabs: ``10 000`` is one, and so is a no-break space at an edge."""
    for path, text in (
        (config.train.source, "\u00a0 the 10\u00a0000 red houses\n"),
        (config.train.target, "les 10\u202f000 maisons\u3000 rouges\n"),
    ):
        Path(path).write_text(text, encoding="utf-8")
    rewrite(config, ["0-0 1-0 2-1 4-2 3-3"])
    config.tokenizer.kind = kind
    prepared = prepare(config, seed=1, linked=True)
    tokenizers, rows = (prepared.tokenizers.source, prepared.tokenizers.target), prepared.train.read(np.array([0]))
    (flat,) = prepared.train.links(np.array([0])) or [[]]
    shown = [[t.decode([[i]])[0] for i in ids] for t, (ids,) in zip(tokenizers, rows, strict=True)]
    linked = {(shown[0][s], shown[1][t]) for t, s in zip(flat[::2], flat[1::2], strict=True)}
    by_letter = {(a[0], b[0]) for a, b in ((a.strip(), b.strip()) for a, b in linked) if a and b}
    assert {("t", "l"), ("1", "1"), ("h", "m"), ("r", "r")} <= by_letter
    assert not {("h", "r"), ("r", "m"), ("t", "1"), ("1", "m")} & by_letter


def test_words_are_counted_as_aligners_do(config):
    """A link to the last word is inside the sentence, one to a word after it is not."""
    Path(config.validation.source).write_text("the 10\u00a0000 houses\n", encoding="utf-8")
    config.gold = str(Path(config.alignments).with_name("gold"))
    Path(config.gold).write_text("2-0\n", encoding="utf-8")
    assert corpus.validation_text(config).gold == ["2-0"]
    Path(config.gold).write_text("3-0\n", encoding="utf-8")
    with pytest.raises(DataError, match="link 3-0 is outside its source sentence of 3 words"):
        corpus.validation_text(config)


def test_links_are_only_there_where_they_are_asked_for(config):
    plain, linked = prepare(config, seed=1), prepare(config, seed=1, linked=True)
    assert plain.train.links(np.array([0])) is None
    assert linked.train.links(np.array([2, 0])) is not None
    assert plain.train.read(np.arange(3)) == linked.train.read(np.arange(3))
    assert next(iter(TrainBatches(plain.train, config.batching, seed=1))).links is None


def test_changed_links_are_read_again(config):
    before = prepare(config, seed=1, linked=True).train.links(np.arange(3))
    rewrite(config, ["0-0", "", "", "1-1"])
    after = prepare(config, seed=1, linked=True).train.links(np.arange(3))
    assert after != before
    assert after is not None
    assert after[1] == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0-0", "4-0", "", ""], r"links:2: link 4-0 is outside its source sentence of 4 words"),
        (["x", "", "", ""], r"links:1: 'x' is not a link"),
        (LINKS[:3], "only 3 lines, and more training pairs"),
        ([*LINKS, ""], "only 4 pairs, and more training lines"),
    ],
)
def test_links_that_do_not_belong_to_the_text_are_refused(config, rows, message):
    rewrite(config, rows)
    with pytest.raises(DataError, match=message):
        prepare(config, seed=1, linked=True)


def test_a_corpus_without_links_says_what_is_needed(config):
    config.alignments = None
    with pytest.raises(ConfigError, match=r"data\.alignments=FILE"):
        prepare(config, seed=1, linked=True)


def test_the_embedded_corpus_knows_its_own():
    """The same pairs, with the links that its validation set would have for them."""
    config = PhrasesConfig(train_size=30, validation_size=2, test_size=2)
    found = list(linked_pairs(open_corpus(config), seed=1))
    assert [pair for *pair, _ in found] == [list(pair) for pair in training_pairs(config, seed=1)]
    for source, target, line in found:
        assert parse_line(line, "", (len(source.split()), len(target.split()))).possible
    assert corpus.links_fingerprint(config) == []
