"""--shell-completion in shells themselves: each runs on a terminal, a line is typed, and the tab key is pressed.

The commands are functions that write down the words with which they were called, so that after Enter the line is seen
that the shell made of what was typed.
"""

import os
import pty
import select
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nmt.cli.completion import completion_script
from nmt.cli.mistakes import FLAGS

COMMANDS = ("nmt-train", "nmt-eval", "python", "torchrun")
# How each shell is started, and the file that it reads first.
SHELLS = {
    "bash": (["bash", "--noprofile", "--rcfile", "script.bash", "-i"], "script.bash"),
    "zsh": (["zsh", "-i"], ".zshrc"),
    "fish": (["fish", "-i"], ".config/fish/config.fish"),
}
# What is typed before the tab key, what after it, and the words with which the command is called.
COMPLETED = [
    ("nmt-train mod", "", "model"),
    ("nmt-train model.hidden_s", "8", "model.hidden_size=8"),
    ("nmt-train model.attention=glo", "", "model.attention=global"),
    ("nmt-train -m model.attention=none,glo", "", "-m model.attention=none,global"),
    ("nmt-train +exper", "demo", "+experiment=demo"),
    ("nmt-train resume=tr", "", "resume=true"),
    ("nmt-train data.train.source=te", "", "data.train.source=text.en"),
    ("nmt-eval run=runs/fi", "x", "run=runs/first/x"),
    ("nmt-eval 'run=[runs/first,runs/se", "", "run=[runs/first,runs/second/"),
    ("nmt-train --he", "", "--help"),
    ("python -m nmt.tran", "", "-m nmt.translate"),
    ("python -m nmt.eval.align symm", "x", "-m nmt.eval.align symmetrize=x"),
    ("torchrun --nproc-per-node 2 -m nmt.train model.tied=al", "", "--nproc-per-node 2 -m nmt.train model.tied=all"),
    ("python progr", "", "program.py"),
]


def first_file(shell: str, folder: Path) -> str:
    """What the shell reads: the commands as functions, and the script."""
    said = folder / "said"
    if shell == "fish":
        # fish itself asks python for its version and its modules.
        commands = "".join(
            f"function {name}; contains -- $argv[1] -V -c; or echo $argv > {said}; end\n" for name in COMMANDS
        )
    else:
        commands = "".join(f'{name}() {{ echo "$@" > {said}; }}\n' for name in COMMANDS)
    before = "autoload -U compinit && compinit -u\n" if shell == "zsh" else ""
    return before + commands + completion_script(shell, [], FLAGS)


@pytest.fixture(scope="module", params=SHELLS)
def press(request, tmp_path_factory) -> Iterator[Callable[[str, str], str]]:
    """Types a line, tab and the rest on a shell's terminal, and returns what its command was then called with."""
    command, name = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    folder = tmp_path_factory.mktemp(request.param)
    for run in ("first", "second"):
        (folder / "runs" / run).mkdir(parents=True)
    for file in ("text.en", "program.py"):
        (folder / file).touch()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(first_file(request.param, folder), encoding="utf-8")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update(HOME=str(folder), ZDOTDIR=str(folder), XDG_CONFIG_HOME=f"{folder}/.config", TERM="xterm")
        os.execvp(command[0], command)

    def pressed(line: str, after: str) -> str:
        # bash has closed the quote after what it completed.
        quote = "'" if "'" in line and request.param != "bash" else ""
        (folder / "said").unlink(missing_ok=True)
        os.write(terminal, f"{line}\t{after}{quote}\n".encode())
        shown, end = b"", time.monotonic() + 30
        while not (folder / "said").exists() or not (folder / "said").read_text(encoding="utf-8").endswith("\n"):
            assert time.monotonic() < end, shown.decode(errors="replace")
            if select.select([terminal], [], [], 0.05)[0]:
                shown += os.read(terminal, 65536)
        assert b"_nmt" not in shown, f"an error of the script: {shown.decode(errors='replace')}"
        return (folder / "said").read_text(encoding="utf-8").strip()

    yield pressed
    os.close(terminal)
    os.waitpid(process, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("line", "after", "called"), COMPLETED)
def test_the_tab_key_completes_what_can_stand_there(press, line, after, called):
    assert press(line, after) == called
