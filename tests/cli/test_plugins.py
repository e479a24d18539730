"""plugins=[FILE]: files of tests/plugins are trained with and read again, as a user of the command line would."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from command_line import refused, typed
from plugged import TINY, forget, own_tables, trained

import nmt
from nmt.batch import collate
from nmt.cli.eval import COMMAND as EVAL
from nmt.config import from_yaml, to_tree, to_yaml
from nmt.errors import ConfigError, RunError
from nmt.models import build_model
from nmt.models.attention import ATTENTIONS
from nmt.plugins import copied, load_plugins, loaded_plugin, trusting
from nmt.runs.directory import Run
from nmt.runs.training import train

__all__ = ["own_tables"]  # a fixture of every test here


def test_attention_score_and_metric_from_training_to_a_run_that_is_read(capsys):
    directory = trained(
        "plugins=[even_attention.py,directions.py]",
        "model.attention=even",
        "model.attention.factor=2",
        "trainer.metric=bleu2",
    )
    assert to_tree(Run.open(directory).config)["model"]["attention"] == {"name": "even", "heads": 1, "factor": 2.0}
    rows = json.loads((directory / "plugins" / "plugins.json").read_text())["plugins"]
    assert [row["adds"] for row in rows] == [
        ["model.attention=even"],
        ["model.attention.score=cosine", "trainer.metric=bleu2"],
    ]
    assert (directory / "plugins" / "even_attention.py").read_text() == Path("even_attention.py").read_text()
    assert any("bleu2" in line for line in (directory / "log.jsonl").read_text().splitlines() if '"validation"' in line)
    forget()
    message = refused("run=runs/run", command=EVAL)
    assert (
        "type plugins=[even_attention.py,directions.py] to use your files, or trust=true (nmt.train: plugins=["
        in message
    )
    with pytest.raises(RunError, match="which are code"):
        Run.open(directory)
    capsys.readouterr()
    with trusting(True):
        Run.open(directory).load_model("best", torch.device("cpu"))
    assert "was executed from the run directory" in capsys.readouterr().err


def test_all_plug_ins_of_a_run_are_named_at_once():
    """Also those that were typed already, because plugins= of one command is one list."""
    words = ("plugins=[even_attention.py,directions.py]", "model.attention=even", "trainer.metric=bleu2")
    directory = trained(*words)
    forget()
    with pytest.raises(RunError, match=r"plug-ins even_attention\.py, directions\.py, which are") as refusal:
        Run.open(directory)
    assert "type plugins=[even_attention.py,directions.py] to use your files" in str(refusal.value)
    copies = [f"{directory}/plugins/{name}.py" for name in ("even_attention", "directions")]
    assert f"(nmt.train: plugins=[{','.join(copies)}])" in str(refusal.value)
    said = refused("run=runs/run", "plugins=[./directions.py]", command=EVAL)
    assert "with the plug-in even_attention.py, which is code: type plugins=[even_attention.py,./directions.py]" in said
    assert f"(nmt.train: plugins=[{copies[0]},./directions.py])" in said
    (configs,) = typed("run=runs/run", "plugins=[even_attention.py,./directions.py]", command=EVAL)
    assert configs[0].run == "runs/run"


def test_trust_in_copies_that_are_not_there_is_refused_in_a_line():
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    forget()
    copy = directory / "plugins" / "even_attention.py"
    copy.unlink()
    said = f"error: {copy} is missing, so that trust=true cannot execute it: type plugins=[even_attention.py] to use "
    assert refused("run=runs/run", "trust=true", command=EVAL) == f"{said}your file"
    shutil.rmtree(directory / "plugins")
    forget()
    said = refused("run=runs/run", "trust=true", command=EVAL)
    assert "model.attention has no choice 'even'; if a plug-in adds it, type plugins=[FILE]; trust=true exec" in said
    assert said.endswith(f"; trust=true executes nothing, because there is no {directory / 'plugins'}")
    assert "trust" not in refused("run=runs/run", command=EVAL)


def test_a_loaded_model_names_or_trusts_the_plug_ins():
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    for named, trust in ((["even_attention.py"], False), ([], True)):
        forget()
        with pytest.raises(RunError, match="which is code"):
            nmt.load(directory)
        assert isinstance(nmt.load(directory, plugins=named, trust=trust).translate("one"), str)


def test_a_later_training_of_the_program_keeps_the_plug_in_that_it_uses():
    """And none that it does not use."""
    load_plugins(["even_attention.py", "directions.py"])
    directory = trained("model.attention=even")
    assert [path.name for path in (directory / "plugins").glob("*.py")] == ["even_attention.py"]
    (config,) = typed("model.attention.score=cosine", *TINY, "name=other")
    train(config)
    assert [path.name for path in Path("runs/other/plugins").glob("*.py")] == ["directions.py"]
    (config,) = typed(*TINY, "name=neither")
    train(config)
    assert not Path("runs/neither/plugins").exists()


def test_trust_is_refused_by_training_before_anything_is_executed():
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    forget()
    said = refused(f"resume={directory}", "trust=true")
    assert said == (
        "error: trust: nmt.train executes no copies of plug-ins; name your file or a copy in plugins=[FILE]"
    )
    assert loaded_plugin("even_attention") is None


@pytest.mark.parametrize("name", ["a-b.py", "mein ö.py", "2x.py"])
def test_a_file_whose_name_is_none_of_pythons_is_refused(name):
    shutil.copy("even_attention.py", name)
    with pytest.raises(ConfigError, match=r"a plug-in's file needs a name of letters, digits and _; rename it$"):
        load_plugins([name])


def test_a_plug_in_that_ends_the_program_is_refused():
    Path("mine.py").write_text("import sys\n\nsys.exit(3)\n")
    with pytest.raises(ConfigError, match=r"^plugins: mine\.py, line 3: SystemExit: 3$"):
        load_plugins(["mine.py"])


def test_the_teaching_solution_is_a_plug_in():
    solution = Path(__file__).parents[2] / "teaching" / "solutions" / "local_p.py"
    shutil.copy(solution, "mine.py")
    assert trained("plugins=[mine.py]", "model.attention=my_local_p").is_dir()


def test_an_attention_serves_in_a_transformer():
    """As cross-attention, like the rows of the table that come with the project."""
    words = ("plugins=[even_attention.py]", "model=transformer", "model.cross_attention=even", "model.hidden_size=8")
    (config,) = typed(*words, "model.cross_attention.factor=2", "model.num_layers=1", "name=run")
    assert to_tree(config)["model"]["cross_attention"] == {"name": "even", "heads": 1, "factor": 2.0}
    assert from_yaml(to_yaml(config)) == config
    model = build_model(config.model, 9, 9, joint=True).eval()
    maps = model(collate([[5, 6, 7]], [[5]], [0]), want_maps=True).maps
    torch.testing.assert_close(maps.weights, torch.full((1, 1, 1, 2, 4), 0.25))
    said = refused(*words, "model.cross_attention.factor=0")
    assert said == "error: model.cross_attention.factor must be above 0, got 0.0"


def test_an_attention_with_a_state_serves_in_no_transformer():
    text = Path("even_attention.py").read_text().replace('"even"', '"mine"')
    text = text.replace("    def forward", "    def start(self, values):\n        return {}\n\n    def forward")
    Path("mine.py").write_text(text)
    said = refused("plugins=[mine.py]", "model=transformer", "model.cross_attention=mine")
    assert said.startswith("error: model.cross_attention=mine: what it attends to depends on the target positions")


def test_a_score(capsys):
    directory = trained("plugins=directions.py", "model.attention.score=cosine")
    forget()
    (configs,) = typed("run=runs/run", "plugins=[directions.py]", command=EVAL)
    assert configs[0].plugins == ["directions.py"]
    assert "is loaded, the same as in training" in capsys.readouterr().err
    assert to_tree(Run.open(directory).config)["model"]["attention"]["score"] == "cosine"


def test_a_training_goes_on_with_the_copy_in_its_run():
    """By what the message says to type."""
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    forget()
    Path("even_attention.py").unlink()
    with pytest.raises(RunError, match="which is code") as refusal:
        nmt.train([f"resume={directory}"])
    word = re.search(r"nmt\.train: (\S+)\)", str(refusal.value))
    assert word
    run = nmt.train([f"resume={directory}", word[1], "trainer.max_steps=3"])
    assert [event["step"] for event in run.history if event["event"] == "validation"] == [2, 3]
    assert run.load(device="cpu").translate("one two") is not None


def test_optimizer_schedule_and_logger():
    words = ("plugins=[pace.py]", "optim.name=adagrad", "optim.schedule=inverse", "optim.warmup=0", "optim.lr=0.5")
    directory = trained(*words, "logger.more=[lines]", "logger.every=1")
    lines = (directory / "lines.txt").read_text().splitlines()
    assert lines.count("hparams adagrad") == 1
    assert {"train 1 0.5", "train 2 0.25"} <= set(lines)
    assert any(line.startswith("scored ") for line in lines)


SMALL = tuple(word for word in TINY if not word.startswith(("data.train", "data.valid", "data.test_size")))


def test_model_and_corpus_in_python_and_another_training_that_starts_from_them():
    """The file at first, then the copy in the run directory, as the message says to type."""
    words = ["model=gain", "data=counting", "data.pairs_made=40", *SMALL]
    first = nmt.train(["plugins=[counting.py]", *words, "name=first"])
    assert to_tree(first.config)["data"]["pairs_made"] == 40
    assert set(first.scores) == {"validation", "backwards"}
    [model, *_] = Run.open(first.directory).load_model("best", torch.device("cpu"))
    assert model.state_dict()["source_embedding.gain"] != 0
    forget()
    with pytest.raises(RunError, match=r"init_from: .* which is code") as refusal:
        nmt.train([f"init_from={first.directory}", *TINY])
    word = re.search(r"nmt\.train: (\S+)\)", str(refusal.value))
    assert word
    second = nmt.train([word[1], f"init_from={first.directory}", *words, "trainer.max_steps=1", "name=second"])
    assert (second.directory / "plugins" / "counting.py").read_text() == Path("counting.py").read_text()


def test_a_copy_that_was_changed_is_not_executed():
    directory = trained("plugins=[even_attention.py]", "model.attention=even")
    forget()
    with (directory / "plugins" / "even_attention.py").open("a") as file:
        file.write("raise SystemExit\n")
    with trusting(True), pytest.raises(RunError, match="its checksum is another"):
        Run.open(directory)


def test_a_file_that_has_changed_is_executed_again():
    """Its rows take the place of those before; the same text is not executed twice."""
    (first,) = load_plugins(["even_attention.py"])
    assert load_plugins(["./even_attention.py"]) == [first]
    path = Path("even_attention.py")
    path.write_text(path.read_text().replace("every source position alike", "another text"))
    load_plugins(["even_attention.py"])
    assert [c.__doc__ for c in ATTENTIONS if c.name == "even"] == ["another text"]


def test_a_file_that_python_imported_itself_is_not_executed_again(monkeypatch):
    """As in a job of a sweep, whose process imports the plug-in where the configuration names its dataclasses."""
    monkeypatch.syspath_prepend(Path.cwd())
    imported = importlib.import_module("even_attention"), importlib.import_module("directions")
    first, second = load_plugins(["even_attention.py", "directions.py"])
    assert first.adds == ("model.attention=even",)
    assert second.adds == ("model.attention.score=cosine", "trainer.metric=bleu2")
    assert imported[0].EvenConfig in ATTENTIONS
    assert load_plugins(["even_attention.py"]) == [first]


# The settings of an attention, with what stands in them and its row.
CLASS = """
from dataclasses import dataclass
from nmt.models.attention import ATTENTIONS, AttentionConfig
from nmt.models.attention.global_attention import GlobalAttention

