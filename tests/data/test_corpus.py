"""Test sets, named corpora and datasets: where they are looked for, by which names, and what messages say."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from datasets import config as settings
from real_corpora import real_file

import nmt.data.corpus as corpora
from nmt.data import hub as hub_module
from nmt.data.checks import CheckCounts, clean
from nmt.data.corpus import (
    FilesConfig,
    HansardsEnFrConfig,
    HubConfig,
    Multi30kConfig,
    NewsEnDeConfig,
    PhrasesConfig,
    TextFiles,
)
from nmt.data.named import LAYOUTS
from nmt.errors import ConfigError, DataError

PAIRS = [("One.", "Eins."), ("Two and two.", "Zwei und zwei."), ("Three.", "Drei.")]


def write(path, lines, suffix=""):
    """Lines in a file, plain or .gz; its name."""
    data = "".join(line + "\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_name(path.name + suffix)
    path.write_bytes(gzip.compress(data) if suffix else data)
    return str(path)


def sides(folder, stem, pairs=PAIRS, suffix="", languages=("en", "de")):
    names = [write(folder / f"{stem}.{languages[side]}", [pair[side] for pair in pairs], suffix) for side in (0, 1)]
    return TextFiles(*names)


def trained(config):
    return list(corpora.training_pairs(config, 1))


def paired(text):
    return list(zip(text.source, text.target, strict=True))


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """No network: the hub answers, or there is ``error``; ``asked`` counts."""

    class Hub:
        error: Exception | None = None
        asked = 0

        def head(self, url, timeout):
            Hub.asked += 1
            if Hub.error is not None:
                raise Hub.error

    monkeypatch.setattr("huggingface_hub.utils.get_session", Hub)
    hub_module.unreachable_reason.cache_clear()
    yield Hub
    hub_module.unreachable_reason.cache_clear()


# ---------------------------------------------------------------- test sets


def test_test_sets_by_name(tmp_path):
    gold = write(tmp_path / "gold", ["0-0", "0-0 1p1", ""])
    mine = {"source": (text := sides(tmp_path, "mine")).source, "target": text.target}
    config = PhrasesConfig(test_size=5, validation_size=5, tests={"mine": {**mine, "gold": gold}, "bare": mine})
    assert [t.name for t in corpora.test_texts(config)] == ["test", "mine", "bare"]
    assert [t.gold for t in corpora.test_texts(config, ["mine", "bare"])] == [["0-0", "0-0 1p1", ""], None]
    config.test = ["mine"]
    assert [paired(t) for t in corpora.test_texts(config)] == [PAIRS]
    held_out = set(corpora.held_out_sentences(config))
    assert {"Two and two.", "Drei.", *corpora.open_corpus(config).test("test").source} <= held_out
    with pytest.raises(
        ConfigError, match="has no test set 'mien', only: test, mine, bare, validation; did you mean: mine"
    ):
        corpora.test_texts(config, ["mien"])


def test_the_validation_set_and_no_set_can_be_chosen(tmp_path):
    """The validation set with the links of data.gold; null is every test set."""
    config = PhrasesConfig(test_size=5, validation_size=3, gold=write(tmp_path / "gold", [""] * 3))
    assert [t.name for t in corpora.test_texts(config)] == ["test"]
    config.test = ["validation", "test", "validation"]
    assert [(t.name, len(t)) for t in corpora.test_texts(config)] == [("validation", 3), ("test", 5)]
    assert corpora.test_texts(config)[0] == corpora.validation_text(config)
    config.test = []
    assert corpora.test_texts(config) == []
    files = FilesConfig(train=sides(tmp_path, "train"), validation=sides(tmp_path, "dev"), test=["validation"])
    assert [paired(t) for t in corpora.test_texts(files)] == [PAIRS]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"source": "a"}, r"data\.tests\.mine\.target is missing: type data\.tests\.mine\.target=FILE"),
        ({"source": "a", "target": "b", "golden": "c"}, r"unknown key 'data\.tests\.mine\.golden'"),
        ("a", r"data\.tests\.mine=a is no test set: type data\.tests\.mine\.source=FILE"),
    ],
)
def test_test_sets_need_two_files(value, said):
    with pytest.raises(ConfigError, match=said):
        PhrasesConfig(tests={"mine": value})


def test_gold_of_the_wrong_length_is_refused(tmp_path):
    mine = sides(tmp_path, "mine")
    mine.gold = write(tmp_path / "gold", ["0-0"])
    with pytest.raises(DataError, match=r"gold has 1 lines of links, but data\.tests\.mine has 3 pairs"):
        corpora.test_texts(PhrasesConfig(tests={"mine": mine}), ["mine"])


@pytest.mark.parametrize(
    ("bad", "said"), [("0:0", "'0:0' is not a link"), ("0-0 9-0", "link 9-0 is outside its source sentence")]
)
def test_gold_links_that_cannot_be_used_are_refused_when_a_held_out_set_is_read(tmp_path, bad, said):
    """And not after the training that it is to judge; key, file and line are named."""
    gold = write(tmp_path / "gold", ["0-0", "", bad])
    files = vars(sides(tmp_path, "mine")) | {"gold": gold}
    config = FilesConfig(train=sides(tmp_path, "train"), validation=sides(tmp_path, "dev"), tests={"mine": files})
    with pytest.raises(DataError, match=rf"^data\.tests\.mine\.gold={gold}:3: {said}"):
        corpora.test_texts(config)
    with pytest.raises(DataError, match=rf"^data\.tests\.mine\.gold={gold}:3: {said}"):
        corpora.gold_text(replace(config, gold="mine"))
    with pytest.raises(DataError, match=rf"^data\.validation\.gold={gold}:3: {said}"):
        corpora.validation_text(replace(config, validation=TextFiles(**files), tests={}))


def test_alignment_is_watched_on_a_test_set_or_with_a_file_for_the_validation_set(tmp_path):
    links = ["0-0", "0-0 1p1", ""]
    gold = write(tmp_path / "gold", links)
    mine = vars(sides(tmp_path, "mine")) | {"gold": gold}
    bare = vars(sides(tmp_path, "bare"))
    config = FilesConfig(
        train=sides(tmp_path, "train"), validation=sides(tmp_path, "dev"), tests={"mine": mine, "bare": bare}
    )
    assert corpora.gold_text(config) is None
    assert corpora.validation_text(config).gold is None
    config.gold = "mine"
    watched = corpora.gold_text(config)
    assert watched is not None
    assert (watched.name, watched.gold) == ("mine", links)
    assert corpora.validation_text(config).gold is None
    config.gold = gold
    assert corpora.gold_text(config) is None
    assert corpora.validation_text(config).gold == links
    config.gold = "bare"
    with pytest.raises(ConfigError, match=r"data\.gold=bare: this test set has no gold links"):
        corpora.gold_text(config)
    config.gold = "mien"
    with pytest.raises(DataError, match=r"data\.gold=mien is neither a file .* nor a test set; there are: mine, bare"):
        corpora.validation_text(config)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        (["0-0"] * 2, "gold has 2 lines for 3 sentence pairs"),
        (["0-0", "0-5", ""], "gold:2: link 0-5 is outside its target sentence of 3 words"),
    ],
)
def test_watched_links_must_belong_to_the_sentences(tmp_path, links, message):
    config = FilesConfig(train=sides(tmp_path, "train"), validation=sides(tmp_path, "dev"))
    config.gold = write(tmp_path / "gold", links)
    with pytest.raises(DataError, match=message):
        corpora.validation_text(config)


def test_sentences_of_a_test_set_are_found_in_training_text(tmp_path):
    config = FilesConfig(
        train=sides(tmp_path, "train", [*PAIRS, ("Four.", "Vier.")]),
        validation=sides(tmp_path, "dev", [("Five.", "Fünf.")]),
        tests={"mine": vars(sides(tmp_path, "mine", [(" Four. ", "Four in German.")]))},
    )
    table = CheckCounts()
    assert list(clean(trained(config), config.checks, table, corpora.held_out_sentences(config))) == PAIRS
    assert dict(table.dropped) == {"in_test": 1}


def test_a_test_set_with_the_name_of_the_validation_set_is_refused(tmp_path):
    """Its scores would take the place of the validation set's."""
    files = sides(tmp_path, "dev")
    config = FilesConfig(train=files, validation=files, tests={"validation": files})
    with pytest.raises(ConfigError, match=r"data\.tests\.validation: .* another name"):
        corpora.test_texts(config)


