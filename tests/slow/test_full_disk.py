"""A disk that is full at any write: the message says so, what was there is whole, and with more room training goes on.

A small file system in memory (tmpfs) is given a little more room each time, so that it is full at another write: of the
cache, the tokenizer, config.yaml, log.jsonl, TensorBoard's events, checkpoints and scores.  That needs root and Linux;
the file system is seen by the test's process alone and ends with it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STEP = 16  # KiB between two sizes of the disk; a training of this size takes some 600

CHILD = '''
import json, os, subprocess, sys
from pathlib import Path
from unittest.mock import patch

disk, step = Path(sys.argv[1]), int(sys.argv[2])

def new_disk(size):
    """In place of the one before: files that are still mapped into memory would take its room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)


new_disk(65536)
from nmt.atomic import whole_file
from nmt.cli import app, eval, train
from nmt.runs import checkpoint
from nmt.runs.directory import Run, read_json

TRAIN = (
    "model.hidden_size=8 data.train_size=60 data.validation_size=5 data.test_size=5 data.max_words=8 "
    "data.tokenizer.kind=char decode=greedy decode.max_length=9 trainer.max_steps=4 trainer.validate_every=2 "
    "logger.every=1 logger.heatmaps=1 logger.samples=1 threads=1 device=cpu trainer.precision=fp32 "
    f"trainer.keep_last=1 data.batching.tokens=400 runs={disk}/runs data.cache={disk}/cache name=a resume=true"
)
EVAL = f"run={disk}/runs/a data.test=[test] decode.beam_size=2 device=cpu threads=1"
run = disk / "runs" / "a"


def resize(size):
    subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)


def said(module, words):
    """What the command ends with: None, its message, or the type of an error that is no message."""
    try:
        null = open(os.devnull, "w")
        with patch.object(sys, "argv", ["nmt", *words.split()]), patch.object(sys, "stdout", null):
            module.main()
    except SystemExit as error:
        return error.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def broken():
    """Files that are there and cannot be read, and drafts that were left."""
    for path in disk.rglob("*"):
        try:
            if path.suffix == ".pt":
                checkpoint.load(path)
            elif path.suffix == ".json":
                read_json(path)
            elif path.name == "config.yaml" and (run / "tokenizer").exists() and any((run / "tokenizer").iterdir()):
                Run.open(run) if (run / "tokenizer" / "tokenizer.json").exists() else None
            elif path.name.startswith(".") and path.name != ".lock":
                yield f"left: {path}"
        except ValueError as error:
            yield str(error)


def state():
    return [value.tolist() for value in checkpoint.load(run / "checkpoints" / "last.pt")["model"].values()]


def scores():
    return {str(p.relative_to(run)): p.read_bytes() for p in (run / "scores").rglob("*.*")}


def report(size, message, **more):
    print(json.dumps({"size": size, "message": message, "broken": list(broken()), **more}), flush=True)


assert said(train, TRAIN) is None
whole, size, message = state(), 8, ""
while message is not None:
    new_disk(size)
    message = said(train, TRAIN)
    report(size, message)
    resize(65536)
    if (run / "checkpoints" / "last.pt").exists():
        assert said(train, TRAIN) is None
        assert state() == whole
    size += step
if not (run / "scores" / "test").exists():
    assert said(train, TRAIN) is None
before, size, message = scores(), 0, ""
used = int(subprocess.run(["du", "-sk", disk], capture_output=True, text=True).stdout.split()[0])
while message is not None:
    resize(used + size)
    message = said(eval, EVAL)
    report(size, message, kept=before.items() <= scores().items())
    resize(65536)
    size += 8
resize(used + 64)
output = disk / "output.txt"
output.write_text("old")
try:
    with whole_file(output) as file:
        file.write("new" * 100000)
except OSError as error:
    report(0, f"{error.filename}: {error.strerror}", kept=output.read_text() == "old")
'''


def private_disk_possible(folder: Path) -> bool:
    """Whether this process may mount a file system that nobody else sees."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_a_full_disk_says_so_and_leaves_everything_whole(tmp_path):
    if not private_disk_possible(tmp_path):
        pytest.skip("mounting a file system needs root, and unshare of util-linux")
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    command = ["unshare", "-m", sys.executable, "-c", CHILD, str(tmp_path), str(STEP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    for found in reports:
        assert found["broken"] == [], found
        assert found.get("kept", True), found
        if found["message"] is not None:
            assert found["message"].count("No space left on device") == 1, found
            assert "\n" not in found["message"], found
            assert str(tmp_path) in found["message"], found
    said = " ".join(str(found["message"]) for found in reports)
    for name in ("cache", "runs/a", "events.out.tfevents", "best.pt", "step-00000002.pt", "last.pt", "output.txt"):
        assert name in said, f"no disk was full while {name} was written"
    assert sum(found["message"] is None for found in reports) == 2, "one training and one scoring found room"
