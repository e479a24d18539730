"""Mistakes in YAML files of the user's own: one line that names the file, and the key or the line."""

import sys
from pathlib import Path

import pytest

from nmt.cli import train


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Call it with the text of an experiment: what nmt.train says when it is chosen."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)

    def message(text: str) -> str:
        (folder / "x.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["nmt.train", "--config-dir", "mine", "+experiment=x"])
        with pytest.raises(SystemExit) as stopped:
            train.main()
        return str(stopped.value.code)

    return message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", "mine/experiment/x.yaml, line 3: found duplicate key seed"),
        ("model:\n\thidden_size: 3\n", "mine/experiment/x.yaml, line 3: found character '\\t'"),
        ("seed: 1x\n", "error: experiment/x: seed must be a whole number, got 1x"),
        ("data:\n  target: no\n", "error: data.target=False is no language: YAML takes no"),
        ("trainer: null\n", "error: experiment/x: trainer cannot be null"),
        ("model:\n  hidden_sise: 3\n", "error: experiment/x: unknown key 'model.hidden_sise'\n  did you mean: model"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file(chosen, text, said):
    message = chosen(f"# @package _global_\n{text}")
    assert said in message
    assert len(message.splitlines()) < 3


def test_the_first_line_is_missed(chosen):
    assert chosen("seed: 1\n") == "error: experiment/x: its first line has to be: # @package _global_"


def test_a_choice_that_is_not_utf_8_is_named(chosen):
    Path("mine/experiment/latin.yaml").write_bytes(b"# @package _global_\n# caf\xe9\n")
    message = chosen("# @package _global_\ndefaults:\n  - /experiment@_global_: latin\n  - _self_\n")
    assert message.endswith("mine/experiment/latin.yaml is not UTF-8 (invalid continuation byte 0xe9)")


def test_files_that_are_not_chosen_do_no_harm(chosen):
    """One that is not UTF-8, and the link that Emacs makes while a file is edited."""
    folder = Path("mine/experiment")
    (folder / "latin.yaml").write_bytes(b"# caf\xe9\n")
    (folder / ".#other.yaml").symlink_to("nobody@nowhere")
    assert "seed must be a whole number" in chosen("# @package _global_\nseed: 1x\n")
