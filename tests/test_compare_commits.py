"""scripts/compare_commits.py: what it takes for a difference, on results written by hand."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


@pytest.fixture
def results(load) -> ModuleType:
    return load("_compare_results")


def write_log(path: Path, loss: float = 0.1 + 0.2, clock: float = 0.0, updates: int = 3) -> Path:
    events: list[dict[str, Any]] = [{"event": "built", "time": clock, "run": str(path)}]
    events += [{"event": "train", "time": clock, "step": n + 1, "loss": loss} for n in range(updates)]
    events[2] |= {"tokens_per_second": 100 + clock, "memory": clock, "minutes": clock, "data_wait": clock}
    events.append({"event": "end", "time": clock, "step": updates, "seconds": clock, "best_metrics": {"loss": 2.0}})
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


def save(path: Path, weight: torch.Tensor, momentum: float = 0.5, seconds: float = 1.0) -> Path:
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.full((2,), momentum)}}, "param_groups": [{}]}
    standing = {"step": 3, "seconds": seconds}
    torch.save({"optimizer": optimizer, "model": {"a": torch.ones(2), "b": weight}, "standing": standing}, path)
    return path


def test_equal_logs_may_differ_in_what_a_clock_decides(results, tmp_path):
    logs = write_log(tmp_path / "old", clock=1.0), write_log(tmp_path / "new", clock=2.0)
    assert results.log_difference(*logs) is None


def test_the_last_bit_of_a_loss_is_found_and_its_update_named(results, tmp_path):
    """0.1 + 0.2 and 0.3 are neighbours."""
    old, new = write_log(tmp_path / "old"), write_log(tmp_path / "new", loss=0.3)
    expected = "train at update 1 loss: 0.30000000000000004 became 0.3, by 5.6e-17"
    assert results.log_difference(old, new) == expected
    assert results.log_difference(old, write_log(tmp_path / "short", updates=2)) is not None


def test_equal_checkpoints_may_differ_in_the_time_they_took(results, tmp_path):
    weight = torch.tensor([[1.0, float("nan")]])
    assert (
        results.checkpoint_difference(save(tmp_path / "a", weight), save(tmp_path / "b", weight, seconds=9.0)) is None
    )


def test_one_bit_of_a_weight_is_found_and_the_weight_named(results, tmp_path):
    old = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    new = old.clone()
    new[0, 1] = torch.nextafter(new[0, 1], torch.tensor(9.0))
    found = results.checkpoint_difference(save(tmp_path / "a", old), save(tmp_path / "b", new, momentum=0.6))
    assert found == "model b: 1 of 4 numbers, by up to 2.4e-07"
    found = results.checkpoint_difference(save(tmp_path / "a", old), save(tmp_path / "b", old, momentum=0.6))
    assert found is not None
    assert found.startswith("optimizer state 0 exp_avg: 2 of 2 numbers")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (torch.tensor(0.0), torch.tensor(-0.0), "1 of 1 numbers"),
        (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2), "torch.bfloat16 (2,) became torch.float32 (2,)"),
        (0.0, -0.0, "0.0 became -0.0"),
        (1, 1.0, "int became float"),
        ([1, 2], [1], "2 values became 1"),
        ({"a": 1}, {"b": 1}, "only one of them has a, b"),
        ("x", "y", "'x' became 'y'"),
    ],
)
def test_differences_that_equality_does_not_tell(results, old, new, said):
    assert said in results.tree_difference(old, new, "value")
    assert results.tree_difference(old, old, "value") is None


def test_a_score_and_a_text_are_found_and_the_sentence_named(results):
    old = [{"hypotheses": [["ja", -0.5], ["nein", -0.75]]}, {"hypotheses": [["gut", -0.25]]}]
    assert results.translation_difference(old, json.loads(json.dumps(old))) is None
    other = [old[0], {"hypotheses": [["gut", -0.250000001]]}]
    assert results.translation_difference(old, other).startswith("sentence 2 hypotheses[0][1]: -0.25 became")
    other = [{"hypotheses": [["ja", -0.5], ["nie", -0.75]]}, old[1]]
    assert "sentence 1 hypotheses[1][0]: 'nein' became 'nie'" in results.translation_difference(old, other)
    assert results.translation_difference(old, old[:1]) == "translations: 2, then 1"


def test_the_words_of_a_case_become_an_experiment(load):
    tree = load("_compare_cases").experiment(
        "model=lstm model.attention=hard optim.lr=0.1 optim.lr=0.5 data.test=[] model.tied=all"
    )
    assert tree["defaults"] == [{"override /model": "lstm"}, {"override /model.attention": "hard"}, "_self_"]
    assert (tree["optim"], tree["data"], tree["model"]) == ({"lr": 0.5}, {"test": []}, {"tied": "all"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["HEAD", "no-such-commit"], "error: 'no-such-commit' is no commit of "),
        (["HEAD", "HEAD", "--cases", "nothing"], "error: no case matches 'nothing'; --list shows them"),
    ],
)
def test_mistakes_are_one_line(load, monkeypatch, words, said):
    monkeypatch.setattr(sys, "argv", ["compare_commits.py", *words])
    with pytest.raises(SystemExit, match=said):
        load("compare_commits").main()


def test_cases_are_listed(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_commits.py", "--list", "--cases", "*-r_drop*"])
    load("compare_commits").main()
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["train-r_drop_lstm", "train-r_drop_transformer"]
