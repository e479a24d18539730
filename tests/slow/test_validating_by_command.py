"""A training whose checkpoints a program of the user's own chooses, as typed."""

import json
import sys
from pathlib import Path

import pytest

from nmt.cli import train
from nmt.runs import checkpoint

pytestmark = pytest.mark.slow
WORDS = (
    *("model.hidden_size=8", "data.train_size=60", "data.validation_size=4", "data.test_size=4", "data.max_words=6"),
    *("data.tokenizer.vocab_size=400", "trainer.max_steps=4", "trainer.validate_every=1", "trainer.metric=command"),
    *("decode=greedy", "decode.max_length=4", "logger.tensorboard=false", "device=cpu", "threads=1", "name=run"),
    *("data.test=[]", "trainer.precision=fp32"),
)
# Answers 9, 2, 7, 7, ... in the order of its calls, the first of which is the trial on two references.
ANSWERS = """
import sys, pathlib
calls = pathlib.Path("calls")
before = calls.read_text().splitlines() if calls.exists() else []
calls.write_text("".join(f"{line}\\n" for line in [*before, len(open(sys.argv[2]).readlines())]))
print("score", [9, 2, 7, 7, 7][len(before)]) if len(before) < FAILS else sys.exit("out of memory")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def typed(*words: str, fails: int = 9) -> list[dict]:
    """What validations of the training found; raises SystemExit as the command does."""
    Path("answers.py").write_text(ANSWERS.replace("FAILS", str(fails)))
    sys.argv = ["nmt.train", *WORDS, f"trainer.validate_command='{sys.executable} answers.py'", *words]
    train.main()
    lines = map(json.loads, Path("runs/run/log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "validation"]


@pytest.mark.parametrize(("metric", "best"), [("command", 2), ("command_lower", 1)])
def test_the_number_chooses_the_checkpoint(metric, best):
    found = typed(f"trainer.metric={metric}")
    assert [line[metric] for line in found] == [2, 7, 7, 7]
    assert checkpoint.load(Path("runs/run") / checkpoint.BEST)["step"] == best
    assert Path("calls").read_text().split() == ["2", "4", "4", "4", "4"], "sentences judged: two references, then all"
    assert (Path("runs/run/validation/sources/en-de.txt")).read_text().count("\n") == 4


def test_a_failure_saves_what_was_trained_and_the_same_command_goes_on(capsys):
    """With the same weights in the end as a training in which the command never failed."""
    typed()
    whole = checkpoint.load(Path("runs/run") / checkpoint.LAST)
    Path("runs/run").rename("runs/whole")
    Path("calls").unlink()
    with pytest.raises(SystemExit, match=r"^error: trainer.validate_command ended with exit code 1: out of memory$"):
        typed(fails=3)
    assert "last.pt is saved; resume=true goes on from it" in capsys.readouterr().out
    Path("calls").unlink()
    sys.argv = ["nmt.train", "resume=runs/run"]
    with pytest.raises(SystemExit, match=r"resume=runs/run: the run has trainer.validate_command=.*: type it again"):
        train.main()
    assert not Path("calls").exists()
    assert [line["command"] for line in typed("resume=true")] == [2, 7, 2, 7]
    parts = checkpoint.load(Path("runs/run") / checkpoint.LAST)
    assert all((value == parts["model"][name]).all() for name, value in whole["model"].items())
    assert parts["standing"]["best_step"] == 2


def test_mistakes_are_found_before_there_is_a_run():
    with pytest.raises(SystemExit, match=r"trainer.metric=command needs trainer.validate_command: type that, too"):
        typed("trainer.validate_command=null")
    with pytest.raises(SystemExit, match=r"trainer.validate_command ended with exit code 1"):
        typed(fails=0)
    assert not Path("runs/run").exists()