@dataclass
class C(AttentionConfig):
    {0}
    pass

ATTENTIONS[C] = {1}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", r"plugins: mine.py, line 2: ZeroDivisionError"),
        ("def f(:\n", r"plugins: mine.py, line 1: SyntaxError"),
        ("x = 1\n", "adds no row to any table"),
        (
            "from nmt.models.attention import SCORES, ScoreFunction\nSCORES['dot'] = ScoreFunction\n",
            "dot is there already",
        ),
        (
            "from nmt.models.attention.scores import SCORES, DotScore\ndel SCORES['dot']\nSCORES['x'] = DotScore\n",
            "takes rows out",
        ),
        ("from nmt.models.attention import SCORES\nSCORES['x'] = 1\n", "class derived from ScoreFunction, not 1"),
        ("from nmt.eval.metrics import METRICS\nMETRICS['x'] = max\n", "an object of Metric, not <built-in"),
        ("from nmt.train.log import LOGGERS\nLOGGERS['x'] = print\n", "a class derived from Logger, not <built-in"),
        ("from nmt.train.optim import SCHEDULES\nSCHEDULES['x'] = 0.1\n", "needs a function, not 0.1"),
        ("from nmt.train.optim import SCHEDULES\nSCHEDULES[1] = max\n", "has a name for each choice, not 1"),
        (
            "from nmt.models.attention import ATTENTIONS\nATTENTIONS['x'] = 3\n",
            "derived from AttentionConfig .* not 'x'",
        ),
        (CLASS.format('name: str = "x"', "int"), "x needs a class derived from Attention, not <class 'int'>"),
        (CLASS.format("", "GlobalAttention"), "C needs a name to be typed"),
        (CLASS.format('name: str = "x"\n    bad: "Tensr" = None', "GlobalAttention"), "settings of C are none"),
        (CLASS.format('name: str = "x"\n    s: float = "one"', "GlobalAttention"), "settings of C are none.*one"),
        (CLASS.format('name: str = "x"\n    s: set = None', "GlobalAttention"), "settings of C are none.*set"),
        (CLASS.replace("@dataclass", "").format('name = "x"', "GlobalAttention"), "C needs the line @dataclass above"),
    ],
)
def test_a_plugin_that_cannot_be_used_leaves_the_tables_as_they_were(text, message):
    before = copied()
    Path("mine.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plugins(["mine.py"])
    assert copied() == before
    assert "mine" not in sys.modules
    typed()  # and a training can be configured afterwards


def test_mistakes_are_one_line():
    assert "neither a file, looked for from" in refused("plugins=[no_such_module]")
    assert "cannot be read: No such file" in refused("plugins=[nowhere.py]")
    assert "if a plug-in adds it" not in refused("model.attention=nowhere")  # Hydra remembers the even of other tests
    Path("json.py").write_text("")
    assert "a module named json is loaded already" in refused("plugins=[json.py]")
