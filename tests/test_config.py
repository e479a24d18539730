"""Every advertised choice composes, what composes comes back equal from its YAML, and the tables are all there is."""

from dataclasses import dataclass, field
from functools import reduce
from math import prod

import pytest
import yaml
from hydra import compose, initialize_config_dir

from nmt.cli.compose import register
from nmt.cli.compose import typed as make
from nmt.cli.data import COMMAND as DATA
from nmt.cli.help import help_text
from nmt.cli.mistakes import explain
from nmt.cli.options import WITHOUT_DEFAULT, config_groups, key_options
from nmt.cli.train import COMMAND
from nmt.config import (
    CHOICE_GROUPS,
    CONFIG_DIR,
    ONCE_INFINITE,
    VERSION_BASE,
    Config,
    choices_with,
    flat,
    from_yaml,
    groups_within,
    restore,
    to_tree,
    to_yaml,
)
from nmt.config_checks import check_sections
from nmt.errors import ConfigError
from nmt.models import MODELS, LSTMConfig
from nmt.models.attention import ATTENTIONS, GlobalConfig, LocalPConfig
from nmt.models.seq2seq import ModelConfig, Tied
from nmt.runs.repeat import same_run
from nmt.train.optim import ScheduleName

EXPERIMENTS = sorted(p.stem for p in (CONFIG_DIR / "experiment").glob("*.yaml"))
NAMES = [a.name for a in ATTENTIONS]
PRESETS = [
    (group, name)
    for group, rows in config_groups().items()
    if "." not in group and group not in WITHOUT_DEFAULT  # model.attention is not every model's
    for name in rows
    if (group, name) not in (("data", "files"), ("data", "hf"))  # they have no data of their own
]


@pytest.fixture(autouse=True, scope="module")
def hydra():
    register(COMMAND)
    with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        yield


def composed(*overrides: str) -> Config:
    return make(compose("train", list(overrides)))


def test_the_command_line_of_the_card():
    """model.attention=local_p is a choice of a group and gives that dataclass."""
    assert composed("model.attention=local_p").model.attention == LocalPConfig()  # type: ignore[attr-defined]


