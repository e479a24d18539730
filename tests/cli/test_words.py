"""Flags and overrides in any order; a flag that cannot be honoured is refused, and says what takes its place."""

import re
import shlex

import pytest

from nmt.cli.eval import COMMAND as EVAL
from nmt.cli.mistakes import FLAGS, NAMES_ELSEWHERE
from nmt.cli.options import known_keys
from nmt.cli.train import COMMAND as TRAIN
from nmt.cli.translate import COMMAND as TRANSLATE
from nmt.cli.words import REFUSED, parser
from tests.helpers.command_line import refused, typed


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No test may leave anything in the source tree."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("flag", [flag for flags in REFUSED for flag in flags])
@pytest.mark.parametrize("value", [[], ["x"]])
def test_a_flag_of_hydra_that_is_not_honoured_is_refused(capsys, flag, value):
    """In a line that says what takes its place, instead of a training that nobody asked for."""
    message = refused("seed=2", flag, *value)
    (name,) = (flags[0] for flags in REFUSED if flag in flags)
    assert message == f"error: {name} does nothing here: {REFUSED[next(f for f in REFUSED if flag in f)]}"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "words",
    [
        "-m seed=1,2 name=a",
        "seed=1,2 -m name=a",
        "seed=1,2 name=a --multirun",
        "hydra/launcher=basic -m seed=1,2 name=a",
    ],
)
def test_flags_may_stand_between_overrides(words):
    """Hydra's own parser then shows its usage."""
    assert [config.seed for config in typed(*words.split())] == [1, 2]


def test_what_is_shown_may_be_asked_for_anywhere(capsys):
    typed("seed=4", "--cfg", "job", "optim.lr=0.5", "--package", "optim")
    assert "lr: 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--multrun seed=1,2", "there is no flag --multrun: .*\n  did you mean: --multirun"),
        ("--batch-size 32", "there is no flag --batch-size: settings are typed as KEY=VALUE.*\n.*data.batching.tokens"),
        ("--batch-size=32", "there is no flag --batch-size: .*\n.*data.batching.tokens"),
        ("--lr 3", "there is no flag --lr: .*\n.*optim.lr"),
        ("--hiden-size 3", "there is no flag --hiden-size: .*\n  did you mean: .*model.hidden_size"),
        ("--qqq 3", "there is no flag --qqq: .*\n  --help all lists them"),
        ("batch_size=32", "unknown key 'batch_size'\n.*data.batching.tokens"),
        ("--cfg job --info", "type one of --cfg and --info, not both"),
        ("--cfg work", "--cfg/-c: invalid choice: 'work'"),
        ("--resolve", "type --cfg job, too"),
        ("--config-dir nowhere", "--config-dir: there is no folder nowhere"),
        ("--config-dir", "--config-dir/-cd: expected one argument"),
        ("--config-dir . hydra.searchpath=[x]", "type either --config-dir or hydra.searchpath"),
    ],
)
def test_a_mistake_in_a_flag_is_one_message(capsys, words, message):
    """No usage of a parser that the user does not know."""
    assert re.match(f"error: .*{message}", refused(*words.split()))
    assert capsys.readouterr() == ("", "")


def test_names_of_other_toolkits_lead_to_keys_that_exist():
    known = {key for command in (TRAIN, TRANSLATE, EVAL) for key in known_keys(command.schema)}
    assert {key for keys in NAMES_ELSEWHERE.values() for key in keys} <= known
    assert not [
        name
        for name in NAMES_ELSEWHERE
        if name in {key.rpartition(".")[2] for key in known_keys(TRAIN.schema)} - {"batch_size"}
    ]
    flags = {flag for action in parser()._actions for flag in action.option_strings} | {"--version"}
    assert set(FLAGS) <= flags


def test_a_choice_without_a_default_is_typed_with_plus_or_without(tmp_path):
    """experiment, and groups of one's own; swept, too."""
    (with_plus,), (without,) = typed("+experiment=demo"), typed("experiment=demo")
    assert with_plus == without
    assert without.name == "demo"
    assert [config.name for config in typed("-m", "experiment=demo,multi30k_en_de")] == ["demo", "multi30k_en_de"]
    (tmp_path / "own" / "size").mkdir(parents=True)
    (tmp_path / "own" / "size" / "small.yaml").write_text("# @package _global_\nmodel: {hidden_size: 8}\n")
    for word in ("size=small", "+size=small"):
        (config,) = typed("--config-dir", "own", word)
        assert (config.model.hidden_size, config.name) == (8, "size_small")


def test_a_folder_of_choices_may_have_any_name(tmp_path):
    """Quotes and backslashes, too; and several folders."""
    for name, seed in {"it's": 3, "a\\b": 4}.items():
        (tmp_path / name / "own").mkdir(parents=True)
        (tmp_path / name / "own" / f"seed{seed}.yaml").write_text(f"# @package _global_\nseed: {seed}\n")
    words = ("--config-dir", "it's", "--config-dir", "a\\b")
    assert [config.seed for config in typed(*words, "-m", "own=seed3,seed4")] == [3, 4]


@pytest.mark.parametrize("value", ["null", "3", "true", "1.5", "''"])
@pytest.mark.parametrize("group", ["data", "model", "optim", "trainer", "decode", "logger", "model.attention"])
def test_a_choice_is_a_name(group, value):
    """Typed alone or in a sweep; Hydra has a traceback for it."""
    message = f"error: {group}={value}".lower() + " is no choice; choose one of: "
    assert refused(f"{group}={value}").lower().startswith(message)
    assert refused("-m", f"{group}=x,{value}").lower().startswith(message)


