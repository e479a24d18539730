"""Tables: every cell is its text, whatever it looks like, and what is no text is refused with its place."""

import csv
import datetime
import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nmt.data.corpus as corpora
from nmt.data.checks import Side
from nmt.data.corpus import HubConfig
from nmt.data.tables import CsvTable, JsonTable, ParquetTable, pairs_of
from nmt.errors import ConfigError, DataError

# What pandas takes for a missing value, a number, a date or a truth value.
LOOK_ALIKES = ["null", "NA", "None", "nan", "N/A", "NULL", "#N/A", "<NA>", "n/a", "-nan", "1", "007", "1.50", "1e5"]
LOOK_ALIKES += ["True", "false", "inf", "2021-03-01", "2021-03-01 10:00:00", "0x1F", "1,5", " x ", "'", "\ufeff"]


def write_csv(path, rows, **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows([["en", "de"], *rows])
    return str(path)


def write_jsonl(path, rows):
    path.write_text("".join(f"{json.dumps({'en': a, 'de': b})}\n" for a, b in rows), encoding="utf-8")
    return str(path)


def write_parquet(path, rows):
    pq.write_table(pa.table({"en": [a for a, _ in rows], "de": [b for _, b in rows]}), path)
    return str(path)


READERS = {
    "csv": lambda path: CsvTable(Path(path), None),
    "json": lambda path: JsonTable(Path(path)),
    "parquet": lambda path: ParquetTable(Path(path)),
}
WRITERS = {"csv": write_csv, "json": write_jsonl, "parquet": write_parquet}


def hub(tmp_path, kind, path, **more):
    return HubConfig(path=kind, files={"train": path, "validation": path}, cache=str(tmp_path / "cache"), **more)


def in_table(table):
    return [(pair.source, pair.target) for pair in pairs_of(table, ["en"], ["de"])]


def trained(config):
    return list(corpora.training_pairs(config, 1))


@pytest.mark.parametrize("kind", WRITERS)
def test_no_cell_is_a_missing_value_a_number_or_a_date(tmp_path, kind):
    """Mixed with other text, and in a file of nothing else of its kind."""
    rows = [(cell, f"x{cell}") for cell in LOOK_ALIKES]
    config = hub(tmp_path, kind, WRITERS[kind](tmp_path / f"a.{kind}", rows))
    assert trained(config) == rows
    text = corpora.validation_text(config)
    assert list(zip(text.source, text.target, strict=True)) == rows
    for cell in LOOK_ALIKES:
        rows = [(cell, cell)] * 3
        assert in_table(READERS[kind](WRITERS[kind](tmp_path / f"b.{kind}", rows))) == rows


def test_cells_of_a_hub_repository_are_text_too(tmp_path):
    """There ``datasets`` reads the files itself; a column of another name may be anything."""
    rows = [(cell, "y", "7") for cell in LOOK_ALIKES if cell.strip()]
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["en", "de", "id"], *rows])
    corpus = corpora.open_corpus(hub(tmp_path, "csv", str(path)))
    corpus.__dict__["tables"] = None
    assert list(corpus.pairs(1)) == [row[:2] for row in rows]


cell = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=5), st.sampled_from(",\t;|"))
def test_csv_gives_back_what_was_written(tmp_path, rows, separator):
    """Quoted cells with separators, quotation marks and line breaks, which become spaces."""
    path = write_csv(tmp_path / "a.csv", rows, delimiter=separator, quoting=csv.QUOTE_ALL)
    spaced = [tuple(re.sub(r"\n+", " ", text) for text in row) for row in rows]
    assert in_table(CsvTable(Path(path), separator)) == spaced


def test_numbers_in_json_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"en": 7, "de": 1.50}\n{"en": -0, "de": 1e400}\n{"en": null, "de": "x"}\n')
    assert trained(hub(tmp_path, "json", str(path))) == [("7", "1.50"), ("-0", "1e400"), ("", "x")]


def test_json_lines_and_an_array_are_the_same(tmp_path):
    rows = [{"en": "a", "de": "b"}, {"en": "c"}]
    for text in ("\n\n".join(map(json.dumps, rows)), json.dumps(rows), json.dumps(rows, indent=2)):
        (tmp_path / "a.json").write_text(text)
        assert trained(hub(tmp_path, "json", str(tmp_path / "a.json"))) == [("a", "b"), ("c", "")]


@pytest.mark.parametrize(
    ("kind", "cells", "what"),
    [
        ("parquet", [1, 2], "int where text should be: 1"),
        ("parquet", [1.5, 2.5], r"float where text should be: 1\.5"),
        ("parquet", [datetime.date(2021, 3, 1)] * 2, "date where text should be"),
        ("parquet", [b"x", b"y"], "bytes where text should be"),
        ("json", [True, "a"], "bool where text should be: True"),
        ("json", [["a"], "b"], "list where text should be"),
    ],
)
def test_what_is_no_text_is_refused_with_file_row_and_column(tmp_path, kind, cells, what):
    rows = [("first", cells[0]), ("second", cells[1])]
    config = hub(tmp_path, kind, WRITERS[kind](tmp_path / f"a.{kind}", rows))
    with pytest.raises(DataError, match=rf"a\.{kind} row 1, column de: {what}"):
        trained(config)


