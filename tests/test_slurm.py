"""scripts/slurm.sh: a signal reaches the training, and the job is queued again where that has saved."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "slurm.sh"
# A training of which only the signals count; the real one's exit codes are tested in tests/cli and tests/train.
TRAINING = """#!{python}
import signal, sys, time
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: sys.exit(128 + number))
print(*sys.argv[1:], flush=True)
time.sleep(60 if sys.argv[3] == "waits" else 0)
sys.exit(3 if sys.argv[3] == "fails" else 0)
"""


def job(folder: Path, word: str) -> subprocess.Popen[str]:
    for name, text in (("train", TRAINING), ("scontrol", "#!/bin/sh\necho scontrol $*\n")):
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHON": str(folder / "train"), "SLURM_JOB_ID": "17"}
    return subprocess.Popen(["bash", str(SCRIPT), word], stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_ends_the_training_and_queues_the_job_again(tmp_path, number):
    running = job(tmp_path, "waits")
    assert running.stdout is not None
    assert running.stdout.readline() == "-m nmt.train waits resume=true\n"
    running.send_signal(number)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert rest == "scontrol requeue 17\n"


@pytest.mark.parametrize(("word", "status"), [("ends", 0), ("fails", 3)])
def test_what_ended_or_failed_is_not_queued_again(tmp_path, word, status):
    running = job(tmp_path, word)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == status
    assert "scontrol" not in rest
