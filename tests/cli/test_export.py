"""The command: a folder and a line about it, or one message."""

import sys

import pytest
import torch
from exported import TRANSFORMERS, transformer_run
from tiny_runs import MODELS, make_run

from nmt.cli.export import main


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Type words after the command, in an empty folder; returns what it says."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nmt", "threads=1", *words])
        main()
        return capsys.readouterr().out

    yield command
    torch.set_num_threads(threads)


def test_it_says_where_the_folder_is_and_what_was_checked(command, tmp_path):
    pytest.importorskip("ctranslate2")
    transformer_run(tmp_path / "run", TRANSFORMERS["after"])
    said = command("run=run", "to=ctranslate2", "output=deploy", "quantization=int8")
    assert "50 sentences (validation) are translated the same, scores to" in said
    assert said.endswith("written to deploy\n")
    assert (tmp_path / "deploy" / "model.bin").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=lstm", "to=ctranslate2"], "lstm is an LSTM: CTranslate2 holds the Transformer alone"),
        (["run=lstm"], r"to is missing: type to=\.\.\., what to make \(ctranslate2, "),
        (["run=lstm", "to=marian"], "to: 'marian' is not one of ctranslate2"),
        (["run=[lstm,lstm]", "to=ctranslate2"], "nmt.export writes one model; name one run"),
        (["run=lstm", "to=ctranslate2", "checkpoint=avg:2"], "has none; train with trainer.keep_last=2"),
        (["to=ctranslate2"], "which run"),
    ],
)
def test_mistakes_are_one_line(command, tmp_path, words, message):
    make_run(tmp_path / "lstm", MODELS["local_p"])
    with pytest.raises(SystemExit, match=message) as caught:
        command(*words)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["lstm"]