@pytest.mark.parametrize("some", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["two", "all"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_every_attention_of_its_model_and_no_other_model(experiment, some):
    """What was set for an LSTM, such as its width, is not silently a Transformer's, nor the other way round.

    The fast tests type ``some`` attentions, the first and the last of the table.
    """
    own = composed(f"+experiment={experiment}").model
    groups = groups_within("model", type(own))
    for group in groups:
        choices = list(CHOICE_GROUPS[group].configs)
        for choice in choices[:: len(choices) - 1] if some else choices:
            mixture = {"hansards_latent": "predictions", "hansards_aligner": "lexical"}.get(experiment)
            if mixture and choice.name in ("none", "hard", "fixed_memory"):
                with pytest.raises(ConfigError, match=rf"model\.mixture={mixture} .*{group}={choice.name} "):
                    composed(f"+experiment={experiment}", f"{group}={choice.name}")
                continue
            model = composed(f"+experiment={experiment}", f"{group}={choice.name}").model
            assert getattr(model, group.partition(".")[2]).name == choice.name
    for other in {choice.name for choice in MODELS} - {own.name}:
        with pytest.raises(Exception, match=groups[0]) as caught:
            composed(f"+experiment={experiment}", f"model={other}")
        said = explain(caught.value, COMMAND)
        assert said == f"In 'experiment/{experiment}': {groups[0]} belongs to model={own.name}"


@pytest.mark.parametrize("name", ["recipe=modern", "recipe=luong2015", "mechanism=local_p_dot"])
def test_recipes_and_mechanisms_are_of_the_lstm(name):
    """They compose on an LSTM, with any experiment of it, and are refused on a Transformer."""
    assert composed(f"+{name}").model.name == "lstm"
    assert composed("+experiment=multi30k_en_de", f"+{name}").model.hidden_size == 512  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="attention") as caught:
        composed(f"+{name}", "model=transformer")
    assert explain(caught.value, COMMAND) == f"In '{name.replace('=', '/')}': model.attention belongs to model=lstm"


def test_mechanisms_are_the_rows_of_luongs_table():
    """Each choice is the attention and the score that its name says."""
    for name in config_groups()["mechanism"]:
        attention = composed("+experiment=luong2015_table4", f"+mechanism={name}").model.attention  # type: ignore[attr-defined]
        score = getattr(attention, "score", None)
        assert "_".join(filter(None, (attention.name, score))) == name


def test_the_study_is_108_trainings_with_all_mechanisms():
    tree = yaml.safe_load((CONFIG_DIR / "experiment" / "luong2015_table4.yaml").read_text())
    swept = {key: str(value).split(",") for key, value in tree["hydra"]["sweeper"]["params"].items()}
    assert prod(map(len, swept.values())) == 108
    assert sorted(swept["+mechanism"]) == sorted(config_groups()["mechanism"])
    assert sorted(swept["+recipe"]) == sorted(config_groups()["recipe"])


def test_recipes_set_the_same_keys():
    """So that none leaves a value of the other, or of an experiment, in force."""
    files = [yaml.safe_load((CONFIG_DIR / "recipe" / f"{name}.yaml").read_text()) for name in ("modern", "luong2015")]
    keys = [set(flat(tree)) - {"defaults"} for tree in files]
    of_optimizer = {key for both in keys for key in both if key.startswith("optim.")}
    assert keys[0] - of_optimizer - {"data.batching.tokens"} == keys[1] - of_optimizer


@pytest.mark.parametrize(("group", "name"), PRESETS)
def test_every_choice_composes_and_comes_back_equal(group, name):
    """What config.yaml holds of a run gives the very same Config."""
    made = composed(f"{group}={name}")
    assert from_yaml(to_yaml(made)) == made


@pytest.mark.parametrize("name", NAMES)
def test_every_attention_comes_back_equal(name):
    made = composed(f"model.attention={name}", "+data.tests.mine={source: [a, b], target: c}", "name=x", "seed=7")
    again = from_yaml(to_yaml(made))
    assert again == made
    assert type(again.model.attention) is type(made.model.attention)  # type: ignore[attr-defined]


def test_an_empty_list_of_test_sets_is_told_from_that_of_earlier_versions():
    """Which meant every test set, as null does today."""
    for value in (None, [], ["mine"]):
        made = composed()
        made.data.test = value
        assert from_yaml(to_yaml(made)).data.test == value
    earlier = to_yaml(composed()).replace("test: null", "test: []")
    assert from_yaml(earlier).data.test is None


def test_files_need_no_yaml_of_their_own():
    """A choice that only the table has is composed from its dataclass."""
    files = composed("data=files", *(f"data.{s}.{k}=x" for s in ("train", "validation") for k in ("source", "target")))
    assert files.data.name == "files"


def test_reading_a_config_evaluates_nothing(monkeypatch):
    """An interpolation in a run's config.yaml stays the text that it is."""
    monkeypatch.setenv("NMT_SECRET", "leaked")
    tree = to_tree(composed())
    tree["data"]["root"] = "${oc.env:NMT_SECRET}"
    assert restore(tree).data.root == "${oc.env:NMT_SECRET}"
    with pytest.raises(ConfigError, match="not YAML"):
        from_yaml("seed: !!python/object/apply:os.system ['true']")


@pytest.mark.parametrize(
    "text",
    [
        "seed: &itself [*itself]",
        "a: &a {b: *a}",
        "seed: " + "[" * 5000 + "]" * 5000,
        "a: &a [1, 1]\n"
        + "".join(f"{c}: &{c} [{', '.join([f'*{b}'] * 100)}]\n" for b, c in zip("abc", "bcd", strict=True)),
    ],
    ids=["list in itself", "keys in themselves", "deep", "aliases of aliases"],
)  # fmt: skip
def test_yaml_without_end_is_refused(text):
    """In one line, without running out of stack or memory."""
    with pytest.raises(ConfigError, match=r"no configuration: (nested|more than)"):
        from_yaml(text)


@pytest.mark.parametrize("value", ["1" * 5000, "2020-99-99"], ids=["5,000 digits", "no date"])
def test_values_that_python_cannot_hold_are_refused(value):
    with pytest.raises(ConfigError, match=r"^no configuration: "):
        from_yaml(f"seed: {value}")


@pytest.mark.parametrize("name", [c.name for c in CHOICE_GROUPS["data"].configs if c.name not in ("files", "hf")])
def test_python_and_the_command_line_have_the_same_defaults(name):
    """A Config made in Python is the one that nmt.train composes when nothing is typed but the data."""
    typed = composed(f"data={name}")
    data = next(c for c in CHOICE_GROUPS["data"].configs if c.name == name)()
    made = Config(model=LSTMConfig(attention=GlobalConfig()), data=data)
    assert flat(to_tree(made)) == flat(to_tree(typed))


def test_a_run_that_would_not_be_started_now_can_still_be_read():
    """An earlier version may have trained it; what its keys rule out is for those to say who ask for it."""
    made = composed("model.attention=none", "trainer.max_epochs=1")
    made.trainer.max_steps, made.trainer.clip, made.optim.schedule = None, None, ScheduleName.cosine
    made.trainer.metric, made.trainer.guided_alignment, made.decode.coverage = "aer", 0.1, 0.2
    assert isinstance(made.model, LSTMConfig)
    made.model.tied, made.data.tokenizer.joint = Tied.all, False
    with pytest.raises(ConfigError):
        check_sections(made)
    assert from_yaml(to_yaml(made)) == made


@pytest.mark.parametrize("written", [".inf", "inf", "+.INF", "Infinity", "null"])
def test_no_limit_in_the_words_of_an_earlier_version(written):
    """Infinity is read as null, for which it stood; a run so read is the run that is asked for with null."""
    tree = to_tree(composed())
    for key in ONCE_INFINITE:
        *sections, name = key.split(".")
        part = reduce(dict.__getitem__, sections, tree)
        assert name in part
        part[name] = "WRITTEN"
    read = from_yaml(yaml.safe_dump(tree).replace("WRITTEN", written))
    assert {key: flat(to_tree(read))[key] for key in ONCE_INFINITE} == dict.fromkeys(ONCE_INFINITE)
    assert same_run(read, composed(*(f"{key}=null" for key in ONCE_INFINITE)))


@pytest.mark.parametrize("written", [".nan", "-.inf"])
def test_what_was_never_a_limit_is_refused_in_an_old_run_too(written):
    text = yaml.safe_dump(to_tree(composed())).replace("clip: 1.0", f"clip: {written}")
    with pytest.raises(ConfigError, match=r"trainer\.clip must be above 0 and finite"):
        from_yaml(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "lstm", "hidden_sise": 3}}, "hidden_sise"),
        ({"model": {"name": "rnn"}}, "model has no choice 'rnn'"),
        ({"model": {"name": "lstm", "attention": {"name": "loca_p"}}}, "model.attention has no choice 'loca_p'"),
        ({"seed": "many"}, "seed"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"sweep": "../x"}, "sweep must be one folder's name"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_key(change, message):
    with pytest.raises(ConfigError, match=message):
        restore({**to_tree(composed()), **change})


