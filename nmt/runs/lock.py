"""A run directory has one writer: a lock that ends with the process that holds it, however that ends."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nmt.atomic import remove_all_drafts
from nmt.errors import RunError

FILE = ".lock"  # inside a run directory; it stays, and only the lock on it counts


@contextlib.contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """A context in which no other process trains into the run directory.

    What killed processes left half-written anywhere in the run directory is removed.  Raises RunError, saying which
    process it is, where another one trains there, or where the lock file cannot be made.  A file system without locks
    has none.
    """
    path = directory / FILE
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from None
    with file:
        try:
            locked_soon(file)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise RunError(
                f"{directory} is being written by {owner}; wait for its end, or choose another name"
            ) from None
        except OSError:  # this file system has no locks
            yield
            return
        with contextlib.suppress(OSError):  # on a full disk the lock has no name, and is one
            file.truncate(0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        remove_all_drafts(directory)
        yield


def locked_soon(file: IO[Any]) -> None:
    """Lock an open file; raises BlockingIOError where another process still has it after a fifth of a second.

    Whoever looks whether a process trains there has it for some microseconds (``is_locked``).
    """
    end = time.monotonic() + 0.2
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(0.005)


@contextlib.contextmanager
def one_after_another(folder: Path) -> Iterator[None]:
    """A context in which no other process is with the same folder: it waits until that has left or has ended.

    For what takes moments, and for which a whole scoring was done: two processes that score one set at the same time
    each add what they have to what the other one wrote.  Raises RunError where the folder cannot be made.  A file
    system without locks has none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{folder} could not be written: {error.strerror}") from None
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def is_locked(directory: Path) -> bool:
    """Whether a process trains there now; False where that cannot be told."""
    try:
        with (directory / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_left_empty(directory: Path) -> bool:
    """Whether a process locked the directory, wrote nothing into it but drafts, and is gone."""
    names = {path.name for path in directory.iterdir()}
    return FILE in names and all(name.startswith(".") for name in names) and not is_locked(directory)
