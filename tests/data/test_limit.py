"""data.limit: training on the first pairs of a corpus."""

import pytest

from nmt.augment.methods import Text
from nmt.data.checks import Action, ChecksConfig
from nmt.data.corpus import (
    FilesConfig,
    PhrasesConfig,
    TextFiles,
    fingerprint,
    linked_pairs,
    open_corpus,
    training_pairs,
)
from nmt.data.mixing import MixConfig
from nmt.data.prepare import prepare
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind
from nmt.errors import ConfigError, DataError


@pytest.fixture
def config(tmp_path):
    """Six pairs, the second of which is blank, and three more."""
    texts = {"train": ["0 a", "", "2 a", "3 a", "4 a", "5 a"], "more": ["x a", "y a", ""], "dev": ["q"]}
    for name, lines in texts.items():
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "links").write_text("0-0\n\n0-0 1-1\n0-0\n0-0\n0-0\n")

    def files(name: str) -> TextFiles:
        return TextFiles(str(tmp_path / f"{name}.en"), str(tmp_path / f"{name}.de"))

    def make(**settings) -> FilesConfig:
        more = {"back": files("more")} if settings.pop("more", False) else {}
        tokenizer = TokenizerConfig(kind=TokenizerKind.word, vocab_size=40)
        cache = str(tmp_path / "cache")
        return FilesConfig(
            train=files("train"), validation=files("dev"), cache=cache, tokenizer=tokenizer, more=more, **settings
        )

    return make


def sources(config) -> list[str]:
    return [source for source, _ in training_pairs(config, 1)]


def test_the_first_pairs_are_trained_on_and_no_others_are_counted(config):
    prepared = prepare(config(limit=3), seed=1)
    assert (prepared.table.checks.read, len(prepared.train)) == (3, 2)  # one of the three is blank
    assert sources(config(limit=3)) == ["0 a", "", "2 a"]
    assert len(prepare(config(), seed=1).train) == 5
    assert sources(config(limit=100)) == sources(config())


def test_pairs_beyond_the_limit_are_counted_and_not_looked_at(config, tmp_path):
    """Where a line is missing, even the first pairs are wrong, perhaps."""
    (tmp_path / "train.de").write_bytes(b"0 a\n\n2 a\n3 a\n4 a\n")
    with pytest.raises(DataError, match="6 lines"):
        prepare(config(limit=3), seed=1)
    (tmp_path / "train.de").write_bytes(b"0 a\n\n2 a\n\xff\n4 a\n5 a\n")
    assert len(prepare(config(limit=3), seed=1).train) == 2
    with pytest.raises(DataError):
        prepare(config(), seed=1)


def test_more_text_is_read_whole_and_found_where_it_stands(config, tmp_path):
    one = config(limit=2, more=True, checks=ChecksConfig(blank=Action.refuse))
    assert sources(one) == ["0 a", "", "x a", "y a", ""]
    (tmp_path / "more.de").write_text("x a\ny a\nz\n")
    for language in ("en", "de"):  # its third line, a blank one, is beyond the limit
        (tmp_path / f"train.{language}").write_text("0 a\n1 a\n\n")
    with pytest.raises(DataError, match=r"more\.en line 3: one side blank"):
        prepare(one, seed=1)


def test_corpora_are_told_apart_where_there_are_links(config, tmp_path):
    """And a mixture takes as much of each as it does without links."""
    (tmp_path / "links").write_text("0-0\n\n0-0 1-1\n0-0\n0-0\n0-0\n0-0\n0-0\n\n")
    settings = {"more": True, "mix": MixConfig(weights={"files": 1.0, "back": 0.0})}
    for links in ({}, {"alignments": str(tmp_path / "links")}):
        mixture = prepare(config(**settings, **links), seed=1, linked=bool(links)).mixture
        assert mixture is not None
        assert (dict(mixture.counts), dict(mixture.drawn)) == ({"files": 5, "back": 2}, {"files": 7, "back": 0})


def test_tags_have_no_place_in_links(config):
    with pytest.raises(ConfigError, match=r"data\.alignments: data\.tags=true"):
        config(tags=True, alignments="links")


def test_each_direction_has_so_many(config):
    both = PhrasesConfig(train_size=9, validation_size=1, test_size=1, pairs=["en-de", "de-en"], tags=True, limit=2)
    assert [source.split()[0] for source in sources(both)] == ["<2de>", "<2de>", "<2en>", "<2en>"]


def test_links_stay_with_their_pairs(config, tmp_path):
    one = config(limit=3, alignments=str(tmp_path / "links"))
    assert [links for *_, links in linked_pairs(open_corpus(one), 1)] == ["0-0", "", "0-0 1-1"]
    own = PhrasesConfig(train_size=9, validation_size=1, test_size=1, limit=2)
    assert len(list(linked_pairs(open_corpus(own), 1))) == 2
    (tmp_path / "links").write_text("0-0\n")
    with pytest.raises(DataError, match="only 1 lines, and more training pairs"):
        list(linked_pairs(open_corpus(one), 1))
    (tmp_path / "links").write_text("0-0\n\n0-0 1-1\n" + "\n" * 9)
    with pytest.raises(DataError, match="only 6 pairs, and more training lines"):  # behind the limit, too
        list(linked_pairs(open_corpus(one), 1))
    with pytest.raises(ConfigError, match=r"data\.limit leaves lines of data\.alignments without a pair"):
        config(limit=3, alignments="links", more=True)


def test_what_is_made_of_training_text_is_made_of_the_same_pairs(config):
    """nmt.augment translates what the run was trained on, and knows its results by that."""
    assert [line.text for line in Text(data=config(limit=1)).lines()] == ["0 a"]
    assert fingerprint(config(limit=1), 1) != fingerprint(config(limit=2), 1)
    assert "limit" not in fingerprint(config(), 1)


def test_no_pairs_are_too_few():
    with pytest.raises(ConfigError, match=r"data\.limit must be at least 1, got 0"):
        PhrasesConfig(limit=0)
