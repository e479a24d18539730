"""Tests with the plug-ins of tests/plugins, which leave no trace in the tables."""

import shutil
import sys
from pathlib import Path

import pytest
from command_line import typed
from documented import ROOT
from hydra.core.config_store import ConfigStore

from nmt import plugins
from nmt.plugins import TABLES, copied, restore_tables
from nmt.runs.plugins import _said
from nmt.runs.training import train

FILES = ROOT / "tests" / "plugins"
TINY = (
    *("device=cpu", "model.hidden_size=8", "data.train_size=60", "data.validation_size=3", "data.test_size=3"),
    *("data.tokenizer.vocab_size=400", "trainer.max_steps=2", "trainer.validate_every=2", "logger.tensorboard=false"),
    *("trainer.precision=fp32", "decode.max_length=4", "decode.beam_size=2"),
)
CROSS = ("model.cross_attention", "even"), ("model.cross_attention", "mine")


@pytest.fixture(autouse=True)
def own_tables(monkeypatch, tmp_path):
    """What a test loads is forgotten after it, and each test has a folder of its own, with the plug-ins."""
    for file in FILES.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    before, modules, path = copied(), set(sys.modules), [*sys.path]
    forget()
    yield
    restore_tables(before)
    forget()
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("even_attention", "directions", "pace", "counting", "mine"):
            del sys.modules[name]


def forget():
    """As in a new process."""
    for loaded in list(plugins._loaded):
        for key, rows in plugins._rows[loaded].items():
            for row in rows:
                TABLES[key].pop(row, None)
        sys.modules.pop(loaded, None)
    plugins._loaded.clear()
    plugins._rows.clear()
    plugins._versions.clear()
    for group, name in (*CROSS, ("model.attention", "even"), ("model", "gain"), ("data", "counting")):
        ConfigStore.instance().repo.get(group, {}).pop(f"{name}.yaml", None)
    _said.clear()


def trained(*words: str) -> Path:
    (config,) = typed(*words, *TINY, "name=run")
    train(config)
    return Path("runs/run")
