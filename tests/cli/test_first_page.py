"""--help prints one screen at once; what it says is held against the tables, of which it knows nothing."""

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nmt.cli import align, augment, data, export, first_page, look, report, serve, start, train, translate
from nmt.cli import eval as evaluation
from nmt.cli.first_page import PAGES, asks_first_page
from nmt.cli.help import help_text
from nmt.cli.options import config_groups, known_keys

ROOT = Path(__file__).parents[2]
COMMANDS = {
    module.COMMAND.module: module.COMMAND
    for module in (train, evaluation, align, look, translate, data, augment, export, report, serve)
}
SLOW = {"torch", "datasets", "sacrebleu", "hydra", "numpy", "matplotlib", "nmt.config"}


def run(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=True)


def test_ctrl_c_while_a_command_is_imported(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["nmt.train"])
    monkeypatch.setattr(importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as stopped:
        start.train()
    assert (stopped.value.code, capsys.readouterr().err) == (130, "interrupted\n")


def test_it_imports_nothing_that_takes_long(tmp_path):
    """Of all commands, as python -m starts them."""
    code = f"""import contextlib, io, runpy, sys
for module in {list(PAGES)}:
    sys.argv[1:] = ["model.attention=local_p", "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_module(module, run_name="__main__")
    assert out.getvalue().count(f"python -m {{module}} ") >= 3, module
print(*sys.modules)"""
    out = run(code, cwd=tmp_path)
    assert not SLOW & set(out.stdout.split())


@pytest.mark.parametrize("module", PAGES)
def test_it_is_one_screen(module):
    """24 lines of 120 columns."""
    lines = str(first_page.first_page(module)).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("module", PAGES)
def test_it_says_what_is_so(module):
    page, command = PAGES[module], COMMANDS[module]
    assert page.summary == command.summary
    assert set(page.examples) <= set(command.examples)
    assert 2 <= len(page.examples) <= 3
    assert {key for key, _ in page.keys} <= set(known_keys(command.schema))
    assert page.groups == bool(command.groups)
    groups = config_groups()
    for key, text in page.keys:
        if key in groups and "another" not in text and "..." not in text:
            assert set(text.replace(",", "").split()) - {"or"} == set(groups[key]), key


def test_choices_of_your_own_are_listed(tmp_path):
    """On the first screen and among all, whether they belong to a group there is or make one."""
    for name in ("model/mine.yaml", "site/here.yaml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"# What {name} is for.\n# And more.\nx: 1\n")
    short = str(first_page.first_page("nmt.train", ["--config-dir", str(tmp_path), "--help"]))
    assert "model=mine  What model/mine.yaml is for.\n" in short
    assert "site=here  What site/here.yaml is for." in short
    assert str(first_page.first_page("nmt.train", [f"--config-dir={tmp_path}"])) == short
    every = help_text(replace(train.COMMAND, config_dirs=(tmp_path,)))
    assert "What model/mine.yaml is for.\n" in every
    assert "site=CHOICE\n  here  What site/here.yaml is for.\n" in every
    assert "mine.yaml" not in help_text(train.COMMAND)


def test_which_page_is_asked_for():
    for words in ("--help", "-h", "seed=1 -h", "--help model=lstm"):
        assert asks_first_page(words.split()), words
    for words in ("--help all", "seed=1 -h all", "seed=1", "all"):
        assert not asks_first_page(words.split()), words
