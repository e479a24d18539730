"""Checkpoint files survive crashes, refuse strangers, and execute nothing."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.errors import RunError
from nmt.runs import checkpoint

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "checkpoints" / "last.pt"
    checkpoint.save(path, {"model": {"w": torch.arange(3)}, "step": 7, "nested": {"list": [1, 2.5, None, "x"]}})
    state = checkpoint.load(path)
    assert torch.equal(state["model"]["w"], torch.arange(3))
    assert (state["step"], state["nested"]) == (7, {"list": [1, 2.5, None, "x"]})
    assert checkpoint.saved_step(path) == 7
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


class Crash(BaseException):
    """Like a kill: nothing in the program handles it."""


@pytest.mark.parametrize(("owner", "name"), [(torch, "save"), (os, "fsync"), (Path, "replace")])
def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch, owner, name):
    def crash(*_):
        raise Crash

    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": {}, "step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crash)
        with pytest.raises(Crash):
            checkpoint.save(path, {"model": {}, "step": 2})
    assert checkpoint.load(path)["step"] == 1
    checkpoint.save(path, {"model": {}, "step": 3})
    assert checkpoint.load(path)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_what_killed_processes_left_of_a_checkpoint_is_deleted(tmp_path):
    """Drafts are as large as checkpoints; those of other files and of nobody stay."""
    for name in (".last.pt.tmp", ".last.pt.123.tmp", ".best.pt.123.tmp", ".last.pt"):
        (tmp_path / name).touch()
    checkpoint.save(tmp_path / "last.pt", {"model": {}})
    assert sorted(p.name for p in tmp_path.iterdir()) == [".best.pt.123.tmp", ".last.pt", "last.pt"]


def test_a_disk_that_refuses_is_reported(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"checkpoints.last\.pt could not be written"):
        checkpoint.save(tmp_path / "checkpoints" / "last.pt", {"model": {}})


def test_files_that_cannot_be_used_are_refused_by_name(tmp_path):
    path = tmp_path / "last.pt"
    with pytest.raises(RunError, match=r"last\.pt: there is no such checkpoint"):
        checkpoint.load(path)
    checkpoint.save(path, {"model": {"w": torch.zeros(1000)}})
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"last\.pt is damaged or no checkpoint"):
            checkpoint.load(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(RunError, match="holds no model"):
        checkpoint.load(path)
    torch.save({"model": {}, "format": 99}, path)
    with pytest.raises(RunError, match="format 99"):
        checkpoint.load(path)


class Bomb:
    """Makes a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, protocol=2))])
def test_loading_executes_nothing(tmp_path, write):
    path, target = tmp_path / "last.pt", tmp_path / "touched"
    write({"model": Bomb(target), "format": 1}, path)
    with pytest.raises(RunError, match=r"last\.pt holds more than tensors and plain values"):
        checkpoint.load(path)
    assert not target.exists()


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints hold the same."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    """Some bits of every part of the file: records, their headers, the archive's directory."""
    path = tmp_path / "last.pt"
    state = {"model": {"w": torch.randn(20), "b": torch.randn(7)}, "step": 7, "optimizer": {0: torch.randn(9)}}
    checkpoint.save(path, state)
    whole, expected, refused = path.read_bytes(), checkpoint.load(path), 0
    for bit in [*range(0, 8 * len(whole), 61), *attribute_bits(whole)]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = checkpoint.load(path)
        except RunError:
            refused += 1
        else:
            assert same(found, expected), f"bit {bit} was believed"
    assert refused > 100


def attribute_bits(archive: bytes) -> list[int]:
    """Where the directory of a zip archive says whether each record is a folder."""
    starts = [match.start() for match in re.finditer(b"PK\x01\x02", archive)]
    return [8 * (start + 38) + 4 for start in starts]


@pytest.mark.parametrize("name", ["lstm_local_p", "transformer"])
def test_damaged_weights_of_an_earlier_version_are_named(tmp_path, name):
    """torch.save has always written the checksums."""
    whole = (RUNS / name / checkpoint.BEST).read_bytes()
    path = tmp_path / "best.pt"
    path.write_bytes(whole)
    weight = checkpoint.load(path)["model"].values()
    stored = max(weight, key=torch.numel).contiguous().numpy().tobytes()
    changed = bytearray(whole)
    changed[whole.index(stored) + len(stored) // 2] ^= 4
    path.write_bytes(changed)
    with pytest.raises(RunError, match=r"best\.pt is damaged: Bad CRC-32 for file"):
        checkpoint.load(path)
    assert checkpoint.saved_step(path) > 0, "which reads no tensor"
