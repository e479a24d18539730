"""Files are there whole or not at all, whenever the failure comes."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nmt.atomic import passing_folder, remove_drafts, whole_file, whole_folder


class Killed(BaseException):
    """Like KeyboardInterrupt: nothing in the program handles it."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_content_replaces_the_old(tmp_path):
    """Text is UTF-8 and keeps its line ends; bytes are bytes."""
    path = tmp_path / "file"
    for content in ("old and longer\r\n", "new é\n\r"):
        with whole_file(path) as file:
            file.write(content)
        assert path.read_bytes() == content.encode()
    with whole_file(path, "wb") as binary:
        binary.write(b"\xff\r\n")
    assert path.read_bytes() == b"\xff\r\n"
    assert names(tmp_path) == ["file"]


def test_nothing_is_seen_before_the_end(tmp_path):
    """A reader sees the old content while the new is written, and the draft is hidden."""
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        assert all(name.startswith(".") for name in names(tmp_path) if name != "file")


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def kill(*_, **__):
    raise Killed


@pytest.mark.parametrize("failure", [fail, kill])
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", ["old", None])
def test_a_failure_at_any_moment_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, failure, moment, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", failure)
    elif moment == "replace":
        monkeypatch.setattr(Path, "replace", failure)
    with pytest.raises((OSError, Killed)), whole_file(path) as file:
        file.writelines(failure() if moment == "write" else line for line in ["new"])
    monkeypatch.undo()
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_text() == old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_found_when_the_buffer_is_flushed(tmp_path, monkeypatch):
    """The error of the flush and of the close after it is one OSError."""
    path, plain = tmp_path / "file", Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: plain(Path("/dev/full"), *a, **k))
    with pytest.raises(OSError, match="No space left"), whole_file(path) as file:
        file.write("new")
    assert names(tmp_path) == []


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    """fsync of the draft, rename, fsync of the folder, in this order."""
    calls, sync, replace = [], os.fsync, Path.replace

    def fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def rename(self, target):
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    with whole_file(tmp_path / "file") as file:
        file.write("x")
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_a_plain_open(tmp_path, mask):
    """The umask decides, as it does for a file that open() makes; not 0600, as tempfile has it."""
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_text("x")
        for _ in range(2):  # new, and replaced
            with whole_file(tmp_path / "whole") as file:
                file.write("x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")]
    assert modes[0] == modes[1] == 0o666 & ~mask


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from nmt.atomic import passing_folder, whole_file, whole_folder
path, kind, ending = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
kinds = {"file": whole_file, "folder": whole_folder, "passing": lambda path: passing_folder(path.parent, ".at-work-")}
with kinds[kind](path) as made:
    if kind != "file":
        made = (made / "part").open("w")
    made.write("half")
    made.flush()
    print("at work", flush=True)
    if ending == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def working(path: Path, kind: str, ending: str) -> subprocess.Popen[str]:
    """A process that has begun to write, and is killed then or waits for an end of its input."""
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(path), kind, ending]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "at work\n"
    return running


def write_whole(path: Path, kind: str) -> None:
    if kind == "file":
        with whole_file(path) as file:
            file.write("new")
    elif kind == "folder":
        with whole_folder(path) as folder:
            (folder / "part").write_text("new")
    else:
        with passing_folder(path.parent, ".at-work-") as folder:
            (folder / "part").write_text("new")


@pytest.mark.parametrize("kind", ["file", "folder", "passing"])
def test_the_next_writer_removes_what_a_killed_one_left_and_not_what_is_being_written(tmp_path, kind):
    path = tmp_path / "a[b"  # a name that a pattern could misread
    others = [".a[b.txt.1.tmp", ".a", "a[b.tmp", ".a[b.1.2.tmp", ".at"]
    for name in others:
        (tmp_path / name).touch()
    working(path, kind, "killed").communicate()
    assert len(names(tmp_path)) == 1 + len(others)
    other = working(path, kind, "ended")
    assert len(names(tmp_path)) == 1 + len(others), "what was left is gone, and what the other process writes is there"
    before = names(tmp_path)
    write_whole(path, kind)
    assert names(tmp_path) == sorted([*before, *([] if kind == "passing" else ["a[b"])])
    other.communicate()
    assert other.returncode == 0
    assert names(tmp_path) == sorted([*others, *([] if kind == "passing" else ["a[b"])])


def test_drafts_of_earlier_versions_are_removed(tmp_path):
    """They had no process id, and nobody has them locked."""
    (tmp_path / ".file.tmp").touch()
    remove_drafts(tmp_path / "file")
    assert names(tmp_path) == []


def test_what_the_disk_refuses_names_the_file_and_not_its_draft(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught, whole_file(tmp_path / "file") as file:
        file.write("new")
    assert caught.value.filename == str(tmp_path / "file")