def test_a_later_file_of_another_type_is_not_turned_into_text(tmp_path):
    """The second file's column of dates was made text with a time of day by the types of the first."""
    first = write_jsonl(tmp_path / "a.jsonl", [("x", "y")])
    second = write_jsonl(tmp_path / "b.jsonl", [("2021-03-01", "z")])
    config = HubConfig(path="json", files={"train": [first, second]}, cache=str(tmp_path / "cache"))
    assert trained(config) == [("x", "y"), ("2021-03-01", "z")]
    assert corpora.open_corpus(config).locate(1, Side.source) == f"{second} row 1, source side"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('en,de\n"a,b\n', "line 2: unexpected end of data"),
        ('en,de\na,b\n"c" d,e\n', "line 3: ',' expected after '\"'"),
        ("en,de\na\n", "line 2: 1 cells, where the first line has 2"),
        ("", " is empty"),
        ("en,de,de\na,b,c\n", "2 columns are called 'de'"),
    ],
)
def test_a_malformed_csv_file_is_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=f"a\\.csv.*{message}"):
        trained(hub(tmp_path, "csv", str(tmp_path / "a.csv")))


@pytest.mark.parametrize("text", ['{"en": "a"', "plain", "[1, 2", "3", "[3]"])
def test_malformed_json_is_refused_with_the_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json (line|row) 1"):
        trained(hub(tmp_path, "json", str(tmp_path / "a.json")))


def test_bytes_that_are_not_utf8_are_located(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"en,de\nx,y\nna\xefve,naiv\n")
    with pytest.raises(DataError, match=r"a\.csv row 2, source side: bytes that are not UTF-8"):
        corpora.validation_text(hub(tmp_path, "csv", str(tmp_path / "a.csv")))


def test_parts_of_splits(tmp_path):
    rows = [(f"a{n}", f"b{n}") for n in range(10)]
    paths = [write_csv(tmp_path / f"{n}.csv", rows[n : n + 5]) for n in (0, 5)]
    files = {"train": paths, "extra": paths[:1]}
    config = HubConfig(path="csv", files=files, cache=str(tmp_path / "cache"), train_split="train[20%:70%]+extra[-1:]")
    assert trained(config) == [*rows[2:7], rows[4]]
    config.train_split = "train[nonsense]"
    with pytest.raises(DataError, match=r"data\.train_split=train\[nonsense\]: "):
        trained(config)


def test_files_of_a_folder_and_compressed_ones(tmp_path):
    """As ``datasets`` finds them."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_csv(folder / "train.csv", [("NA", "007")])
    write_csv(folder / "validation.csv", [("a", "b")])
    config = HubConfig(path=str(folder), cache=str(tmp_path / "cache"))
    assert trained(config) == [("NA", "007")]
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress((folder / "train.csv").read_bytes()))
    assert trained(hub(tmp_path, "csv", str(packed))) == [("NA", "007")]


def test_a_column_that_is_not_there(tmp_path):
    config = hub(tmp_path, "csv", write_csv(tmp_path / "a.csv", [("a", "b")]), target_column="fr")
    with pytest.raises(ConfigError, match=r"data\.target_column=fr: .* in .*a\.csv; there are: en, de"):
        trained(config)


# ---------------------------------------------------------------- names of columns, and separators


SIDES, LANGUAGES = ("source", "target"), ("en", "de")


@pytest.mark.parametrize("given", [None, "translation.{}"])
@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "nested json", "nested parquet"])
def test_columns_of_translations_flat_or_nested(tmp_path, kind, given):
    """A column called ``translation.en`` (as pandas flattens one) and the part ``en`` of a column ``translation``."""
    path, kind = str(tmp_path / "a"), kind.split()
    flat = {"translation.en": ["one"], "translation.de": ["eins"]}
    nested = {"translation": [{"en": "one", "de": "eins"}]}
    if kind[-1] == "parquet":
        pq.write_table(pa.table(nested if len(kind) > 1 else flat), path)
    elif kind[-1] == "json":
        Path(path).write_text(json.dumps({name: cells[0] for name, cells in (nested if kind[1:] else flat).items()}))
    else:
        Path(path).write_text("translation.en,translation.de\none,eins\n")
    columns = (
        {} if given is None else {f"{side}_column": given.format(x) for side, x in zip(SIDES, LANGUAGES, strict=True)}
    )
    assert trained(hub(tmp_path, kind[-1], path, **columns)) == [("one", "eins")]


@pytest.mark.parametrize(("separator", "typed"), [("\t", "tab"), (";", ";"), ("|", "|")])
def test_a_table_with_another_separator_says_so_and_takes_it(tmp_path, separator, typed):
    path = write_csv(tmp_path / "a.csv", [("one, two", "eins")], delimiter=separator, quoting=csv.QUOTE_MINIMAL)
    with pytest.raises(ConfigError, match=r"a\.csv.*data\.separator=.?.?" + re.escape(typed)):
        trained(hub(tmp_path, "csv", path))
    assert trained(hub(tmp_path, "csv", path, separator=typed)) == [("one, two", "eins")]


def test_tsv_files_have_tabs_unless_told_otherwise(tmp_path):
    path = write_csv(tmp_path / "a.tsv", [("one", "eins")], delimiter="\t")
    assert trained(hub(tmp_path, "csv", path)) == [("one", "eins")]
    commas = write_csv(tmp_path / "b.tsv", [("one", "eins")])
    assert trained(hub(tmp_path, "csv", commas, separator=",")) == [("one", "eins")]


@pytest.mark.parametrize("separator", ["", ",,", '"', "\n"])
def test_a_separator_is_one_character_that_can_separate(tmp_path, separator):
    with pytest.raises(ConfigError, match=r"data\.separator must be"):
        hub(tmp_path, "csv", "a.csv", separator=separator)


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_an_empty_json_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    for read in (trained, corpora.validation_text):
        with pytest.raises(DataError, match=r"a\.json has no rows"):
            read(hub(tmp_path, "json", str(tmp_path / "a.json")))