@pytest.mark.parametrize("word", ["=3", "+=3", "seed", "=", "local_p"])
def test_a_word_without_a_key_or_value_is_no_override(word):
    assert refused(word) == f"error: cannot read {word!r}: expected KEY=VALUE"


@pytest.mark.parametrize("character", list("!\"#&'();<=>[]^`{}~ä中\u00a0"))
def test_a_character_that_needs_quotes_is_named_and_the_quoting_shown(character):
    """What is shown, typed in a shell, is read as the value."""
    message = refused(f"runs=a{character}b")
    start, _, shown = message.partition(" needs quotes: ")
    assert start == f"error: cannot read {f'runs=a{character}b'!r}: {character!r}"
    (word,) = shlex.split(shown)
    (config,) = typed(word)
    assert config.runs == f"a{character}b"


def test_a_value_with_a_comma_is_answered_in_one_line():
    assert refused("runs=a:b,c") == (
        "error: runs=a:b,c has several values: add --multirun to try each, type 'runs=[a:b,c]' for a list, or quote "
        "one text: \"runs='a:b,c'\""
    )


def test_a_character_that_no_key_has_is_named():
    assert (
        refused("data.tests.a:b.source=x") == "error: cannot read 'data.tests.a:b.source=x': ':' cannot stand in a key"
    )


def test_bytes_that_the_locale_does_not_understand_are_not_said_to_need_quotes():
    assert re.match("error: runs=a.* has characters that this locale .* LC_ALL=C.UTF-8", refused("runs=a\udcc3\udcb6"))


@pytest.mark.parametrize("key", ["runs", "data.cache", "init_from", "resume", "plugins"])
def test_a_home_that_nobody_has_is_no_folder(key):
    """And none of that name is made; one that is there already is meant."""
    value = "[~nobody9/x.py]" if key == "plugins" else "~nobody9/x"
    assert re.search(r"~nobody9/x.*: nobody of that name has a home folder", refused(f"{key}={value}"))


def test_a_folder_whose_name_begins_so_is_taken(tmp_path):
    (tmp_path / "~nobody9").mkdir()
    (config,) = typed("runs=~nobody9")
    assert config.runs == "~nobody9"


def test_in_a_list_each_item_is_quoted():
    message = refused("data.test=[a#b,c]")
    (word,) = shlex.split(message.partition("as in ")[2])
    (config,) = typed(word)
    assert config.data.test == ["A#B"]


@pytest.mark.parametrize(
    "words",
    [
        ["data.tests.mine.source=a.en", "data.tests.mine.target=a.de"],
        ["+data.tests.mine.source=a.en", "++data.tests.mine.target=a.de"],
        ["data.tests.mine={source: a.en, target: a.de}"],
        ["+data.tests={mine: {source: a.en, target: a.de}}"],
    ],
)
def test_a_test_set_is_typed_as_other_files_are(words):
    """Without quotes, braces and a plus; what needed them is still understood."""
    (config,) = typed(*words)
    assert {name: (files.source, files.target) for name, files in config.data.tests.items()} == {
        "mine": ("a.en", "a.de")
    }
    swept = typed("-m", "seed=1,2", *words)
    assert [config.data.tests["mine"].target for config in swept] == ["a.de", "a.de"]


def test_the_files_of_a_table_are_typed_as_other_files_are():
    (config,) = typed("data=hf", "data.path=csv", "data.files.train=[a.csv,b.csv]", "data.files.validation=c.csv")
    assert config.data.files == {"train": ["a.csv", "b.csv"], "validation": "c.csv"}


def test_one_test_set_needs_no_brackets():
    assert [typed(f"data.test={value}")[0].data.test for value in ("mine", "[a,b]", "[]", "null")] == [
        ["mine"],
        ["a", "b"],
        [],
        None,
    ]


@pytest.mark.parametrize(
    ("typed_word", "value"),
    [
        ("runs=~/x.y", "/home/somebody/x.y"),
        ("init_from=~", "/home/somebody"),
        ("runs='~/a b'", "/home/somebody/a b"),
    ],
)
def test_the_home_folder_needs_no_quotes(monkeypatch, typed_word, value):
    """Hydra reads no ~ that a shell has not put another path for."""
    monkeypatch.setenv("HOME", "/home/somebody")
    key = typed_word.partition("=")[0]
    monkeypatch.setattr("nmt.cli.compose.check_sections", lambda config: None)
    (config,) = typed(typed_word)
    for part in key.split("."):
        config = getattr(config, part)
    assert config == value


@pytest.mark.parametrize(
    ("words", "key", "number"),
    [
        ("deterministic=999", "deterministic", 999),
        ("++deterministic=-1", "deterministic", -1),
        ("-m deterministic=0,7", "deterministic", 7),
        ("model.source_eos=2", "model.source_eos", 2),
    ],
)
def test_no_other_number_than_0_and_1_is_true_or_false(words, key, number):
    assert refused(*words.split()) == f"error: {key} must be true or false, got {number}"


@pytest.mark.parametrize(("word", "value"), [("0", False), ("1", True), ("true", True), ("off", False)])
def test_what_is_true_or_false(word, value):
    assert [config.deterministic for config in typed(f"deterministic={word}")] == [value]


def test_a_run_that_is_typed_without_its_key_is_told_from_other_words(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert refused("runs/a", command=EVAL) == "error: cannot read 'runs/a': a run is typed as run=runs/a"
    assert refused("runs/b", command=EVAL) == "error: cannot read 'runs/b': expected KEY=VALUE"
    assert refused("runs/a", command=TRAIN) == "error: cannot read 'runs/a': expected KEY=VALUE"
