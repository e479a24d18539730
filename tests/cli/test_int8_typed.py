"""decode.precision=int8 at every command that searches, and the line of those that cannot."""

import json
import sys
from typing import Any

import pytest
from tiny_runs import MODELS, make_run

import nmt
from nmt import device
from nmt.cli import align, serve, train, translate
from nmt.cli import eval as scoring
from nmt.device import has_int8
from nmt.errors import ConfigError
from nmt.models.ops import int8
from nmt.models.ops.int8 import Int8Weight
from nmt.runs.directory import read_config, save_config
from nmt.serve import server

INT8 = "decode.precision=int8"
HERE = pytest.mark.skipif(not has_int8(), reason="this torch has no FBGEMM for this processor")
TEXT = ["one two", "a small dog"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return make_run(tmp_path / "run", MODELS["transformer"])


@pytest.fixture
def products(monkeypatch) -> list[Any]:
    """The products by weights of 8 bits so far; small weights have them, too."""
    made, product = [], Int8Weight.__call__
    monkeypatch.setattr(int8, "LEAST_ELEMENTS", 1)
    monkeypatch.setattr(Int8Weight, "__call__", lambda self, *given: made.append(self) or product(self, *given))
    return made


def command(monkeypatch, main, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nmt", "device=cpu", *words])
    main()


@HERE
def test_every_command_that_searches_takes_it(run, products, monkeypatch, tmp_path):
    served = []
    monkeypatch.setattr(server, "serve", lambda translator, options, say: served.append(translator.translate(TEXT)))
    (tmp_path / "in").write_text("\n".join(TEXT) + "\n")
    command(monkeypatch, translate.main, "run=run", "input=in", "output=out", INT8)
    assert products
    lines = (tmp_path / "out").read_text().splitlines()
    for main, *words in (
        [serve.main, "run=run"],
        [scoring.main, "run=run", "eval.limit=2", "data.test_size=4", "decode.beam_size=2"],
    ):
        products.clear()
        command(monkeypatch, main, *words, INT8)
        assert products
    assert served == [lines]
    (results,) = run.glob("scores/test/*precision_int8*/results.json")
    assert json.loads(results.read_text())["precision"] == "int8"
    products.clear()
    loaded = nmt.load(run, device="cpu")
    loaded.decode.precision = device.Precision.int8
    assert loaded.translate(TEXT) == lines
    assert products


def test_a_machine_without_it_refuses_it_before_anything_is_written(run, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "has_int8", lambda: False)
    said = r"^error: decode\.precision=int8: this torch has no products of 8-bit integers .*decode\.precision=auto$"
    for main, *words in (
        [translate.main, "run=run", "input=run/config.yaml", "output=out"],
        [serve.main, "run=run"],
        [scoring.main, "run=run"],
        [train.main, "name=new", "data.train_size=50"],
    ):
        with pytest.raises(SystemExit, match=said):
            command(monkeypatch, main, *words, INT8)
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "data"}
    config = read_config(run)
    config.decode.precision = device.Precision.int8
    save_config(run, config)
    with pytest.raises(ConfigError, match=r"^decode\.precision=int8"):
        nmt.load(run, device="cpu")


def test_what_reads_given_translations_alone_refuses_it(run, monkeypatch):
    """Training, too."""
    given = ("run=run", "source=a", "target=b")
    for main, key, *words in ([align.main, "precision", *given], [train.main, "trainer.precision"]):
        with pytest.raises(SystemExit, match=rf"{key}=int8: only search computes in int8"):
            command(monkeypatch, main, *words, f"{key}=int8")
