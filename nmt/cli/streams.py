"""Reading and writing lines of pipes, files and a terminal."""

import contextlib
import io
import os
import select
import shutil
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from nmt.atomic import whole_file
from nmt.data.textfile import BROKEN, home_expanded, open_bytes, refuse_other_text
from nmt.errors import ConfigError, DataError, UserError

BLOCK = 1 << 16  # bytes read at once
closed: set[str] = set()  # the standard streams that whoever started the program has closed


def open_closed_streams() -> None:
    """Open the null device in the place of each standard stream that was closed by whoever started the program.

    Python has None for such a stream, and the next file that is opened would get its descriptor and what is printed.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode))
            closed.add(name)


def flush_output() -> OSError | None:
    """Write what was printed; return what refuses it, with its name, and drop the text where something does."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        error.filename = "standard output"
        return error
    return None


def drop_output() -> None:
    """Send what is printed, and what Python still writes at its end, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Lines:
    """Reads the lines of a file descriptor, which end at U+000A alone, without waiting for more than one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.complete: deque[bytes] = deque()
        self.partial = bytearray()
        self.ended = False

    def windows(self, first: int, most: int) -> Iterator[list[bytes]]:
        """Lists of lines: each time wait for a line and take what has arrived by then.

        At most ``first`` lines at once, then twice as many each time, up to ``most``.
        """
        size = first
        while window := self.take(size):
            yield window
            size = min(2 * size, most)

    def take(self, most: int) -> list[bytes]:
        """The next lines, at most ``most``: those that have arrived, or the next one; none at the end."""
        while not self.ended and (not self.complete or (len(self.complete) < most and self.ready())):
            self.read()
        return [self.complete.popleft() for _ in range(min(most, len(self.complete)))]

    def ready(self) -> bool:
        """Whether reading now would return at once; with files it always does."""
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def read(self) -> None:
        """Read a block, or note the end."""
        block = os.read(self.descriptor, BLOCK)
        self.ended = not block
        *whole, rest = block.split(b"\n")
        for line in whole:
            self.complete.append(bytes(self.partial + line))
            self.partial.clear()
        self.partial += rest
        if self.ended and self.partial:
            self.complete.append(bytes(self.partial))


def decode(line: bytes, number: int, name: str, strict: bool = False) -> str:
    """Line ``number``, counted from 1, as text without its end and, in line 1, without a byte order mark.

    Bytes that are not UTF-8, and bytes that are 0, become U+FFFD, with a warning; if ``strict``, they raise DataError,
    with the ``name`` of the input.  A first line of compressed or of UTF-16 text always does.
    """
    line = line.removesuffix(b"\r")
    if number == 1:
        refuse_other_text(line, name)
    if (place := line.find(b"\0")) >= 0:
        if strict or number == 1:
            raise DataError(f"{name}: line {number} is not UTF-8 text (byte {place + 1} is 0x00); is it UTF-16?")
        warn(number, f"byte {place + 1} is 0x00; read with replacement characters")
        line = line.replace(b"\0", "\ufffd".encode())
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is 0x{line[error.start]:02x}"
        if strict:
            raise DataError(f"{name}: line {number} is not UTF-8 ({byte})") from None
        warn(number, f"not UTF-8 ({byte}); read with replacement characters")
        text = line.decode(errors="replace")
    return text.removeprefix("\ufeff") if number == 1 else text


def warn(number: int, message: str) -> None:
    """Write a warning about a line, counted from 1, to standard error, above a progress bar if there is one."""
    tqdm.write(f"warning: line {number}: {message}", file=sys.stderr)