# ---------------------------------------------------------------- named corpora


def multi30k(root, suffix=".gz"):
    for stem, size in (("train", 3), ("val", 2), ("test_2016_flickr", 1)):
        sides(root / "multi30k", stem, PAIRS[:size], suffix)


def test_a_named_corpus_is_found_below_root(tmp_path):
    multi30k(tmp_path)
    config = Multi30kConfig(root=str(tmp_path))
    assert trained(config) == PAIRS
    assert paired(corpora.validation_text(config)) == PAIRS[:2]
    assert [(t.name, paired(t)) for t in corpora.test_texts(config)] == [("test_2016_flickr", PAIRS[:1])]
    turned = Multi30kConfig(root=str(tmp_path), source="de", target="en")
    assert trained(turned) == [(target, source) for source, target in PAIRS]
    sides(tmp_path / "multi30k", "extra")
    assert [t.name for t in corpora.test_texts(config, ["extra"])] == ["extra"]
    with pytest.raises(ConfigError, match="only: extra, test_2016_flickr, validation; did you mean: test_2016_flickr"):
        corpora.test_texts(config, ["test_2016"])


@pytest.mark.parametrize(
    ("source", "target"), [("eng", "deu"), ("EN", "ger"), ("eng_Latn", "deu_Latn"), ("en-GB", "de")]
)
def test_a_named_corpus_is_found_by_any_code_of_its_languages(tmp_path, source, target):
    multi30k(tmp_path)
    config = Multi30kConfig(root=str(tmp_path), source=source, target=target)
    assert trained(config) == PAIRS
    assert [t.name for t in corpora.test_texts(config)] == ["test_2016_flickr"]
    sides(tmp_path / "multi30k", "extra")
    with pytest.raises(ConfigError, match="only: extra, test_2016_flickr, validation;"):
        corpora.test_texts(config, ["test_2016"])


