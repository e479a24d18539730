"""Bytes in, lines out: in windows that do not wait, in files that are whole."""

import bz2
import errno
import gzip
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.cli import streams
from nmt.cli.align import AlignCommandConfig, align_files
from nmt.cli.streams import Lines, Sink, count_lines, decode, reading, refuse_same_file, typed_lines, writing
from nmt.errors import ConfigError, DataError, UserError

ROOT = Path(__file__).parents[2]


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


@given(st.binary(max_size=40) | st.lists(st.sampled_from([b"a", b"\n", b"\r\n"])).map(b"".join), st.integers(1, 7))
def test_lines_are_those_of_the_bytes(data, block):
    """Whatever blocks they come in and however many are taken; a last line needs no end."""
    incoming, outgoing = os.pipe()
    os.write(outgoing, data)
    os.close(outgoing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK", block)
        windows = list(Lines(incoming).windows(1, 3))
    os.close(incoming)
    expected = data.split(b"\n")
    assert [line for window in windows for line in window] == (expected if expected[-1] else expected[:-1])
    assert [len(w) for w in windows[:-1]] == [1, 2, *[3] * 99][: max(len(windows) - 1, 0)]


def test_nothing_waits_for_lines_that_have_not_come():
    """Two lines have arrived and the writer pauses: they are returned."""
    incoming, outgoing = os.pipe()
    lines = Lines(incoming).windows(64, 64)
    os.write(outgoing, b"one\ntwo\nthr")
    assert next(lines) == [b"one", b"two"]
    os.write(outgoing, b"ee\n")
    assert next(lines) == [b"three"]
    os.close(outgoing)
    assert list(lines) == []
    os.close(incoming)


def test_odd_bytes_cost_no_line(capsys):
    """Bytes that are not UTF-8 are replaced and named; a byte order mark and carriage returns are no text."""
    lines = enumerate([b"\xef\xbb\xbfone\r", b"tw\xff", b"", "\ufefffour\u2028\x85\x0b".encode()], 1)
    assert [decode(line, number, "input") for number, line in lines] == [
        "one",
        "tw\ufffd",
        "",
        "\ufefffour\u2028\x85\x0b",
    ]
    assert capsys.readouterr().err.splitlines() == [
        "warning: line 2: not UTF-8 (byte 3 is 0xff); read with replacement characters"
    ]


def test_typed_lines_end_with_control_d(monkeypatch, capsys):
    """What cannot be decoded is reported and skipped, or replaced if the locale let it through."""
    answers = iter(["one", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "two\udcff", EOFError()])

    def answer(prompt):
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr("builtins.input", answer)
    assert list(typed_lines()) == ["one", "two\ufffd"]
    assert "not utf-8: invalid" in capsys.readouterr().err


@pytest.mark.parametrize(("data", "count"), [(b"", 0), (b"\n", 1), (b"a\nb", 2), (b"a\nb\n", 2), (b"x" * 99_999, 1)])
def test_lines_of_a_file_are_counted_without_reading_on(tmp_path, data, count):
    (tmp_path / "in").write_bytes(data)
    with reading("input", str(tmp_path / "in")) as descriptor:
        assert count_lines(descriptor) == count
        assert sum(len(w) for w in Lines(descriptor).windows(9, 9)) == count
    incoming, outgoing = os.pipe()
    assert count_lines(incoming) is None
    os.close(incoming)
    os.close(outgoing)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_compressed_file_is_read_as_what_it_holds(tmp_path, compress):
    """Whatever its name; a damaged one is refused before a line is read."""
    data = b"".join(b"line %d\n" % n for n in range(20_000))
    (tmp_path / "in").write_bytes(compress(data))
    with reading("input", str(tmp_path / "in")) as descriptor:
        assert count_lines(descriptor) == 20_000
        assert b"\n".join(line for w in Lines(descriptor).windows(99, 99) for line in w) + b"\n" == data
    (tmp_path / "in").write_bytes(compress(data)[:-20])
    with pytest.raises(DataError, match=r"^input=.*in: "), reading("input", str(tmp_path / "in")):
        pass


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (gzip.compress(b"x", mtime=0), r"compressed \(\.gz\)"),
        ("\ufefftwo".encode("utf-16-le"), "UTF-16"),
        ("two".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_input_that_is_no_utf8_text_is_refused(line, said):
    with pytest.raises(DataError, match=f"^standard input.*{said}"):
        decode(line, 1, "standard input")


def test_a_zero_byte_costs_no_line(capsys):
    assert decode(b"a\0b", 2, "standard input") == "a\ufffdb"
    assert "line 2: byte 2 is 0x00" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"prefixes: line 2 .*byte 2 is 0x00"):
        decode(b"a\0b", 2, "prefixes", strict=True)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_an_input_that_cannot_be_read_is_named(tmp_path, name):
    with (
        pytest.raises(DataError, match=r"input=.*: (No such file|Is a directory)"),
        reading("input", str(tmp_path / name)),
    ):
        pass


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    """Until the end the old one stays; after an error, too, and no draft beside it."""
    path = tmp_path / "out"
    path.write_text("old")
    with writing("output", str(path)) as sink:
        sink.write(["ä", ""])
        assert path.read_text() == "old"
    assert path.read_bytes() == "ä\n\n".encode()

    def interrupted():
        with writing("output", str(path)) as sink:
            sink.write(["new"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == "ä\n\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with writing("output", str(tmp_path / "link")) as sink:
        sink.write(["new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out").read_text() == "new\n"


def test_what_is_no_file_is_written_directly():
    with writing("output", os.devnull) as sink:
        sink.write(["x"])
    assert not os.path.isfile(os.devnull)  # noqa: PTH113


def test_a_place_that_refuses_is_named(tmp_path):
    with pytest.raises(UserError, match=r"output=.*nowhere/out: No such file"):  # noqa: SIM117
        with writing("output", str(tmp_path / "nowhere" / "out")):
            pass

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    class Gone(io.BytesIO):
        def write(self, _):
            raise BrokenPipeError

    with pytest.raises(UserError, match="standard output: No space left"):
        Sink("standard output", Full()).write(["x"])
    with pytest.raises(BrokenPipeError):  # which is no mistake of the user
        Sink("standard output", Gone()).write(["x"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_device_that_refuses_is_named():
    with pytest.raises(UserError, match="output=/dev/full: No space left"), writing("output", "/dev/full") as sink:
        sink.write(["x"])


def test_an_error_of_something_else_is_not_taken_for_one_of_the_output(tmp_path):
    """What reading raises, say, keeps its own message; and nothing is left."""
    path = tmp_path / "out.txt"

    def translate(sink):
        sink.write(["a line"])
        raise OSError("of the input")

    with pytest.raises(OSError, match="of the input"), writing("output", str(path)) as sink:
        translate(sink)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_end_is_named(tmp_path, monkeypatch):
    """The old file stays."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^output=.*out\.txt: No space left"), writing("output", str(path)) as sink:
        sink.write(["new"])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("closed", [[0], [1], [0, 1], [0, 1, 2]])
def test_closed_streams_are_the_null_device(closed):
    """The descriptors are open again, so that no file gets one of them, and printing loses what nobody reads."""
    code = (
        "from nmt.cli.streams import open_closed_streams; open_closed_streams()\n"
        "import os, sys; print('x', flush=True); sys.stdin.fileno(); [os.fstat(n) for n in (0, 1, 2)]\n"
        "sys.exit(3 if os.open('/dev/null', os.O_RDONLY) > 2 else 1)"
    )
    shut = " ".join(f"{n}>&-" if n else "0<&-" for n in closed)
    env = {**os.environ, "PYTHON": sys.executable, "CODE": code, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f'exec "$PYTHON" -c "$CODE" {shut}', shell=True, env=env, check=False)
    assert done.returncode == 3


@pytest.mark.parametrize(("stream", "use", "key"), [("stdin", reading, "input"), ("stdout", writing, "output")])
def test_lines_of_a_closed_stream_are_refused(stream, use, key, monkeypatch):
    """They would vanish, and translating nothing would look like success."""
    monkeypatch.setattr(streams, "closed", {stream})
    with pytest.raises(ConfigError, match=rf"^standard {key} is closed: type {key}=FILE$"), use(key, None):
        pass


def test_what_is_read_is_not_written(tmp_path, monkeypatch):
    """Under whatever name; with nmt.eval.align, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"output=~/a is the same file as source"):
        refuse_same_file({"source": "a", "target": "b", "gold": None}, {"output": "~/a"})
    refuse_same_file({"source": "a", "target": "a"}, {"output": "b"})
    (tmp_path / "gold.align").write_text("0-0\n")
    config = AlignCommandConfig(run="nowhere", source="s", target="t", gold="gold.align", output="./gold.align")
    with pytest.raises(UserError, match=r"output=\./gold\.align is the same file as gold"):
        align_files([config])