def typed_lines() -> Iterator[str]:
    """Lines typed at a terminal after a prompt, with the line editing of readline, until Ctrl-D."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # input() uses it from then on
    while True:
        try:
            line = input("> ")
        except UnicodeDecodeError as error:
            print(f"not {error.encoding}: {error.reason}", file=sys.stderr)
        except EOFError:
            print()
            return
        else:
            yield line.encode(errors="surrogateescape").decode(errors="replace")


def count_lines(descriptor: int) -> int | None:
    """How many lines are still to be read of a file, whose position does not change; None for a pipe or terminal."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    at, lines, last = os.lseek(descriptor, 0, os.SEEK_CUR), 0, b"\n"
    while block := os.pread(descriptor, BLOCK, at):
        at, lines, last = at + len(block), lines + block.count(b"\n"), block
    return lines + (not last.endswith(b"\n"))


def refuse_closed(stream: str, name: str, key: str) -> None:
    """Raise ConfigError where lines would come from a closed stream or vanish in it."""
    if stream in closed:
        raise ConfigError(f"{name} is closed: type {key}=FILE")


@contextlib.contextmanager
def reading(key: str, path: str | None) -> Iterator[int]:
    """A descriptor to read from: of a file, or standard input; ``key`` is what messages name.

    What a compressed file holds is decompressed to a temporary file first, so that damage is found before work begins.
    Raises DataError for a file that cannot be read, ConfigError where standard input is closed.
    """
    if path is None:
        refuse_closed("stdin", "standard input", key)
        yield sys.stdin.fileno()
        return
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_bytes(home_expanded(path, key)))
            if not isinstance(opened, io.BufferedReader) or not isinstance(opened.raw, io.FileIO):
                plain = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(opened, plain)
                plain.seek(0)
                opened = plain
        except BROKEN as error:
            raise DataError(f"{key}={path}: {getattr(error, 'strerror', None) or error}") from None
        yield opened.fileno()


class Sink:
    """Where lines are written to; ``name`` is what messages call it."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name, self.file = name, file

    def write(self, lines: Iterable[str]) -> None:
        """Write and flush.  Raises BrokenPipeError where nobody reads any more, UserError for a disk that refuses."""
        with refusals(self.name):
            self.file.write("".join(f"{line}\n" for line in lines).encode())
            self.file.flush()


@contextlib.contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn what the system refuses into a UserError, but for a broken pipe, which is no mistake."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None


@contextlib.contextmanager
def opened_as_it_is(path: Path) -> Iterator[BinaryIO]:
    """A device or named pipe to write to.

    ``Sink`` flushes all that it writes and tells what was refused, which closing would try and be refused once more.
    """
    file = path.open("wb")
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def writing(key: str, path: str | None) -> Iterator[Sink]:
    """A file to write to, or standard output; ``key`` is what messages name.

    A file is written beside its place and put there at the end, so that it is there whole or not at all; what is no
    ordinary file (a named pipe, /dev/null) is written to directly.  Raises ConfigError where standard output is closed.
    """
    if path is None:
        refuse_closed("stdout", "standard output", key)
        yield Sink("standard output", sys.stdout.buffer)
        return
    name, target = f"{key}={path}", Path(path)
    with contextlib.ExitStack() as stack:
        with refusals(name):
            direct = target.exists() and not target.is_file()
            # A link stays one: what it leads to is replaced.
            opened = opened_as_it_is(target) if direct else whole_file(target.resolve(), "wb")
            file = stack.enter_context(opened)
        yield Sink(name, file)
        with refusals(name):
            stack.close()


def refuse_same_file(read: Mapping[str, str | None], written: Mapping[str, str | None]) -> None:
    """Raise ConfigError where a file that is written is one that is read, or is written by two keys.

    Both are paths by the keys that name them.  What is no ordinary file (a terminal, /dev/null) may be both.
    """
    seen = {home_expanded(path, key).resolve(): key for key, path in read.items() if path is not None}
    for key, path in written.items():
        place = None if path is None else home_expanded(path, key)
        if place is None or (place.exists() and not place.is_file()):
            continue
        other = seen.setdefault(place.resolve(), key)
        if other != key:
            raise ConfigError(f"{key}={path} is the same file as {other}")