def test_a_file_named_by_the_code_that_was_typed_is_preferred(tmp_path):
    multi30k(tmp_path)
    sides(tmp_path / "multi30k", "train", PAIRS[1:2], languages=("en-GB", "de"))
    assert trained(Multi30kConfig(root=str(tmp_path), source="en-GB")) == PAIRS[1:2]


def test_gold_links_turn_with_the_direction(tmp_path):
    for stem in ("train", "dev", "gold"):
        sides(tmp_path / "hansards_enfr", stem, languages=("en", "fr"))
    write(tmp_path / "hansards_enfr" / "gold.align", ["0-0", "0-1 2p1", ""])
    there, back = (
        HansardsEnFrConfig(root=str(tmp_path)),
        HansardsEnFrConfig(root=str(tmp_path), source="fr", target="en"),
    )
    assert corpora.test_texts(there)[0].gold == ["0-0", "0-1 2p1", ""]
    assert corpora.test_texts(back)[0].gold == ["0-0", "1-0 1p2", ""]
    spelt = HansardsEnFrConfig(root=str(tmp_path), source="fra_Latn", target="ENG")
    assert corpora.test_texts(spelt)[0].gold == ["0-0", "1-0 1p2", ""]


@pytest.mark.parametrize("error", [None, OSError("no route")])
def test_a_corpus_is_fetched_once_and_stored(tmp_path, monkeypatch, hub, error):
    """What the hub gives lands below data.root as files, a line break inside a text made a space; no second asking.

    Where the hub does not answer, ``datasets`` is told to look in its cache alone.
    """
    asked, hub.error = [], error

    def load(path, split, cache_dir):
        asked.append((path, split))
        assert settings.HF_HUB_OFFLINE is (error is not None)
        rows = {"en": ["A\nman.", "A dog."], "de": ["Ein Mann.", None]}
        return datasets.Dataset.from_dict(rows if split != "test" else {"en": ["x"], "de": ["y"]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    config = Multi30kConfig(root=str(tmp_path / "new"), cache=str(tmp_path))
    assert trained(config) == [("A man.", "Ein Mann."), ("A dog.", "")]
    assert [t.name for t in corpora.test_texts(config)] == ["test_2016_flickr"]
    assert asked == [("bentrevett/multi30k", split) for split in ("train", "validation", "test")]
    assert sorted(path.name for path in (tmp_path / "new" / "multi30k").iterdir()) == sorted(
        f"{stem}.{language}" for stem in ("train", "val", "test_2016_flickr") for language in ("en", "de")
    )


@pytest.mark.parametrize(
    ("config", "origin"),
    [
        (Multi30kConfig, "github.com/multi30k/dataset"),
        (NewsEnDeConfig, "sacrebleu -t wmt13"),
        (HansardsEnFrConfig, "NAACL 2003"),
    ],
)
def test_what_is_not_there_is_said_with_how_to_get_it(tmp_path, monkeypatch, config, origin):
    """Which files, where from and where to, in one line: an installed package has no data/README.md to point to."""

    def load(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = config(root=str(tmp_path), cache=str(tmp_path))
    with pytest.raises(DataError) as caught:
        trained(corpus)
    said, layout = str(caught.value), LAYOUTS[config]
    files = ("train.", layout.validation, layout.tests[0], *layout.gold.values())
    for part in (f"data={corpus.name}: ", str(tmp_path / corpus.name), origin, *files):
        assert part in said
    assert "README" not in said
    assert "\n" not in said
    assert ("Couldn't reach the Hub)" in said) == bool(layout.repository)


@pytest.mark.parametrize(("error", "said"), [(OSError("no route"), "no route"), (TimeoutError(), "TimeoutError")])
def test_a_hub_that_does_not_answer_is_asked_once(tmp_path, monkeypatch, hub, capfd, error, said):
    """And ``datasets`` itself not at all: it tries again and again, and says so each time."""
    hub.error = error
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("another try"))
    for config in (Multi30kConfig(root=str(tmp_path), cache=str(tmp_path)), HubConfig(path="a/b", cache=str(tmp_path))):
        with pytest.raises(DataError, match=f"does not answer: {said}"):
            trained(config)
    assert hub.asked == 1
    assert capfd.readouterr() == ("", "")
    assert not settings.HF_HUB_OFFLINE


@pytest.mark.parametrize(("name", "tests"), [("multi30k", 1000), ("news_ende", 3003), ("hansards_enfr", 247)])
def test_real_corpora(name, tests):
    """Held-out sets have the sizes that their folder's README gives, and the alignment its three hundred lines."""
    config = next(c for c in corpora.DATASETS if c.name == name)(root=str(real_file(name).parent))
    (text,) = corpora.test_texts(config)
    assert len(text) == tests
    assert (text.gold is not None) == (name == "hansards_enfr")
    assert len(next(corpora.training_pairs(config, 1))) == 2


# ---------------------------------------------------------------- datasets


def rows(count, stem):
    return [{"en": f"{stem} {n}", "de": f"{n} {stem}", "id": n} for n in range(count)]


@pytest.mark.parametrize("kind", ["parquet", "json", "csv"])
def test_local_datasets_with_two_columns(tmp_path, kind):
    paths = {split: str(tmp_path / f"{split}.{kind}") for split in ("train", "validation", "test")}
    for split, path in paths.items():
        getattr(datasets.Dataset.from_list(rows(3, split)), f"to_{kind}")(path)
    config = HubConfig(path=kind, files=paths, cache=str(tmp_path / "cache"))
    assert trained(config) == [("train 0", "0 train"), ("train 1", "1 train"), ("train 2", "2 train")]
    assert corpora.validation_text(config).target[0] == "0 validation"
    assert [(t.name, t.source[0]) for t in corpora.test_texts(config)] == [("test", "test 0")]
    assert corpora.fingerprint(config, 1) == corpora.fingerprint(config, 2)


def test_a_translation_column_and_parts_of_a_split(tmp_path):
    cells = [{"translation": {"en": f"{n}", "de": None if n == 1 else f"n{n}\nx"}} for n in range(4)]
    path = write(tmp_path / "a.json", map(json.dumps, cells))
    config = HubConfig(
        path="json",
        files={"train": path},
        train_split="train[1:]",
        validation_split="train[:1]",
        cache=str(tmp_path / "cache"),
    )
    assert trained(config) == [("1", ""), ("2", "n2 x"), ("3", "n3 x")]
    assert paired(corpora.validation_text(config)) == [("0", "n0 x")]
    assert corpora.test_texts(config) == []
    config.source, config.target = "ENG", "deu_Latn"
    assert paired(corpora.validation_text(config)) == [("0", "n0 x")], "the columns are en and de"
    config.target_column = "translation.fr"
    with pytest.raises(ConfigError, match=r"data\.target_column=translation\.fr: .*there are: .*translation\.de"):
        trained(config)
    config.train_split = "tarin"
    with pytest.raises(DataError, match=r"data\.path=json, data\.train_split=tarin: .*tarin"):
        trained(config)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", r"data\.path is missing"),
        (
            "my/train.jsonl",
            r"data\.path=my/train\.jsonl is a file: use data\.path=json data\.files\.train=my/train\.jsonl",
        ),
        ("csv", r"data\.path=csv needs files: data\.files\.train=FILE"),  # or it would take all that lies around
    ],
)
def test_a_dataset_needs_a_path(path, message):
    with pytest.raises(ConfigError, match=message):
        HubConfig(path=path)


