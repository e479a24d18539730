"""Errors a user can cause.  The command line prints them as one line, without a traceback."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

# OSError.errno of a disk that is full, broken or not to be written, and of a name that no file can have.
DISK = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS)


def shown(text: str, most: int = 80) -> str:
    """A text from outside as a message quotes it: as Python writes it, and cut where it is longer than ``most``."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text):,} characters)"


def shortened(text: str, most: int = 80) -> str:
    """A text from outside as it is, cut where it is longer than ``most``."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def refusal(error: OSError) -> str:
    """Why the system refused, as "No space left on device"; libraries raise errors that have the number alone."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


class Stopped(KeyboardInterrupt):
    """A signal ended the work, after everything was saved; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class UserError(ValueError):
    """Anything the user can mend: the message says what, where, and what to do."""


class ConfigError(UserError):
    """A configuration value that has the right type and cannot work; the message names the key."""


class DataError(UserError):
    """Text that cannot be used; the message names the file and the line."""


class RunError(UserError):
    """A run directory or checkpoint that cannot be used; the message names the path."""


@contextmanager
def naming(key: str, instead: str) -> Iterator[None]:
    """A context whose UserErrors name ``key`` where they named ``instead``, alone or with a key below it."""
    try:
        yield
    except UserError as error:
        error.args = (re.sub(rf"\b{re.escape(instead)}\b", key, str(error)), *error.args[1:])
        raise
