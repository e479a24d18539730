"""Files that are written whole or not at all, whatever stops the program or the machine."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
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
    was.  Only a process that is killed can leave a draft; see ``remove_drafts``.

    ``mode`` is "w" (UTF-8, lines end as they are written) or "wb".  The folder must exist; a link is replaced, not
    followed.  Raises OSError where the disk refuses.
    """
    draft = draft_of(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        with draft.open(mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
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
    disk raises an error, the draft is removed and ``path`` stays as it was.  Raises OSError where the disk refuses.
    """
    draft = draft_of(path)
    old = draft.with_suffix(".old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
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


def remove_drafts(path: Path) -> None:
    """Delete what killed processes left of ``path``; only for a file that no other process is writing."""
    draft = re.compile(rf"\.{re.escape(path.name)}\.(\d+\.)?tmp")  # earlier versions wrote no process id
    for other in path.parent.iterdir():
        if draft.fullmatch(other.name):
            other.unlink(missing_ok=True)


def remove_folder_drafts(folder: Path) -> None:
    """Delete what killed processes left of all files of a folder; only where no other process is writing."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder, or what a file holds, are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
