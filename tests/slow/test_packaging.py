"""The wheel, installed somewhere else, is complete; and a fresh copy of the sources trains as the README says."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path

import pytest
from script_modules import load_script

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release():
    """scripts/check_release.py, as a module."""
    return load_script("check_release")


@pytest.fixture(scope="module")
def built(release, tmp_path_factory) -> tuple[Path, Path]:
    """The source distribution and the wheel."""
    return release.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The bin folder of a virtual environment with the wheel, and, read through a .pth file, everything it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", built[1]], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return python.parent


def run(installed: Path, cwd: Path, *words: str) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [str(installed / words[0]), *words[1:]]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


def test_the_source_distribution_is_the_repository(built):
    """But for the runs behind pictures, so that its make test is that of a clone; and it has nothing made here."""
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    ours = set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines())
    runs = {path for path in ours if path.startswith("docs/mechanisms/runs/")}
    assert runs
    assert names == {*ours - runs, "PKG-INFO"}


def test_version_is_told_alike(built, installed, tmp_path):
    """By the project, the archives, the command line, CHANGELOG and the citation."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert all(f"nmt-{version}" in path.name for path in built)
    assert version in run(installed, tmp_path, "python", "-m", "nmt.train", "--version")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)} ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_commands_of_the_readme_run_with_the_wheel(release, installed, tmp_path):
    """In an empty folder, with few updates; of the sweeps every seed, and the scoring of each run of the last."""
    typed = release.try_readme(installed / "python", tmp_path)
    assert len(typed) >= 6
    assert sum(line.startswith("python -m nmt.eval run=") for line in typed) == 2


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


def test_every_extra_is_used_after_it_was_installed(release):
    """By make release, which installs one after the other."""
    assert list(release.USES) == release.extras()
