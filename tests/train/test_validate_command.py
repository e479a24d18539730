"""trainer.validate_command: which files a program gets, how its answer is read, and what ends in one line."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from nmt.errors import ConfigError
from nmt.train.config import TrainerConfig, sign_of
from nmt.train.validate_command import ValidateCommand

TEXTS = ["a b", "c d"], ["A B", "C\nD"], ["A B", "D C"]
SHOW = "import sys; print([open(a, encoding='utf-8').read() for a in sys.argv[1:]]); print('score:\t0.5')"


@pytest.fixture
def judge(tmp_path):
    """Judges TEXTS by the text of a Python program and what is typed after its name."""

    def judge(program: str, typed: str = "", minutes: float | None = 1) -> float:
        file = tmp_path / "score it.py"
        file.write_text(program, encoding="utf-8")
        command = f"'{sys.executable}' '{file}' {typed}"
        return ValidateCommand(command, minutes, tmp_path / "files", ("en", "de"), "mine")(*TEXTS)

    return judge


def test_the_layout_is_that_of_mt_metrics_eval(judge, tmp_path):
    """sources/SRC-TGT.txt, references/SRC-TGT.NAME.txt, system-outputs/SRC-TGT/NAME.txt, documents/SRC-TGT.docs."""
    assert judge(SHOW) == 0.5
    files = {p.relative_to(tmp_path / "files").as_posix(): p.read_text() for p in tmp_path.glob("files/**/*.*")}
    assert files == {
        "sources/en-de.txt": "a b\nc d\n",
        "references/en-de.refA.txt": "A B\nD C\n",
        "system-outputs/en-de/mine.txt": "A B\nC D\n",
        "documents/en-de.docs": "validation\tvalidation\n" * 2,
    }


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("", "source hypotheses reference"),
        ("{reference} {hypotheses}", "reference hypotheses"),
        ("--src={source}", "--src=source"),
    ],
)
def test_files_stand_where_they_are_asked_for(judge, tmp_path, typed, asked):
    judge(f"import sys; open({str(tmp_path / 'args')!r}, 'w').write(' '.join(sys.argv[1:])); print(1)", typed)
    found = (tmp_path / "args").read_text()
    folder = (tmp_path / "files").resolve()
    for name, path in {
        "source": "sources/en-de.txt",
        "hypotheses": "system-outputs/en-de/mine.txt",
        "reference": "references/en-de.refA.txt",
    }.items():
        found = found.replace(str(folder / path), name)
    assert found == asked


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("loading\\nsystem-outputs/mine.txt\\tscore: 0.8312\\n\\n", 0.8312),  # comet-score --quiet --only_system
        ("-3e-2", -0.03),
        ("x\\t7", 7.0),
    ],
)
def test_the_last_word_of_the_last_line_is_the_number(judge, printed, value):
    assert judge(f"print('{printed}')") == value


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; print('0.5'); sys.exit('no GPU\\nno model')", "ended with exit code 1: no model"),
        ("import os; os.kill(os.getpid(), 9)", "ended with exit code -9: nothing was printed"),
        ("print('0.5'); print('done')", "whose last word is a number, and printed 'done'"),
        ("print('score: nan')", "whose last word is a number, and printed 'score: nan'"),
        ("pass", "whose last word is a number, and printed nothing"),
    ],
)
def test_what_is_no_answer_is_one_line_that_names_the_key(judge, program, said):
    with pytest.raises(ConfigError, match=r"^trainer\.validate_command ") as caught:
        judge(program)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^trainer.validate_command: no-such-program: No such file or directory$"):
        ValidateCommand("no-such-program", None, tmp_path, ("en", "de"), "x")(*TEXTS)


CHILDREN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, file=open({file!r}, "w"), flush=True)
time.sleep(600)
"""


def dead(process: int) -> bool:
    """Whether a process has ended, within ten seconds."""
    for _ in range(1000):
        path = Path(f"/proc/{process}/stat")
        if not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def started(file: Path) -> int:
    while not (file.exists() and file.read_text().strip()):
        time.sleep(0.01)
    return int(file.read_text())


def test_one_that_takes_too_long_is_stopped_with_what_it_started(judge, tmp_path):
    with pytest.raises(ConfigError, match=r"was stopped after trainer\.validate_command_minutes=0\.01; type a larger"):
        judge(CHILDREN.format(file=str(tmp_path / "pid")), minutes=0.01)
    if (tmp_path / "pid").exists():  # it may have been stopped before
        assert dead(started(tmp_path / "pid"))


def test_a_signal_stops_it_too(judge, tmp_path):
    """As that of a training which is interrupted while it validates."""

    def interrupt() -> None:
        started(tmp_path / "pid")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        judge(CHILDREN.format(file=str(tmp_path / "pid")))
    assert dead(started(tmp_path / "pid"))


def test_it_does_not_see_what_torchrun_tells_its_processes(judge, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK", "LOCAL_MODELS"):
        monkeypatch.setenv(name, "1")
    told = "{'RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'LOCAL_RANK'}"
    assert judge(f"import os; print(len({told} & {{*os.environ}}))") == 0
    assert judge("import os; print(os.environ['LOCAL_MODELS'])") == 1, "what else begins so is passed on"


@pytest.mark.parametrize(("command", "said"), [(" ", "is empty"), ("score 'x", "no closing quotation")])
def test_a_command_that_is_none_is_refused_at_once(command, said):
    with pytest.raises(ConfigError, match=f"^trainer.validate_command.*{said}"):
        TrainerConfig(validate_command=command)


def test_which_direction_is_better():
    assert (sign_of("command"), sign_of("command_lower")) == (1, -1)
