"""Every command line of README, docs, data, configs, benchmarks and --help runs, with few updates of small models.

Each in a folder of its own, in which everything lies that the line names (tests/helpers/staged.py).
tests/test_documented_commands.py checks what is typed; this one finds what only running it shows.
"""

import importlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from documented import ROOT, Line, commands, documented
from staged import LINES, Reader, small, write

from nmt import plugins
from nmt.augment import writing
from nmt.augment.writing import fault_of
from nmt.cli.train import COMMAND as TRAIN

pytestmark = pytest.mark.slow
COMMANDS = commands()
MINUTES = "measures for minutes"
# What is not run here: what stands in the line (its place or its words), and why.
LEFT_OUT: dict[str, str] = {
    "hydra/sweeper=optuna": "needs the package hydra-optuna-sweeper and a release candidate of Hydra",
    "/opt/comet": "needs COMET; the line below it, with a program that is there, is run",
    "logger=wandb": "needs the package wandb; tests/slow/test_trackers_offline.py is for who has it",
    "torchrun --nproc-per-node=8": "eight processes; the line with two of them is run",
    "torchrun --nnodes=2": "two machines; tests/slow/test_many_processes.py has several processes of one",
    "scripts/compare_commits.py": "trains sixty models twice; tests/test_compare_commits.py has its parts",
    "runs/loop --pairs": "the loop of docs/alignment.md, which is run, on other text",
    "benchmarks/ops.py": MINUTES,
    "benchmarks/lengths.py": f"{MINUTES}; tests/slow/test_benchmark_scripts.py runs --quick",
    "benchmarks/centres.py": f"{MINUTES}; tests/slow/test_benchmark_scripts.py runs it in small",
    "benchmarks/family.py": f"{MINUTES}; tests/test_family.py has its parts",
    "benchmarks/kills.py": MINUTES,
    "benchmarks/roofline.py": f"{MINUTES}; tests/test_roofline.py has its parts",
    "benchmarks/scaling.py": f"{MINUTES}; tests/test_scaling.py has its parts",
    "benchmarks/serve.py": f"{MINUTES}, with 50 clients",
}


def reason(line: Line) -> str | None:
    """Why a line is not run; None if it is."""
    return next((why for part, why in LEFT_OUT.items() if part in str(line)), None)


RUN = [line for line in documented() if reason(line) is None]
SERVED = [line for line in RUN if line.module == "nmt.serve"]
SPREAD = [line for line in RUN if line.words[0] == "torchrun"]
FILES = [line for line in RUN if line.file is not None]
TYPED = [line for line in RUN if line not in (*SERVED, *SPREAD, *FILES)]


