"""A training resumes from its latest undamaged state."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nmt.errors import RunError
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints, can_resume, newest_state
from nmt.train.config import TrainerConfig


def state(step: int) -> dict:
    return {"model": {"w": torch.full((100,), float(step))}, "step": step}


def saved(directory: Path, *steps: int) -> RunCheckpoints:
    store = RunCheckpoints(directory, TrainerConfig())
    for step in steps:
        store.save_last(state(step))
    return store


def damage(path: Path) -> None:
    """Change one bit of the tensor."""
    changed = bytearray(path.read_bytes())
    changed[changed.index(checkpoint.load(path)["model"]["w"].numpy().tobytes()) + 50] ^= 1
    path.write_bytes(changed)


def steps(directory: Path) -> dict[str, int]:
    return {path.name: checkpoint.saved_step(path) for path in (directory / "checkpoints").iterdir()}


def test_the_state_before_the_last_stays(tmp_path):
    assert not can_resume(tmp_path)
    saved(tmp_path, 1)
    assert steps(tmp_path) == {"last.pt": 1}
    saved(tmp_path / "more", 1, 2, 3)
    assert steps(tmp_path / "more") == {"last.pt": 3, "previous.pt": 2}
    assert newest_state(tmp_path / "more").step == 3
    assert can_resume(tmp_path)


def test_a_damaged_last_state_names_itself_and_the_one_before_is_used(tmp_path):
    """And stays until there is a whole one beside it."""
    saved(tmp_path, 1, 2)
    damage(tmp_path / checkpoint.LAST)
    found = newest_state(tmp_path)
    assert (found.path, found.step) == (tmp_path / checkpoint.PREVIOUS, 1)
    assert str(tmp_path / checkpoint.LAST) in found.damage
    store = RunCheckpoints(tmp_path, TrainerConfig(), found.path)
    assert store.load_last()["step"] == 1
    store.save_last(state(5))
    assert steps(tmp_path) == {"last.pt": 5, "previous.pt": 1}
    store.save_last(state(6))
    assert steps(tmp_path) == {"last.pt": 6, "previous.pt": 5}


def test_a_last_state_that_is_gone_counts_as_damaged(tmp_path):
    saved(tmp_path, 1, 2)
    (tmp_path / checkpoint.LAST).unlink()
    assert can_resume(tmp_path)
    assert newest_state(tmp_path).step == 1


def test_where_no_state_is_whole_each_is_named(tmp_path):
    saved(tmp_path, 1)
    damage(tmp_path / checkpoint.LAST)
    with pytest.raises(RunError, match=r"last\.pt is damaged"):
        newest_state(tmp_path)
    shutil.copy(tmp_path / checkpoint.LAST, tmp_path / checkpoint.PREVIOUS)
    with pytest.raises(RunError, match=r"last\.pt is damaged.*; .*previous\.pt is damaged"):
        newest_state(tmp_path)


def test_a_resumed_training_keeps_the_state_that_it_began_with(tmp_path):
    saved(tmp_path, 1, 2)
    store = RunCheckpoints(tmp_path, TrainerConfig())
    store.load_last()
    store.save_last(state(3))
    assert steps(tmp_path) == {"last.pt": 3, "previous.pt": 2}


def test_a_file_system_without_links_has_the_last_state_alone(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    saved(tmp_path, 1, 2)
    assert steps(tmp_path) == {"last.pt": 2}


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from nmt.runs import checkpoint
from nmt.runs.checkpoint_store import RunCheckpoints
from nmt.train.config import TrainerConfig
store = RunCheckpoints(Path(sys.argv[1]), TrainerConfig())
store.load_last()
state = {"model": {"w": torch.zeros(1_000_000)}, "step": 3}
for room in (0, 100, 5_000, 200_000, 3_999_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    for save in (store.save_last, store.save_best):
        try:
            save(state)
        except ValueError as error:
            print(error)
"""


def test_a_disk_without_room_is_named_and_leaves_the_states_before(tmp_path):
    """Wherever in the file the room ends: a limit on the size of files stands for a full disk."""
    saved(tmp_path, 1, 2)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    said = [f"{tmp_path / name} could not be written: File too large" for name in (checkpoint.LAST, checkpoint.BEST)]
    assert done.stdout.splitlines() == 5 * said
    assert steps(tmp_path) == {"last.pt": 2, "previous.pt": 1}
