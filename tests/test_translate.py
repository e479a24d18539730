"""Lines in, lines out."""

import io

import pytest

from nmt.translate import copy, decoded


class Upper:
    """A translator that can be checked by eye, and remembers how it was called."""

    def __init__(self):
        self.calls = []

    def translate(self, texts):
        self.calls.append(list(texts))
        return [text.upper() for text in texts]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_one_line_out_for_each_line_in(chunk):
    """In order, blank lines included, whatever the chunk; only U+000A ends a line."""
    lines = ["a", "", "  ", "b\u2028c", "d\x0be", "\x85", "f\x0c", "", "g"]
    out = io.BytesIO()
    copy(io.BytesIO("\n".join(lines).encode()), out, Upper(), chunk)  # type: ignore[arg-type]
    assert out.getvalue().decode().split("\n") == [*(line.upper() for line in lines), ""]


def test_no_lines_in_no_lines_out():
    out = io.BytesIO()
    copy(io.BytesIO(b""), out, Upper(), 4)  # type: ignore[arg-type]
    assert out.getvalue() == b""


def test_what_is_translated_is_written_before_more_is_read():
    """A reader of the output never waits for input that is not needed."""
    out, seen = io.BytesIO(), []

    def lines():
        for number in range(7):
            seen.append(out.getvalue().count(b"\n"))
            yield b"%d\n" % number

    copy(lines(), out, Upper(), 2)  # type: ignore[arg-type]
    assert seen == [0, 0, 2, 2, 4, 4, 6]


def test_odd_bytes_cost_no_line(capsys):
    """Bytes that are not UTF-8 are replaced and named; a byte order mark and carriage returns are no text."""
    found = list(decoded([b"\xef\xbb\xbfone\r\n", b"tw\xff\n", b"\n", b"four"]))
    assert found == ["one", "tw\ufffd", "", "four"]
    assert capsys.readouterr().err.splitlines() == [
        "warning: line 2 is not UTF-8 (byte 3 is 0xff); read with replacement characters"
    ]
