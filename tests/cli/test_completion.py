"""--shell-completion: bash's own completion function is called as bash calls it when the tab key is pressed."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from nmt.cli import app
from nmt.cli.completion import completion_script
from nmt.cli.mistakes import FLAGS
from nmt.cli.train import COMMAND
from nmt.models.attention import ATTENTIONS, SCORES

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
CALL = "_nmt_complete 2> /dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the script, with choices of one's own, and with runs."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "own" / "model").mkdir(parents=True)
    (folder / "own" / "model" / "mine.yaml").write_text("# Mine.\nhidden_size: 8\n")
    for run in ("runs/global", "runs/local_p", "runs/local_m"):
        (folder / run).mkdir(parents=True)
    (folder / "script.bash").write_text(completion_script("bash", [folder / "own"], FLAGS))
    return folder


@pytest.fixture
def offered(folder):
    """What pressing tab at the end of a line offers, sorted."""

    def offer(line: str, before: str = "") -> list[str]:
        words = re.findall(r"[^\s=:]+|[=:]+", line) + [""] * line.endswith((" ", "="))
        typed = f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}"
        array = f"COMP_WORDS=({' '.join(map(shlex.quote, words))})"
        code = f"{before}\nsource script.bash\n{typed}; {array}; {CALL}"
        command = ["bash", "--norc", "--noprofile", "-c", code]
        out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert not out.stderr
        return sorted(out.stdout.split())

    return offer


MECHANISMS = sorted(config.name for config in ATTENTIONS)
STARTS = ("python -m nmt.train ", "python3 -u -m nmt.train ", ".venv/bin/python -m nmt.train ", "nmt-train ")


@pytest.mark.parametrize("start", [*STARTS, "torchrun --nproc-per-node 2 -m nmt.train "])
def test_choices_of_a_group(offered, start):
    """However the command is started; after a comma, in a sweep, the next one."""
    assert offered(f"{start}model.attention=") == MECHANISMS
    assert offered(f"{start}seed=1 model.attention=local") == ["local_m", "local_p"]
    assert offered(f"{start}-m model.attention=none,gl") == ["none,global"]


def test_keys_dot_by_dot(offered):
    first = offered("nmt-train ")
    assert {"model=", "model.", "data=", "seed=", "trainer.", "experiment="} <= set(first)
    assert len(first) < 30
    assert offered("nmt-train model.att") == ["model.attention.", "model.attention=", "model.attention_dropout="]
    assert offered("nmt-train trainer.max_") == [
        f"trainer.max_{name}=" for name in ("epochs", "minutes", "skipped", "steps")
    ]
    assert offered("nmt-train +exp") == ["+experiment="]


def test_values_of_enums_tables_and_switches(offered):
    assert offered("nmt-train model.attention.score=") == sorted(SCORES)
    assert offered("nmt-train trainer.normalization=") == ["sentences", "tokens"]
    assert offered("nmt-train resume=") == ["false", "true"]
    assert offered("python -m nmt.eval eval.metrics=[bleu,chr") == ["[bleu,chrf", "[bleu,chrfpp"]
    assert offered("nmt-train model.hidden_size=") == []


def test_each_command_has_its_own_keys(offered):
    assert "gold=" in offered("python -m nmt.eval.align ")
    assert "gold=" not in offered("python -m nmt.translate ")
    assert offered("nmt-align symm") == ["symmetrize="]
    assert offered("nmt-train symm") == []


def test_folders_of_runs(offered):
    assert offered("nmt-eval run=runs/local") == ["runs/local_m/", "runs/local_p/"]
    assert offered("nmt-eval run=[runs/global,runs/g") == ["[runs/global,runs/global/"]


def test_flags_and_modules(offered):
    assert offered("nmt-train --he") == ["--help"]
    assert "nmt.eval.align" in offered("python -m nmt.e")


def test_choices_under_config_dir(offered):
    assert "mine" in offered("nmt-train model=")


def test_where_a_shell_does_not_break_words_at_the_equals_sign(offered):
    found = offered("nmt-train model.attention=no", before="COMP_WORDBREAKS=' '")
    assert found == ["model.attention=none"]


def test_other_lines_are_completed_as_before(offered):
    before = "_mine() { COMPREPLY=(mine); }; complete -F _mine python"
    assert offered("python scri", before) == ["mine"]
    assert offered("python -m nmt.train model.attention=gl", before) == ["global"]
    assert offered("python scri") == []


def test_the_flag_prints_it(monkeypatch, capsys, folder):
    monkeypatch.setattr(sys, "argv", ["nmt", "--config-dir", str(folder / "own"), "--shell-completion", "bash"])
    app.run(COMMAND, print)
    assert capsys.readouterr().out.strip() == (folder / "script.bash").read_text().strip()
