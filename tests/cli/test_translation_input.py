"""Sources and prefixes side by side, however their lines come in."""

import itertools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.cli.streams import Lines
from nmt.cli.translation_input import add_prefixes, parse_json
from nmt.errors import DataError


def pipe(data: bytes) -> Lines:
    """Lines that cannot be counted beforehand."""
    incoming, outgoing = os.pipe()
    os.write(outgoing, data)
    os.close(outgoing)
    return Lines(incoming)


def pair(windows, data: bytes):
    lines = pipe(data)
    try:
        return [
            pair
            for w in add_prefixes(windows, lines, "P", "I")
            for pair in zip(w.sources, w.prefixes or (), strict=True)
        ]
    finally:
        os.close(lines.descriptor)


@given(st.lists(st.integers(1, 5)))
def test_each_line_has_the_prefix_of_its_number(sizes):
    """Whatever the sizes of the windows."""
    numbers = itertools.count()
    windows = [[str(next(numbers)) for _ in range(size)] for size in sizes]
    prefixes = [f"p{n}" for n in range(sum(sizes))]
    found = pair(windows, "".join(f"{p}\n" for p in prefixes).encode())
    assert found == [(str(n), p) for n, p in enumerate(prefixes)]


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        (b"a\nb\n", "P has 2 lines, and I at least 3: "),
        (b"", "P has 0 lines, and I at least 2: "),
        (b"a\nb\nc\nd\ne", "P has more than the 3 lines of I: "),
    ],
)
def test_lines_without_a_partner_are_refused(prefixes, message):
    with pytest.raises(DataError, match=f"^{message}"):
        pair([["1", "2"], ["3"]], prefixes)


@given(st.text(), st.none() | st.text())
def test_json_gives_back_what_it_was_given(source, prefix):
    """But for line breaks and lone surrogates; the output is UTF-8 in one line."""
    found = parse_json(json.dumps({"more": [1], "source": source, "prefix": prefix}), "line 1")
    for text, typed in zip(found, (source, prefix or ""), strict=True):
        assert "\n" not in text
        assert "\r" not in text
        text.encode()
        assert text == typed or set(typed) & {"\n", "\r"} or any("\ud800" <= c <= "\udfff" for c in typed)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plain text", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('["a"]', 'is not a JSON object with a "source"'),
        ('{"prefix": "a"}', 'is not a JSON object with a "source"'),
        ('{"source": 1}', '"source" must be a string, got 1'),
        ('{"source": "a", "prefix": ["b"]}', r'"prefix" must be a string, got \["b"\]'),
    ],
)
def test_other_lines_are_refused_by_number(line, message):
    with pytest.raises(DataError, match=f"^line 3:? {message}"):
        parse_json(line, "line 3")
