"""scripts/align_loop.py on two tiny runs: what is written, and which trainings follow."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_runs import ENGLISH, GERMAN, MODELS, make_run

from nmt.config import Config
from nmt.data.corpus import PhrasesConfig
from nmt.data.pharaoh import parse_pharaoh
from nmt.data.tokenizer import train_tokenizers
from nmt.eval.symmetrize import turned
from nmt.models.lstm.config import Mixture
from nmt.runs.directory import TOKENIZER, Run, read_config, save_config

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
PAIRS = 24


LATENT = replace(MODELS["local_p"], mixture=Mixture.predictions)
LEXICAL = replace(MODELS["local_p"], mixture=Mixture.lexical)


@pytest.fixture(
    scope="module",
    params=[(MODELS["transformer"], 1), (LATENT, 0), (LEXICAL, 0)],
    ids=["transformer", "latent", "lexical"],
)
def model_and_step(request):
    """A model, and the decoder step at which it is read, counted from the one that predicts the word."""
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_and_step):
    """The result of a loop over a model each way."""
    root = tmp_path_factory.mktemp("loop")
    for name, (source, target) in {"there": ("en", "de"), "back": ("de", "en")}.items():
        run = make_run(root / name, model_and_step[0])
        config = read_config(run)
        data = PhrasesConfig(
            source=source,
            target=target,
            train_size=60,
            validation_size=8,
            cache=str(root / "cache"),
            tokenizer=config.data.tokenizer,
        )
        texts = (ENGLISH, GERMAN) if source == "en" else (GERMAN, ENGLISH)
        train_tokenizers(data.tokenizer, *texts, seed=1).save(run / TOKENIZER)
        save_config(run, replace(config, data=data, device="cpu", threads=1))
    assert loop(root, "--pairs", str(PAIRS), "--updates", "4") == (0, "")
    return root / "out"


def loop(root: Path, *words: str) -> tuple[int, str]:
    """The script's exit status and, where it fails, what it says."""
    command = [sys.executable, ROOT / "scripts" / "align_loop.py", root / "there", root / "back", root / "out", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, check=False)
    return ended.returncode, ended.stderr if ended.returncode else ""


def test_links_of_both_directions_are_those_that_were_found(folder):
    texts = [(folder / f"train.{code}").read_text(encoding="utf-8").splitlines() for code in ("en", "de")]
    found, back = (
        parse_pharaoh(
            (folder / name).read_text().splitlines(), name, [(len(a.split()), len(b.split())) for a, b in rows]
        )
        for name, rows in (
            ("found.align", zip(*texts, strict=True)),
            ("found.turned.align", zip(*texts[::-1], strict=True)),
        )
    )
    assert len(found) == PAIRS
    assert any(links.sure for links in found)
    assert back == [turned(links) for links in found]


@pytest.mark.parametrize(("name", "of", "links"), [("forward", "there", "found"), ("reverse", "back", "found.turned")])
def test_each_direction_learns_them_at_the_step_where_what_is_read_knows_the_word(
    folder, name, of, links, model_and_step
):
    step = model_and_step[1]
    run = Run.open(folder / name)
    config: Config = run.config
    assert (config.trainer.guided_alignment, config.trainer.guided_shift, config.trainer.max_steps) == (1.0, step, 4)
    assert config.init_from == str(folder.parent / of)
    assert config.data.alignments == str(folder / f"{links}.align")
    assert run.weights("best")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pairs", "30"], f"holds links that were made with pairs={PAIRS}, and 30 is asked for"),
        (["--pairs", str(PAIRS), "--symmetrize", "union"], "made with symmetrize=grow_diag, and union is asked for"),
        (["--pairs", "0"], "argument --pairs: 0 is not above 0"),
        (["--updates", "-1"], "argument --updates: -1 is not above 0"),
    ],
)
def test_links_of_other_settings_are_not_taken_for_those_that_are_asked_for(folder, words, message):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    status, said = loop(folder.parent, *words)
    assert status
    assert message in said
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_what_cannot_be_taught_is_refused_before_anything_is_aligned(folder, tmp_path):
    """A run of both directions."""
    for name in ("there", "back"):
        shutil.copytree(folder.parent / name, tmp_path / name)
    config = read_config(tmp_path / "there")
    (tmp_path / "there" / "config.yaml").unlink()
    data = replace(config.data, pairs=["en-de", "de-en"], tags=True)
    save_config(tmp_path / "there", replace(config, data=data))
    status, said = loop(tmp_path)
    assert status
    assert "there translates in several directions (data.pairs): give a run for each direction" in said
    assert not (tmp_path / "out").exists()
