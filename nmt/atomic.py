"""Files that are written whole or not at all, whatever stops the program or the machine."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload


@overload
def whole_file(path: Path, mode: Literal["w"] = "w") -> contextlib.AbstractContextManager[TextIO]: ...
@overload
def whole_file(path: Path, mode: Literal["wb"]) -> contextlib.AbstractContextManager[BinaryIO]: ...
@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file object whose content becomes the file ``path`` at the end of the ``with`` block.

    The content is written to a draft, a hidden file beside ``path``, which then takes its name.  Content and name are
    on the disk when the block has ended, so that after a crash or a power failure ``path`` holds either all of the old
    content or all of the new.  If the block or the disk raises an error, the draft is removed and ``path`` stays as it
    was.  Only a process that is killed leaves a draft, which the next that writes ``path`` removes.

    ``mode`` is "w" (UTF-8, lines end as they are written) or "wb".  The folder must exist; a link is replaced, not
    followed.  Raises OSError, whose filename is ``path``, where the disk refuses.
    """
    draft = draft_of(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        remove_drafts(path)
        with open_locked(lambda: draft.open(mode, encoding=encoding, newline=newline)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(draft)):
            error.filename = str(path)  # a write names no file, and nobody has to know of drafts
        raise
    sync_folder(path.parent)


def link_whole(path: Path, name: Path) -> None:
    """Give a file a second name in the same folder, in place of what had it: at every moment ``name`` is one of them.

    Raises OSError where the file system has no links.
    """
    draft = draft_of(name)
    draft.unlink(missing_ok=True)
    draft.hardlink_to(path)
    draft.replace(name)


def draft_of(path: Path) -> Path:
    """Where this process writes what becomes ``path``: in its folder, since a rename across file systems is a copy."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder whose content becomes the folder ``path`` at the end of the ``with`` block, in the place of what it was.

    The files are written into a draft, a hidden folder beside ``path``, which then takes its name.  If the block or the
    disk raises an error, the draft is removed and ``path`` stays as it was; what a killed process left is removed by
    the next.  Raises OSError where the disk refuses.
    """
    draft = draft_of(path)
    old = draft.with_suffix(".old")
    with contextlib.ExitStack() as locked:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_drafts(path)
            draft.mkdir()
            locked.enter_context(locked_folder(draft))
            yield draft
            for folder, _, files in os.walk(draft):
                for name in files:
                    sync_folder(Path(folder, name))
                sync_folder(Path(folder))
            if path.exists():
                path.replace(old)
            draft.replace(path)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            if old.exists() and not path.exists():
                old.replace(path)
            raise
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def passing_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in ``parent`` that is removed at the end of the ``with`` block.

    What processes that were killed left of theirs, which have the same prefix, is removed, too.  Raises OSError where
    the disk refuses.
    """
    for left in parent.glob(f"{prefix}*"):
        remove_if_left(left)
    with contextlib.ExitStack() as locked:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with contextlib.suppress(FileNotFoundError):
                locked.enter_context(locked_folder(folder))
            if folder.exists():  # another process may have taken it for one that is left, before it was locked
                break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_drafts(path: Path) -> None:
    """Delete what killed processes left of a file or folder ``path``; drafts that are being written stay."""
    draft = re.compile(rf"\.{re.escape(path.name)}\.(\d+\.)?(tmp|old)")  # earlier versions wrote no process id
    for other in path.parent.iterdir():
        if draft.fullmatch(other.name):
            remove_if_left(other)


def remove_all_drafts(folder: Path) -> None:
    """Delete what killed processes left of all files and folders in a folder and below."""
    for path in folder.rglob(".*"):
        if re.fullmatch(r"\..+\.\d+\.(tmp|old)", path.name):
            remove_if_left(path)


def remove_if_left(draft: Path) -> None:
    """Delete a draft unless a process has it locked.  On a file system without locks it stays."""
    with contextlib.suppress(OSError):
        descriptor = os.open(draft, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink()
        finally:
            os.close(descriptor)


def open_locked(open_draft: Callable[[], IO[Any]]) -> IO[Any]:
    """A draft that other processes do not take for one that a killed process left."""
    while True:
        file = open_draft()
        lock(file.fileno())
        if os.fstat(file.fileno()).st_nlink:  # another process may have removed it before it was locked
            return file
        file.close()


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Inside this context no process takes the folder for one that a killed process left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Lock an open draft until it is closed or the process ends; a file system may have no locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder, or what a file holds, are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
