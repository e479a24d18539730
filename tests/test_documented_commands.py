"""Every command line in README, docs, data, configs, benchmarks and --help is one that the program understands.

The real command line reads it and checks the configuration, of each job where it is a sweep; nothing is run.
"""

import copy
import importlib
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from documented import ROOT, Line, commands, documented, lines_of
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from tiny_runs import MODELS, make_run

from nmt import plugins
from nmt.cli import app

COMMANDS = commands()
LINES = documented()
OURS = [line for line in LINES if line.file is None]
FILES = [line for line in LINES if line.file is not None]
TRAINING = "benchmarks/training.py"  # takes the overrides of nmt.train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", MODELS["local_p"])


class Launcher:
    """Takes the jobs of a sweep, which are checked by then, and runs none."""

    def launch(self, jobs: list[Any], initial_job_idx: int) -> list[Any]:
        return [SimpleNamespace(status=JobStatus.COMPLETED, _return_value=None) for _ in jobs]


@pytest.fixture
def understand(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call it with the words of a line: fails where the command line refuses them."""
    real = app.run
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "run", lambda command, job: real(command, lambda *config_and_run: None))
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *args, **kwargs: Launcher())

    def understand(line: Line) -> None:
        module, typed = line.module, line.typed
        if module not in COMMANDS:
            pytest.fail(f"{line}: there is no such command")
        if any(word.startswith("hydra/launcher=joblib") for word in typed) and not find_spec("hydra_plugins"):
            pytest.skip("needs the package hydra-joblib-launcher")
        if "hydra/sweeper=optuna" in typed and not find_spec("optuna"):
            pytest.skip("needs Hydra 1.4 and the package hydra-optuna-sweeper")
        for word in typed:
            key, _, value = word.partition("=")
            if key in ("run", "against") or (key == "resume" and value != "true"):
                for name in re.findall(r"[\w./*-]+", value):
                    directory = Path(name.replace("*", "1"))  # one that a pattern matches
                    if not directory.exists():
                        shutil.copytree(run, directory)
            if word == "+experiment=hansards_enfr":  # a sweep is refused where its gold links are not there
                folder = Path("data/hansards_enfr")
                folder.mkdir(parents=True)
                for name in ("gold.en", "gold.fr", "gold.align"):
                    (folder / name).touch()
            if word == "+experiment=luong2015_table4":  # 108 jobs, of which 2 say as much as all
                few = ("data=multi30k", "+recipe=modern", "seed=1", "+mechanism=none,local_p_dot")
                typed = [*typed, *(word for word in few if word not in typed)]
            if re.fullmatch(r"plugins=\[.*my_attention\.py\]", word):
                path = Path(word.partition("[")[2].rstrip("]"))
                path.parent.mkdir(parents=True, exist_ok=True)
                text = (ROOT / "tests/plugins/even_attention.py").read_text(encoding="utf-8")
                path.write_text(text.replace('"even"', '"mine"'), encoding="utf-8")
            if (found := re.fullmatch(r"plugins=\[((?:scripts|teaching)/\w+\.py)\]", word)) is not None:
                Path(found[1]).parent.mkdir(exist_ok=True)
                shutil.copy(ROOT / found[1], found[1])
            if word == "plugins=[losses.py]":  # the page itself has it
                page = (ROOT / "docs/loggers.md").read_text(encoding="utf-8")
                Path("losses.py").write_text(page.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
            if word.startswith("plugins="):
                store = ConfigStore.instance()  # Hydra keeps the names of its rows
                monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
        monkeypatch.setattr(sys, "argv", [module, *typed])
        try:
            importlib.import_module(COMMANDS[module][0]).main()
        except SystemExit as stop:
            if stop.code:
                pytest.fail(f"{line}\n{stop.code}")

    before = plugins.copied()
    yield understand
    plugins.restore_tables(before)  # a plug-in of a page has added a row
    for name in ("losses", "my_attention", "local_p", "padding_fault"):
        sys.modules.pop(name, None)
    plugins._loaded.clear()
    plugins._rows.clear()


@pytest.mark.parametrize("line", OURS, ids=str)
def test_the_command_is_understood(line, understand):
    understand(line)


@pytest.mark.parametrize("line", FILES, ids=str)
def test_the_script_is_there(line, understand):
    """And knows the flags that are typed."""
    file, typed = str(line.file), line.typed
    assert (ROOT / file).is_file(), line
    text = (ROOT / file).read_text(encoding="utf-8")
    for flag in (word for word in typed if word.startswith("--")):
        assert f'"{flag.partition("=")[0]}"' in text, f"{line}: {file} has no {flag}"
    if file == TRAINING:
        keys = [word for word in typed if "=" in word and not word.startswith("--")]
        understand(Line(line.place, ["python", "-m", "nmt.train", *keys]))


def test_lines_are_found():
    """In every kind of place, continued lines in one piece."""
    for place in ("README.md:", "configs/experiment/", "benchmarks/results/", "examples of nmt.translate"):
        assert any(line.place.startswith(place) for line in LINES), place
    assert set(COMMANDS) <= {line.module for line in OURS}
    text = (
        "text\n    python -m nmt.train data=files \\\n        data.source=en  # comment\n"
        "    $ python -m nmt.eval run=R > x\n# python -m nmt.data: what it is for\n"
        "    echo two weeks | python -m nmt.translate run=R\n    torchrun --nproc-per-node=2 -m nmt.train threads=1\n"
        "    nmt-align run=R"
    )
    assert [[line.module, *line.typed] for line in lines_of(text, "x")] == [
        ["nmt.train", "data=files", "data.source=en"],
        ["nmt.eval", "run=R"],
        ["nmt.translate", "run=R"],
        ["nmt.train", "threads=1"],
        ["nmt.eval.align", "run=R"],
    ]


@pytest.mark.parametrize(
    "typed",
    [
        "python -m nmt.train model.atention=global",
        "python -m nmt.train model.hidden_sise=3",
        "python -m nmt.train -m model.attention=global,locl_p",
        "python -m nmt.train -m seed=1,2 trainer.max_stepps=4",
        "python -m nmt.eval run=runs/X decode.beem_size=3",
        "python -m nmt.evaluate run=runs/X",
    ],
)
def test_mistyped_lines_are_refused(typed, understand):
    [line] = lines_of(typed, "somewhere")
    with pytest.raises(pytest.fail.Exception, match="somewhere"):
        understand(line)