def test_what_is_left_out_is_there():
    lines = [str(line) for line in documented()]
    assert [part for part in LEFT_OUT if not any(part in line for line in lines)] == []
    assert SERVED
    assert SPREAD


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def process_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command changes in its process is undone: tables, modules, threads, environment."""
    before, modules, threads = plugins.copied(), set(sys.modules), torch.get_num_threads()
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = dict(os.environ)
    yield
    plugins.restore_tables(before)
    plugins._loaded.clear()
    plugins._rows.clear()
    for name in set(sys.modules) - modules:
        if name in ("losses", "my_attention", "local_p", "padding_fault") or Path(
            getattr(sys.modules[name], "__file__", None) or "/"
        ).is_relative_to(ROOT / "benchmarks"):
            del sys.modules[name]
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(environment)


def as_typed(words: list[str]) -> list[str]:
    """Words as the shell passes them on: patterns of files stand for the files."""
    here = Path()
    return [
        found
        for word in words
        for found in (sorted(map(str, here.glob(word))) if "*" in word and "=" not in word else [word])
    ]


def call(line: Line, words: list[str]) -> None:
    """The command in this process; fails with what it says where it ends with an error."""
    sys.argv = [line.module, *words]
    try:
        importlib.import_module(COMMANDS[line.module][0]).main()
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"{line}\n{stop.code}")


def files(folder: Path, pattern: str = "**/*") -> set[tuple[Path, int]]:
    """Files below a folder, and when they were written."""
    return {(path, path.stat().st_mtime_ns) for path in folder.glob(pattern)}


def checkpoints(folder: Path) -> set[tuple[Path, int]]:
    """The last of each run below a folder."""
    return files(folder, "runs/**/checkpoints/last.pt")


@pytest.mark.parametrize("line", TYPED, ids=str)
@pytest.mark.usefixtures("process_kept")
def test_the_command_runs(line, reader, tmp_path, monkeypatch, capsys):
    """And leaves what it is for: a training, a file, a line for each that it reads."""
    reader.lay_out(line, tmp_path)
    write(tmp_path / "typed.en")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    words = as_typed(small(line))
    # Models of so few updates seldom end a sentence, and nmt.augment leaves out what was cut.
    monkeypatch.setattr(writing, "fault_of", lambda pair, text, finished, *rest: fault_of(pair, text, True, *rest))
    if "resume=true" in words:
        call(line, [word for word in words if word != "resume=true"])
        words.append("trainer.max_steps=3")
    before = checkpoints(tmp_path)
    with (tmp_path / "typed.en").open(encoding="utf-8") as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        capsys.readouterr()
        call(line, words)
    shown = capsys.readouterr().out
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if line.module == TRAIN.module and not any(word.startswith("--") for word in words):
        assert checkpoints(tmp_path) - before
    elif "output" in given:
        assert Path(given["output"]).exists()
    elif line.module == "nmt.translate":
        assert len(shown.splitlines()) >= LINES
    else:
        assert shown


@pytest.mark.parametrize("line", SERVED, ids=str)
@pytest.mark.usefixtures("process_kept")
def test_the_server_answers_and_stops(line, reader, tmp_path, monkeypatch):
    """Started as typed but for the port, asked once, ended by SIGTERM."""
    reader.lay_out(line, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers: list[Any] = []
    client = threading.Thread(target=ask_and_stop, args=(port, answers))
    client.start()
    try:
        call(line, [*(word for word in small(line) if not word.startswith("serve.port=")), f"serve.port={port}"])
    finally:
        answers.append(None)  # so that the client gives up where no server began
        client.join()
    assert isinstance(answers[0]["translation"], str)


def ask_and_stop(port: int, answers: list[Any]) -> None:
    """Wait for a server of this process, let it translate a sentence, and end it."""
    body, kind = json.dumps({"text": "dogs see 3 cats ."}).encode(), {"Content-Type": "application/json"}
    while not answers:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/translate", body, kind)
            with urllib.request.urlopen(request, timeout=60) as response:
                answers.append(json.load(response))
        except OSError:  # it does not listen yet
            time.sleep(0.05)
    if answers[0] is not None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("line", SPREAD, ids=str)
def test_several_processes_train(line, reader, tmp_path):
    reader.lay_out(line, tmp_path)
    start = line.words[1 : line.words.index("-m")]
    command = [sys.executable, "-m", "torch.distributed.run", *start, "-m", line.module, *small(line)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert checkpoints(tmp_path)


@pytest.mark.parametrize("line", FILES, ids=str)
@pytest.mark.usefixtures("process_kept")
def test_the_script_runs(line, reader, tmp_path, monkeypatch, capsys):
    """In this process; what it prints or draws is there."""
    reader.lay_out(line, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for what it starts itself
    script = ROOT / str(line.file)
    sys.path.insert(0, str(script.parent))
    words = small(line)
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    before = files(tmp_path)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"{line}\n{stop.code}")
    assert capsys.readouterr().out or files(tmp_path) - before
    drawn = [word for word in words if re.fullmatch(r"[\w.]+\.(svg|png)", word)]
    assert all(Path(name).stat().st_size for name in drawn)