@pytest.mark.parametrize("key", ["optim.lr", "optim.betas", "trainer.normalization", "seed"])
@pytest.mark.parametrize(
    "value", ["x" * 9000, 10**400, [{"a": 1}], [0.9, {"a": 1}]], ids=["x", "digits", "section", "both"]
)
def test_a_value_of_another_kind_is_refused_in_a_short_sentence(key, value):
    """Also a section inside a list of numbers, which OmegaConf takes, and more digits than a number of the machine."""
    tree = to_tree(composed())
    section, _, name = key.rpartition(".")
    (tree[section] if section else tree)[name] = value
    with pytest.raises(ConfigError, match=f"{key}|no configuration") as caught:
        from_yaml(yaml.safe_dump(tree))
    assert len(str(caught.value)) < 400


def test_keys_that_an_older_version_did_not_write_have_their_defaults():
    tree = to_tree(composed("model.hidden_size=34"))
    del tree["logger"], tree["model"]["bias"]
    again = restore(yaml.safe_load(yaml.safe_dump(tree)))
    assert again == composed("model.hidden_size=34")


def test_help_lists_every_key_with_its_meaning():
    """No key is without help, and the page has all of them: those of choices not made, too."""
    page = help_text(COMMAND)
    for option in key_options(Config):
        assert option.help, option.key
        assert f"  {option.key}" in page
    leaves = [key for key in flat(to_tree(composed("model.attention=local_p"))) if not key.endswith("name")]
    assert {key for key in leaves if key not in {o.key for o in key_options(Config)}} == set()
    for name in NAMES:
        assert f"\n  {name} " in page
    assert "[local_m, local_p]" in page.partition("  model.attention.half_width ")[2].partition("\n")[0]


def test_help_of_a_command_has_its_own_keys_only():
    assert "data.tokenizer.kind" in help_text(DATA)
    assert "trainer." not in help_text(DATA)


@dataclass
class DummyConfig(ModelConfig):
    """a model without attention"""

    name: str = "dummy"
    width: int = field(default=3, metadata={"help": "of nothing"})


@pytest.fixture
def dummy(monkeypatch):
    """One more row in the table of models."""
    group = CHOICE_GROUPS["model"]
    monkeypatch.setitem(CHOICE_GROUPS, "model", group._replace(table=(*group.configs, DummyConfig)))
    register(COMMAND)


def test_one_row_in_a_table_is_a_choice(dummy):
    """On the command line, in --help, and from config.yaml."""
    made = composed("model=dummy", "model.width=4")
    assert made.model == DummyConfig(width=4)
    assert from_yaml(to_yaml(made)) == made
    assert "a model without attention" in help_text(COMMAND)


@pytest.mark.parametrize("override", ["model.attention=local_p", "model.attention.half_width=3"])
def test_attention_of_a_model_that_has_none(dummy, override):
    """The message says which model it belongs to."""
    with pytest.raises(Exception, match="attention") as caught:
        composed("model=dummy", override)
    assert "model.attention belongs to model=lstm" in explain(caught.value, COMMAND)


def test_which_choices_have_a_group():
    assert choices_with("model.attention") == ["lstm"]
    assert choices_with("model") == choices_with("seed") == []
