"""Runs with different versions of one plug-in, read in one process; and what else comes of the copies in a run."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from command_line import refused, typed
from plugged import TINY, forget, own_tables, trained

import nmt
from nmt.cli.data import COMMAND as DATA
from nmt.cli.data import prepare_data
from nmt.cli.eval import COMMAND as EVAL
from nmt.cli.eval import score_runs
from nmt.cli.export import COMMAND as EXPORT
from nmt.cli.export import export_run
from nmt.cli.plugins import truth
from nmt.errors import ConfigError, RunError
from nmt.models.attention import ATTENTIONS
from nmt.plugins import load_plugins, trusting
from nmt.runs.directory import Run
from nmt.runs.training import train

__all__ = ["own_tables"]  # a fixture of every test here
MINUS = ("self.factor * memory", "-3 * self.factor * memory")


def changed(name: str = "even_attention.py", change: tuple[str, str] = MINUS) -> None:
    """Another version of a plug-in, which gives other contexts."""
    text = Path(name).read_text()
    assert change[0] in text
    Path(name).write_text(text.replace(*change))


@pytest.fixture
def two_runs(own_tables, tmp_path_factory) -> list[Path]:
    """Runs trained with two versions of one plug-in, each as in a process of its own; made once for all tests."""
    made = tmp_path_factory.getbasetemp() / "runs_of_two_versions"
    for name in ("first", "second"):
        if not (made / name).exists():
            (config,) = typed("plugins=[even_attention.py]", "model.attention=even", *TINY, f"name={name}")
            train(config)
            shutil.copytree(Path("runs", name), made / name)
            forget()
        shutil.copytree(made / name, Path("runs", name), dirs_exist_ok=True)
        changed()
    return [Path("runs/first"), Path("runs/second")]


def alone(directory: Path) -> float:
    forget()
    return nmt.load(directory, trust=True).score("one two", "eins zwei").log_prob


def test_each_run_has_its_own_version_where_copies_are_trusted(two_runs):
    """Loaded one after the other, and again; models that were loaded before stay what they are."""
    expected = [alone(directory) for directory in two_runs]
    assert expected[0] != expected[1]
    forget()
    for order in (two_runs, two_runs[::-1], two_runs):
        models = [nmt.load(directory, trust=True) for directory in order]
        found = [model.score("one two", "eins zwei").log_prob for model in models]
        assert found == [expected[two_runs.index(directory)] for directory in order]


def test_a_model_of_an_earlier_version_leaves_the_later_one_in_the_tables():
    """As in a notebook, where a run was opened, then the file changed and loaded again."""
    opened = Run.open(trained("plugins=[even_attention.py]", "model.attention=even"))
    changed()
    load_plugins(["even_attention.py"])
    [later] = [row for row in ATTENTIONS if row.name == "even"]
    model, _ = opened.load_model("best", torch.device("cpu"))
    assert type(model.get_submodule("decoder.attention")) is not ATTENTIONS[later]
    assert [row for row in ATTENTIONS if row.name == "even"] == [later]


def test_an_ensemble_of_both_is_their_mean(two_runs):
    expected = [alone(directory) for directory in two_runs]
    forget()
    both = nmt.load(two_runs, trust=True).score("one", "eins").log_prob
    forget()
    turned = nmt.load(two_runs[::-1], trust=True).score("one", "eins").log_prob
    assert both == pytest.approx(turned, abs=1e-5)
    assert min(expected) != max(expected)


def test_a_command_scores_each_run_with_its_own_version(two_runs, capsys):
    losses = []
    for directory in two_runs:
        forget()
        typed_eval(f"run={directory}")
        losses.append(loss(directory))
    for order in (two_runs, two_runs[::-1]):
        forget()
        typed_eval(f"run=[{order[0]},{order[1]}]")
        assert [loss(directory) for directory in two_runs] == losses


def typed_eval(*words: str) -> None:
    typed(*words, "trust=true", "device=cpu", command=EVAL, job=score_runs)


def loss(directory: Path) -> float:
    return json.loads((directory / "scores" / "test" / "results.json").read_text())["loss"]


def test_a_copy_of_one_run_does_not_serve_another_that_is_not_trusted(two_runs):
    first, second = two_runs
    nmt.load(first, trust=True)
    with pytest.raises(RunError, match="which is code"):
        nmt.load(second)
    nmt.load(first)  # the same version, which is loaded


def test_a_file_that_is_named_is_used_whatever_copies_are_trusted(two_runs, capsys):
    first, second = two_runs
    Path("even_attention.py").write_bytes((first / "plugins" / "even_attention.py").read_bytes())
    for trust in (False, True):
        forget()
        capsys.readouterr()
        nmt.load(second, plugins=["even_attention.py"], trust=trust)
        assert "differs from the one of training" in capsys.readouterr().err
    nmt.load(second, trust=True)  # and now the copy
    assert "was executed from the run directory" in capsys.readouterr().err


def test_a_corpus_of_a_trusted_copy_is_known_to_commands(capsys):
    directory = nmt.train(["plugins=[counting.py]", "data=counting", *SMALL]).directory
    forget()
    typed_eval(f"run={directory}")
    assert "backwards" in capsys.readouterr().out


def test_a_corpus_of_a_plug_in_can_be_looked_at_before_training(capsys):
    typed("plugins=[counting.py]", "data=counting", "data.tokenizer.kind=char", command=DATA, job=prepare_data)
    assert "training pairs read 50" in capsys.readouterr().out


SMALL = [word for word in TINY if not word.startswith("data.train_size") and "_size=3" not in word]


def test_the_last_line_of_a_training_can_be_typed(capsys):
    trained("plugins=[even_attention.py]", "model.attention=even")
    [line] = [line for line in capsys.readouterr().out.splitlines() if "holds it all" in line]
    assert "python -m nmt.translate run=runs/run trust=true <" in line


@pytest.mark.parametrize(
    ("word", "yes"), [("yes", True), ("1", True), ("on", True), ("false", False), ("perhaps", False)]
)
def test_trust_is_read_as_booleans_are(word, yes):
    assert truth(word) is yes
    assert truth(True) is True


@pytest.mark.parametrize(
    "to", ["huggingface", *(pytest.param(to, marks=pytest.mark.slow) for to in ("safetensors", "run"))]
)
def test_an_export_brings_its_plug_ins(to, capsys):
    """Its record names no folder of this machine, and nothing is executed without trust."""
    directory = trained(f"plugins=[{Path.cwd()}/even_attention.py]", "model.attention=even")
    folder = Path("moved")
    typed(f"run={directory}", f"to={to}", f"output={folder}", command=EXPORT, job=export_run)
    assert "plugins/ has even_attention.py, which is code" in "".join(capsys.readouterr())
    assert str(Path.cwd()) not in (folder / "plugins" / "plugins.json").read_text()
    expected = nmt.load(directory).score("one", "eins").log_prob
    forget()
    with pytest.raises(RunError, match=r"type plugins=\[even_attention.py\] to use your file, or trust=true"):
        nmt.load(folder)
    assert nmt.load(folder, trust=True).score("one", "eins").log_prob == expected
    if to == "huggingface":
        card = (folder / "README.md").read_text()
        assert re.search(r'nmt\.load\("hf://OWNER/\w+", trust=True\)', card)
        assert "needs the Python code in `plugins/`" in card


def test_a_schedule_that_gives_no_number_is_named():
    changed("pace.py", ("config.lr / at.step", "float('nan')"))
    assert "optim.schedule=inverse gives nan as the learning rate of update 1" in refused_training(
        "plugins=[pace.py]", "optim.schedule=inverse"
    )


def refused_training(*words: str) -> str:
    (config,) = typed(*words, *TINY, "name=run", "optim.warmup=0")
    with pytest.raises(ConfigError) as error:
        train(config)
    return str(error.value)


def test_a_logger_that_fails_is_told_nothing_more(capsys):
    """And the training, its checkpoints and the other loggers go on."""
    changed("pace.py", ('figures.get("lr", "")', 'figures["nope"]'))
    directory = trained("plugins=[pace.py]", "logger.more=[lines]")
    out = capsys.readouterr().out
    assert out.count("warning: logger Lines failed (pace.py, line 2") == 1
    assert "KeyError: 'nope') and is told nothing more; log.jsonl has everything" in out
    assert (directory / "checkpoints" / "best.pt").exists()
    assert '"event": "scored"' in (directory / "log.jsonl").read_text()


def test_nothing_is_trusted_beside_a_context_that_trusts():
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    forget()
    with trusting(True):
        Run.open(directory).load_model("best", torch.device("cpu"))
    forget()
    with pytest.raises(RunError, match="which is code"):
        Run.open(directory)
    assert load_plugins(["even_attention.py"])[0].of_run is False
    assert "type plugins=" not in refused(f"run={directory}", "eval.metrics=[nope]", command=EVAL)
