"""The wheel, installed somewhere else, is complete; and a fresh copy of the sources trains as the README says."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a virtual environment with the wheel, and, read through a .pth file, everything it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("nmt", "configs", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("nmt-*.whl")
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    shutil.rmtree(source)
    return python.parent


def run(installed: Path, cwd: Path, *words: str) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [str(installed / words[0]), *words[1:]]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


def test_the_wheel_brings_its_configs(installed, tmp_path):
    """From any folder, as a module and as a script."""
    page = run(installed, tmp_path, "python", "-m", "nmt.train", "--help", "all")
    assert "multi30k_en_de" in page
    assert "python -m nmt.train model.attention=local_p" in page
    assert run(installed, tmp_path, "nmt-train", "--help", "all") == page
    where = run(installed, tmp_path, "python", "-c", "import nmt.config as c; print(c.CONFIG_DIR)")
    assert str(installed.parent) in where


def test_the_wheel_trains_scores_and_translates(installed, tmp_path):
    tiny = "model.hidden_size=16 data.train_size=100 data.validation_size=5 data.test_size=5 data.max_words=10"
    run(
        installed,
        tmp_path,
        "nmt-train",
        *tiny.split(),
        "data.tokenizer.vocab_size=400",
        "trainer.max_steps=2",
        "name=a",
    )
    assert "BLEU" in run(installed, tmp_path, "nmt-eval", "run=runs/a")
    code = "import nmt; print(len(nmt.load('runs/a').translate(['Berlin', ''])))"
    assert run(installed, tmp_path, "python", "-c", code) == "2\n"
