"""Build a release and try it as somebody does who installs it: from the wheel, in an empty environment and folder.

    python scripts/check_release.py [--extras] [--tests]

builds the source distribution, and the wheel from it; installs the wheel with the versions of constraints.txt; and runs
every command of the README that begins with ``python -m nmt`` there, on small data of their own.  --extras installs
each extra by itself and runs a command that needs it, --tests runs the fast tests of the unpacked source distribution.
Needs the network that pip needs, and some minutes.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = "trainer.validate_every=1 threads=1 data.tokenizer.vocab_size=400"
BY_COMMAND = {
    "model.attention=local_p": "data.train_size=100 data.validation_size=5 data.test_size=5 trainer.max_steps=2",
    "+experiment=multi30k_en_de": "model.hidden_size=16 trainer.max_steps=2 optim.warmup=1",
    "+experiment=multi30k_transformer": "trainer.max_steps=3 optim.warmup=1",  # three are averaged afterwards
}

TINY = f"-m nmt.train data.train_size=100 data.validation_size=5 data.test_size=5 trainer.max_steps=2 {SMALL}"
# By extra: what is typed after python where it is installed, in a folder that has the run runs/tiny.
USES = {
    "dev": "-m pytest --version",
    "sweep": f"{TINY} -m hydra/launcher=joblib hydra.launcher.n_jobs=1 seed=1,2",
    "optuna": f"{TINY} -m hydra/sweeper=optuna hydra.sweeper.n_trials=2 'seed=choice(1,2)'",
    "export": "-m nmt.export run=runs/tiny to=onnx",
    "paragraphs": "-m nmt.translate run=runs/tiny translate.paragraphs=true input=text output=translated",
    "moses": "-m nmt.eval run=runs/tiny eval.metrics=[bleu_lc_moses]",
    "serve": "-c 'import nmt.serve.server'",
    "wandb": f"{TINY} logger=wandb",
    "trackio": f"{TINY} logger=trackio",
    "mlflow": f"{TINY} logger=mlflow",
    "docs": "-m sphinx --version",
}
PRERELEASES = {"optuna"}  # whose package needs a release candidate of Hydra


def build(folder: Path) -> tuple[Path, Path]:
    """The source distribution and the wheel that is built from it, in ``folder``."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    [source], [wheel] = folder.glob("nmt-*.tar.gz"), folder.glob("nmt-*.whl")
    return source, wheel


def readme_commands() -> Iterator[list[str]]:
    """The README's lines ``python -m nmt...``, as the shell cuts them."""
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"    python -m nmt", line):
            yield shlex.split(line, comments=True)


def try_readme(python: Path, folder: Path) -> list[str]:
    """Run the README's commands in an empty folder; returns what was typed.

    Trainings are of few updates, and RUN stands for each run of the training before.  Raises CalledProcessError.
    """
    small_corpus(folder / "data" / "multi30k")
    typed: list[str] = []
    made: set[Path] = set()
    for words in readme_commands():
        small = next((more for word, more in BY_COMMAND.items() if word in words), None)
        if small is not None:
            made = set(folder.glob("runs/**/config.yaml"))
            words += [*SMALL.split(), *small.split()]
        new = sorted(path.parent for path in set(folder.glob("runs/**/config.yaml")) - made)
        for run in new if "run=RUN" in words else [folder]:
            line = [f"run={run.relative_to(folder)}" if word == "run=RUN" else word for word in words]
            typed.append(shlex.join(line))
            call(python, folder, *line[1:])
    return typed


def small_corpus(folder: Path) -> None:
    """Sentences in the place of Multi30k."""
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("val", 4), ("test_2016_flickr", 4)):
        for language, words in (("en", "dogs see cats"), ("de", "Hunde sehen Katzen")):
            lines = (f"{split} {number} {words} .\n" for number in range(count))
            (folder / f"{split}.{language}").write_text("".join(lines), encoding="utf-8")


def call(python: Path, folder: Path, *words: str) -> str:
    """Run python in a folder, without what this process would lend it; raises CalledProcessError with the output."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio")}
    done = subprocess.run([str(python), *words], check=False, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
    done.check_returncode()
    return done.stdout


def empty_environment(folder: Path, wheel: Path) -> Path:
    """The python of a new environment with the wheel and what it needs, in the versions of constraints.txt."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install(folder, f"nmt @ {wheel.as_uri()}", "-c", str(ROOT / "constraints.txt"))
    return python_of(folder)


def with_extra(environment: Path, folder: Path, wheel: Path, extra: str) -> Path:
    """The python of another environment that has the same and one extra of the wheel.

    Its files are links to those of ``environment``, which is quick; pip replaces files and never writes into them.
    """
    shutil.copytree(environment, folder, symlinks=True, copy_function=os.link)
    install(folder, f"nmt[{extra}] @ {wheel.as_uri()}", *["--pre"] * (extra in PRERELEASES))
    return python_of(folder)


def install(environment: Path, *words: str) -> None:
    """Let the pip of an environment install; raises CalledProcessError."""
    call(python_of(environment), environment, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words)


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "bin" / "python"


def extras() -> list[str]:
    """The names of all extras."""
    return [*tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]]


def try_extras(environment: Path, folder: Path, wheel: Path, names: Iterable[str]) -> None:
    """Install each of these extras by itself, and run a command that needs it.  Raises CalledProcessError."""
    used = folder / "used"
    used.mkdir()
    (used / "text").write_text("It is late. Two weeks.\n", encoding="utf-8")
    call(python_of(environment), used, *shlex.split(f"{TINY} name=tiny"))
    for extra in names:
        python = with_extra(environment, folder / extra, wheel, extra)
        call(python, used, *shlex.split(USES[extra]))
        shutil.rmtree(folder / extra)
        print(f"extra {extra}: installed, and ran python {USES[extra]}", flush=True)


def try_tests(source: Path, folder: Path) -> None:
    """Unpack the source distribution and do what its README says of tests.  Raises CalledProcessError."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    [tree] = folder.iterdir()
    subprocess.run(["make", "test", f"PYTHON={sys.executable}"], cwd=tree, check=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", action="store_true", help="install and use each extra by itself")
    parser.add_argument("--tests", action="store_true", help="run the fast tests of the source distribution")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nmt-release-") as name:
        folder = Path(name)
        source, wheel = build(folder)
        print(f"built {source.name} and {wheel.name}", flush=True)
        wheel_alone = folder / "wheel_alone"
        empty_environment(wheel_alone, wheel)
        python = with_extra(wheel_alone, folder / "moses", wheel, "moses")  # the README prints bleu_lc_moses
        print(f"installed {call(python, folder, '-m', 'nmt.train', '--version').strip()}", flush=True)
        (folder / "empty").mkdir()
        for line in try_readme(python, folder / "empty"):
            print(f"ran {line}", flush=True)
        if given.extras:
            (folder / "extras").mkdir()
            try_extras(wheel_alone, folder / "extras", wheel, extras())
        if given.tests:
            (folder / "unpacked").mkdir()
            try_tests(source, folder / "unpacked")


if __name__ == "__main__":
    main()
