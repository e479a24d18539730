"""What a Python program passes: a str is one text; what is no text is refused, and the message says what is wanted."""

import warnings
from pathlib import Path

import pytest

import nmt
from tests.helpers.tiny_runs import MODELS, make_run

WANTED_TEXTS = "texts must be a str or a list of str, got "
WANTED_PREFIXES = "prefixes must be a list with a str or None for each text, or None, got "
WANTED_DIRECTORY = "directory must be a run directory .str or Path. or a list of them, got "


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a", MODELS["local_p"])


@pytest.fixture(scope="module")
def translator(run):
    return nmt.load(run, device="cpu")


def test_a_str_is_one_text(translator):
    """It gives what a list of one gives, without the list."""
    for text in ("two weeks", "one", ""):
        assert translator.translate(text) == translator.translate([text])[0]
        assert translator.hypotheses(text) == translator.hypotheses([text])[0]
    assert translator.translate("one two", prefixes="drei") == translator.translate(["one two"], prefixes=["drei"])[0]
    assert translator.translate("one two", prefixes="drei").startswith("drei")


def test_any_series_of_texts_is_a_list(translator):
    listed = translator.translate(["one two", "three"])
    assert translator.translate(("one two", "three")) == listed
    assert translator.translate(text for text in ("one two", "three")) == listed
    prefixes = ["eins", None]
    assert translator.translate(["one", "two"], prefixes=iter(prefixes)) == translator.translate(
        ["one", "two"], prefixes=prefixes
    )
    assert translator.translate([]) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, WANTED_TEXTS + "None"),
        (5, WANTED_TEXTS + "5"),
        (b"two weeks", WANTED_TEXTS + "b'two weeks'"),
        ({"two": 2}, WANTED_TEXTS + "{'two': 2}"),
        ({"two"}, WANTED_TEXTS + "{'two'}"),
        (["one", None], WANTED_TEXTS + "None as number 1"),
        ([["one"]], WANTED_TEXTS + r"\['one'\] as number 0"),
        ([5.0], WANTED_TEXTS + "5.0 as number 0"),
        (range(5), r"got 0 as number 0"),
        (b"a" * 99, WANTED_TEXTS + r"b'a{35}\.\.\. \(bytes\)"),
    ],
)
def test_what_is_no_text_is_a_type_error(translator, texts, message):
    for method in (translator.translate, translator.hypotheses):
        with pytest.raises(TypeError, match=message):
            method(texts)


@pytest.mark.parametrize(
    ("texts", "prefixes", "message"),
    [
        (["one"], "eins", WANTED_PREFIXES + "'eins'"),
        (["one"], 5, WANTED_PREFIXES + "5"),
        (["one"], [5], WANTED_PREFIXES + "5 as number 0"),
        (["one"], [b"eins"], WANTED_PREFIXES + "b'eins' as number 0"),
        (["one"], {"one": "eins"}, WANTED_PREFIXES),
        ("one", ["eins"], r"prefixes must be a str or None for one text, got \['eins'\]"),
        ("one", 5, "prefixes must be a str or None for one text, got 5"),
    ],
)
def test_what_is_no_prefix_is_a_type_error(translator, texts, prefixes, message):
    for method in (translator.translate, translator.hypotheses):
        with pytest.raises(TypeError, match=message):
            method(texts, prefixes=prefixes)


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        ([], WANTED_DIRECTORY + "an empty list"),
        (None, WANTED_DIRECTORY + "None"),
        (5, WANTED_DIRECTORY + "5"),
        ([None], WANTED_DIRECTORY + "None as number 0"),
    ],
)
def test_what_is_no_run_directory_is_a_type_error(directory, message):
    with pytest.raises(TypeError, match=message):
        nmt.load(directory)


def test_other_arguments_of_load_are_text(run):
    with pytest.raises(TypeError, match="trust must be True or False, got 'false'"):
        nmt.load("runs/none", trust="false")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="device must be a str, got 5"):
        nmt.load(run, device=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="checkpoint must be a str, got None"):
        nmt.load([str(run)], device="cpu", checkpoint=None)  # type: ignore[arg-type]


def test_a_warning_about_one_text_points_to_the_call(translator):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        translator.hypotheses(" ", prefixes="eins")
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
