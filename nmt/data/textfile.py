"""The one way to open text: UTF-8 in lines, plain or compressed, whatever the name of the file.

Lines end at the byte 0x0A and nowhere else: Unicode's other separators, which str.splitlines would split at, are text.
"""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from nmt.data.checks import NUL, SURROGATE, offending_byte
from nmt.errors import DataError


class Compression(NamedTuple):
    """A compressed format."""

    signatures: tuple[bytes, ...]  # with one of which its files begin
    open: Callable[[str], Any]


# By the usual ending of the name.
COMPRESSED = {
    ".gz": Compression((b"\x1f\x8b",), gzip.open),
    ".bz2": Compression(tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), bz2.open),
    ".xz": Compression((b"\xfd7zXZ\x00",), lzma.open),
    ".zst": Compression(
        (b"\x28\xb5\x2f\xfd",), lambda path: io.BufferedReader(cast(Any, pa.input_stream(path, compression="zstd")))
    ),
}
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what reading a compressed file may raise
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def home_expanded(path: str, key: str) -> Path:
    """A path with that home folder for its ~ or ~USER; raises DataError, naming ``key``, where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{key}={path}: nobody of that name has a home folder here") from None


def compression(start: bytes) -> str | None:
    """The ending of the format that data with this beginning is compressed in; None: it is not."""
    return next((ending for ending, known in COMPRESSED.items() if start.startswith(known.signatures)), None)


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed if its content, or else its name, is that of a compressed file."""
    if path.is_file():  # a pipe cannot be read twice
        with path.open("rb") as file:
            found = compression(file.read(10))
        if found is not None:
            return COMPRESSED[found].open(str(path))
    return COMPRESSED[path.suffix].open(str(path)) if path.suffix in COMPRESSED else path.open("rb")


def refuse_other_text(start: bytes, name: str) -> None:
    """Raise DataError, beginning with ``name``, if text that begins so is compressed, UTF-16 or UTF-32."""
    if start.startswith(WIDE):
        raise DataError(f"{name} is UTF-16 or UTF-32 text; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
    if (found := compression(start)) is not None:
        raise DataError(f"{name} is compressed ({found}); decompress it first, or give the name of the file")


def byte_lines(path: Path) -> Iterator[bytes]:
    """The lines without their ends (LF or CRLF) and without a byte order mark before the first.

    Raises DataError, with the file, for one that cannot be read or is UTF-16.
    """
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file):
                if number == 0:
                    refuse_other_text(line, str(path))
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield line.removesuffix(b"\n").removesuffix(b"\r")
    except BROKEN as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def lines(path: Path) -> Iterator[str]:
    """The lines as text; bytes that are not UTF-8 text become surrogates, for ``checks.clean`` to find.

    They are those of PEP 383, and ``checks.NUL`` for the byte 0, of which UTF-16 without a byte order mark is full.
    """
    for line in byte_lines(path):
        yield line.decode("utf-8", "surrogateescape").replace("\0", NUL)


def strict_lines(path: Path) -> list[str]:
    """The lines as text, all of them; raises DataError for bytes that are not UTF-8, with file, line and byte."""
    found = list(lines(path))
    for number, line in enumerate(found):
        if not line.isascii() and SURROGATE.search(line):
            raise DataError(f"{path} line {number + 1}{offending_byte(line)}: bytes that are not UTF-8")
    return found


def count_lines(path: Path) -> int:
    """How many lines ``byte_lines`` yields."""
    return sum(1 for _ in byte_lines(path))