def test_what_is_wrong_inside_a_file_is_said(tmp_path, capsys):
    """Not that an error occurred, and with no progress bar off a terminal."""
    path = write(tmp_path / "a.csv", ["en,de", "a,b", "a,b,c,d"])
    with pytest.raises(DataError, match=r"a\.csv line 3: 4 cells, where the first line has 2"):
        trained(HubConfig(path="csv", files={"train": path}, cache=str(tmp_path / "cache")))
    assert "Generating" not in capsys.readouterr().err


def test_a_held_out_set_needs_sentences(tmp_path):
    """Said before training, with the file, and not when it comes to be scored."""
    empty = sides(tmp_path, "empty", [])
    config = FilesConfig(train=sides(tmp_path, "train"), validation=empty, tests={"mine": vars(empty)})
    for read in (corpora.validation_text, corpora.test_texts):
        with pytest.raises(DataError, match=r"data\.(validation|tests\.mine): there is no line in .*empty\.en"):
            read(config)
    path = write(tmp_path / "a.csv", ["en,de", "a,b"])
    hub = HubConfig(path="csv", files={"train": path}, validation_split="train[:10%]", cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"data\.validation_split=train\[:10%\]: .*corresponds to no data"):
        corpora.validation_text(hub)


# ---------------------------------------------------------------- fingerprints


def test_a_fingerprint_holds_what_the_text_depends_on(tmp_path):
    text, extra = sides(tmp_path, "train"), sides(tmp_path, "extra")
    config = FilesConfig(train=text, validation=sides(tmp_path, "dev"), tests={"extra": vars(extra)})
    first = corpora.fingerprint(config, 1)
    assert corpora.fingerprint(config, 2) == first
    seen = {first}
    for path in (text.source, text.target, config.validation.target, extra.source):
        write(Path(path), ["something else", "and", "longer"])
        seen.add(corpora.fingerprint(config, 1))
    assert len(seen) == 5
    phrases = [PhrasesConfig(), PhrasesConfig(target="fr"), PhrasesConfig(train_size=7)]
    assert len({corpora.fingerprint(c, seed) for c in phrases for seed in (1, 2)}) == 6
