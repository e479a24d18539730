"""What is typed reaches the job, mistakes are refused in a line or two, and sweeps keep their promises."""

import errno
import os
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, version
from pathlib import Path

import hydra
import pytest
import torch

from nmt.cli import app, compose
from nmt.cli.align import COMMAND as ALIGN
from nmt.cli.data import COMMAND as DATA
from nmt.cli.eval import COMMAND as EVAL
from nmt.cli.options import key_options
from nmt.cli.train import COMMAND
from nmt.cli.translate import COMMAND as TRANSLATE
from nmt.config import CONFIG_DIR, VERSION_BASE, Config
from nmt.data.corpus import PhrasesConfig
from nmt.errors import Stopped, UserError
from nmt.models import LSTMConfig
from nmt.models.attention import ATTENTIONS, GlobalConfig
from nmt.runs.directory import save_config
from nmt.runs.training import train
from nmt.train.optim import ScheduleName
from nmt.train.stop_signals import STOPPING

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No test may leave anything in the source tree."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # app.run sets it; this takes it back


@pytest.fixture
def typed(monkeypatch):
    """Type a command line; returns the configs that jobs got, or raises SystemExit with the message."""

    def typed(*words: str, command=COMMAND, job=None):
        got = []
        monkeypatch.setattr(sys, "argv", ["nmt", *words])
        app.run(command, lambda config: (got.append(config), job and job(config)))
        return got

    return typed


def refused(typed, *words: str, command=COMMAND) -> str:
    """The message with which a command line is refused."""
    with pytest.raises(SystemExit) as caught:
        typed(*words, command=command)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("error: ")
    return caught.value.code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.attention=loca_p", "choose one of: " + ", ".join(sorted(a.name for a in ATTENTIONS))),
        ("model.attention=loca_p", "did you mean: local_p"),
        ("model=lstn", "model has no choice 'lstn'"),
        ("model.hiden_size=3", "did you mean: model.hidden_size"),
        ("model/attention=local_p", "did you mean: model.attention?"),
        ("+model.attentio=3", "unknown key 'model.attentio'"),
        ("hidden_size=3", "did you mean: model.hidden_size"),
        ("model.hidden_size=wide", "model.hidden_size must be a whole number, got wide"),
        ("optim.name=adm", "optim.name: 'adm' is not one of adam, adamw, sgd"),
        ("trainer.max_steps=-1", "trainer.max_steps must be at least 1, got -1"),
        ("+experiment=demo model.attention.half_width=0", "half_width must be 1 to 1000000"),
        ("model.attention.half_width=3", "half_width belongs to model.attention=local_m|local_p"),
        ("model.attention.name=local_p", "choose with model.attention=NAME"),
        ("data.tests.mine.source=a", "data.tests.mine.target is missing: type data.tests.mine.target=FILE"),
        ("data.tests.mine.sorce=a", "unknown key 'data.tests.mine.sorce': a test set has source, target, gold"),
        ("data.tests.mine=a.en", "type data.tests.mine.source=FILE data.tests.mine.target=FILE"),
        ("data.test.mine.source=a", "unknown key 'data.test.mine'"),
        ("data.test=3", "data.test must be a name or a list of names, as in data.test=[A,B], got 3"),
        ("data=hf data.path=csv", "data.files.train=FILE data.files.validation=FILE"),
        ("local_p", "cannot read 'local_p': expected KEY=VALUE"),
        ("seed=1,2", "add --multirun"),
        ("-m seed=1,2 --cfg job", "-m runs jobs: it does not go with --cfg"),
        ("name=a/b", "name must be one folder's name"),
        ("--config-dir " + "x" * 300, "x: File name too long"),
        ("seed=" + "9" * 5000, "expected KEY=VALUE"),
        ("--config-dir ~nobody_of_that_name/x", "--config-dir=~nobody_of_that_name/x: nobody of that name has a home"),
        ("seed=-1", "seed must be 0 to 9223372036854775807, got -1"),
        ("seed=12345678901234567890123", "seed must be 0 to 9223372036854775807, got 12345678901234567890123"),
        ("trainer.max_steps=12345678901234567890123", "trainer.max_steps must be at least 1, got 1234567890"),
        ("logger.samples=12345678901234567890123", "logger.samples must be at least 0, got 12345678901234567890123"),
        ("model.hidden_size=1000000000000", "model.hidden_size must be 1 to 65536, got 1000000000000"),
        ("model.hidden_size=1e12", "model.hidden_size must be a whole number, got 1000000000000.0"),
        ("decode.beam_size=100000", "decode.beam_size must be 1 to 1000, got 100000"),
        ("threads=100000", "threads must be 1 to 1024, got 100000"),
        ("threads=0", "threads must be 1 to 1024, got 0"),
        ("optim.betas=3", "optim.betas is a list: type 'optim.betas=[A,B]'"),
        ("optim.betas=[a,b]", "optim.betas[0] must be a number, got a"),
        ("resume=7x", "7x: there is no such run directory"),
        ("runs=null", "runs cannot be null"),
        ("runs=", "runs is empty: type a path, or leave runs out"),
        ("init_from=", "init_from is empty"),
        ("data.cache=", "data.cache is empty"),
        ("decode=mbr decode.samples=1", "decode.mbr=chrf chooses among candidates: decode.samples must be at least 2"),
        ("decode.max_ratio=1e308", "decode.max_ratio must be 0 to 1000000"),
        ("data.tokenizer.vocab_size=1000000000000", "data.tokenizer.vocab_size must be 5 to 10000000"),
        ("trainer.accumulate=1000000000", "trainer.accumulate must be 1 to 100000"),
        ("data=files data.train.source= data.train.target=b", "data.train.source is missing"),
        ("optim.lr=nan", "optim.lr must be above 0 and finite, got nan"),
        ("trainer.max_epochs=inf", "got inf; type trainer.max_epochs=null (no limit)"),
        ("trainer.max_steps=inf", "trainer.max_steps must be a whole number, got inf; type trainer.max_steps=null (no"),
        ("data.pairs=[fr-de] data.source=en", "data.source=en goes with one direction: data.pairs names the languages"),
        ("seed=nan", "seed must be a whole number, got nan"),
        ("model.dropout=inf", "model.dropout must be at least 0 and below 1 and finite, got inf"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(typed, capsys, words, message):
    """One message, naming the key; nothing else on either stream, no traceback."""
    assert message in refused(typed, *words.split())
    out, err = capsys.readouterr()
    assert out == err == ""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "default"),
        ("model.attention=local_p", "local_p"),
        ("model.attention=global seed=1", "default"),  # these are the defaults
        ("model.attention=local_p seed=2", "local_p-seed_2"),
        ("model.attention=none threads=1 trainer.max_steps=9 data.root=/x device=cpu logger.every=2 runs=r", "none"),
        ("model.hidden_size=64", "model.hidden_size_64"),  # attention has a hidden_size too
        ("optim.lr=1e-2 optim=sgd", "lr_0.01-optim_sgd"),
        ("+experiment=multi30k_en_de model.attention=local_p", "multi30k_en_de-local_p"),
        ("+experiment=demo model.attention=local_p", "demo"),  # what the experiment chooses
        ("init_from=runs/a", "init_from_runs_a"),
        ("name=mine seed=3", "mine"),
    ],
)
def test_a_run_is_named_after_its_choices(typed, words, name):
    """Those that change the run, and not those that say where, on what or how long."""
    (config,) = typed(*words.split())
    assert config.name == name


def test_a_bug_in_a_job_shows_its_traceback(typed):
    """Not caught, not shortened, and free of Hydra's frames."""

    def job(config):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError) as caught:
        typed("seed=2", job=job)
    assert not any("hydra" in str(entry.path) for entry in caught.traceback)


def test_nothing_is_written_but_by_the_job(typed, tmp_path):
    """Hydra makes no folder and no log file."""
    typed("seed=2")
    typed("-m", "seed=1,2")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_every_combination_in_one_folder(typed):
    configs = typed("-m", "model.attention=none,local_p", "seed=1,2", "optim.lr=0.01")
    assert [c.name for c in configs] == ["none-seed_1", "none-seed_2", "local_p-seed_1", "local_p-seed_2"]
    assert [c.model.attention.name for c in configs] == ["none", "none", "local_p", "local_p"]
    assert [(c.seed, c.optim.lr) for c in configs] == [(1, 0.01), (2, 0.01)] * 2
    (stamp,) = {c.sweep for c in configs}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", stamp)


def test_globs_ranges_experiments_and_names_in_a_sweep(typed):
    configs = typed("-m", "model.attention=glob(local*)", "seed=range(1,3)", "+experiment=demo", "sweep=s", "name=n")
    assert [c.name for c in configs] == ["n-local_m-seed_1", "n-local_m-seed_2", "n-local_p-seed_1", "n-local_p-seed_2"]
    assert {(c.sweep, c.decode.beam_size) for c in configs} == {("s", 1)}
    assert "matches nothing" in refused(typed, "-m", "model.attention=glob(locl*)")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.attention=none,loca_p seed=1,2", "job 3 (loca_p-seed_1): model.attention has no choice 'loca_p'"),
        ("model.dropout=0.1,high", "job 2 (dropout_high): model.dropout"),
        ("trainer.max_steps=5,0", "job 2 (max_steps_0): trainer.max_steps must be at least 1"),
        ("model.hiden_size=3 seed=1,2", "unknown key 'model.hiden_size'"),
    ],
)
def test_a_mistake_anywhere_in_a_sweep_stops_it_before_the_first_job(typed, words, message):
    def job(config):
        raise AssertionError("a job started")

    with pytest.raises(SystemExit, match=re.escape(message)):
        typed("-m", *words.split(), job=job)


FILES = " ".join(f"data.{split}.{side}=x" for split in ("train", "validation") for side in ("source", "target"))
PAIRS = "data.pairs=[en-de,de-en] data.tags=true"
ENDLESS = "trainer.max_steps=null trainer.max_epochs=1"
ACROSS = [  # what is typed, and the message: the last of the values that follow -m is the one that is refused
    (
        "-m model.tied=none,all data.tokenizer.joint=false",
        "model.tied=all needs one vocabulary .* data.tokenizer.joint",
    ),
    ("-m model.tied=none,all data.tokenizer.joint=false model=transformer_tiny", "model.tied=all needs one vocabulary"),
    (f"-m optim.schedule=constant,cosine {ENDLESS}", "optim.schedule=cosine needs optim.decay_steps"),
    ("-m optim.schedule=constant,cosine trainer.max_steps=100", "optim.warmup .100. must be below the step .* .100."),
    ("-m model.attention=global,none trainer.guided_alignment=0.1", "trainer.guided_alignment: this model has no att"),
    ("-m model.attention=coverage,none trainer.coverage_loss=1", "trainer.coverage_loss: this model has no attention"),
    ("-m model.attention=global,hard trainer.guided_alignment=0.1", "trainer.guided_alignment .* model.attention=hard"),
    (f"-m model.attention=global,none trainer.agreement=1 {PAIRS}", "trainer.agreement: this model has no attention"),
    (f"-m model.attention=global,hard trainer.agreement=1 {PAIRS}", "trainer.agreement .* model.attention=hard"),
    (f"-m trainer.guided_head=1,2 trainer.agreement=1 {PAIRS}", "trainer.guided_head=2: this model has only 1"),
    (f"-m data.noise.typos=0,0.1 trainer.agreement=1 {PAIRS}", "trainer.agreement turns pairs round, .*noise.typos"),
    (f"-m data.noise.case=0,0.1 trainer.agreement=1 {PAIRS}", "trainer.agreement turns pairs round, .*noise.case"),
    (f"-m data.tokenizer.joint=true,false trainer.agreement=1 {PAIRS}", "trainer.agreement .*data.tokenizer.joint=tr"),
    ("-m trainer.agreement=0,1", "trainer.agreement compares the two directions .* 'data.pairs=.A-B,B-A.' data.tags="),
    ("-m trainer.agreement=0,1 data.pairs=[en-de,fr-en] data.tags=true", "trainer.agreement compares the two direct"),
    ("-m trainer.agreement=0,1 data.pairs=[en-de] data.tags=true", "trainer.agreement compares the two directions"),
    ("-m model.attention=global,none trainer.metric=aer", "trainer.metric=aer: this model has no attention"),
    ("-m model.attention=global,none decode.coverage=0.2", "decode.coverage is for models with attention"),
    ("-m trainer.guided_layer=1,2 trainer.guided_alignment=0.1", "trainer.guided_layer=2: this model has only 1"),
    ("-m trainer.guided_layer=-2,-3 trainer.guided_alignment=0.1", "trainer.guided_layer=-3: this model has only 1"),
    (
        "-m trainer.guided_head=-4,-5 trainer.guided_alignment=0.1 model=transformer_tiny",
        "trainer.guided_head=-5: .* only 4",
    ),
    ("-m trainer.max_epochs=1,null trainer.max_steps=null", ".* are all null: training has no end"),
    ("-m trainer.clip=1,inf", "trainer.clip must be above 0 and finite, got inf; type trainer.clip=null .no clipping."),
    (
        "-m trainer.guided_head=4,5 trainer.guided_alignment=0.1 model=transformer_tiny",
        "trainer.guided_head=5: .* only 4",
    ),
    ("-m trainer.guided_alignment=0,0.1 data.tags=true", "trainer.guided_alignment: data.tags=true puts a word bef"),
    ("-m trainer.guided_alignment=0,0.1 data=multi30k", "trainer.guided_alignment needs .*: data.alignments=FILE"),
    (f"-m trainer.metric=bleu,aer data=files {FILES}", "trainer.metric=aer needs gold word alignments: data.gold=NAME"),
    ("-m trainer.metric=bleu,aer data=hf data.path=x", "trainer.metric=aer needs gold word alignments: data.gold=NAME"),
    ("-m trainer.metric=bleu,aer data=multi30k", "trainer.metric=aer needs gold word alignments: data.gold=NAME"),
    ("-m data.tokenizer.vocab_size=300,200", "data.tokenizer.vocab_size must be at least 260 .*kind=bpe .*, got 200"),
    ("-m data.source=en,xx", "data.source: babel .CLDR. knows no locale 'xx'"),
    ("-m device=cpu,gpu", "device=gpu is not one of auto, cpu, cuda, cuda:N"),
]


@pytest.mark.parametrize(("words", "message"), ACROSS)
def test_what_no_training_could_do_is_refused_before_the_first_job(typed, tmp_path, words, message):
    """By a sweep and by a single training; nothing is written, and job 1, with the other value, is taken."""

    def job(config):
        raise AssertionError("a job started")

    with pytest.raises(SystemExit, match=rf"^error: job 2 \(.*\): {message}"):
        typed(*words.split(), job=job)
    _, swept, *rest = words.split()
    key, values = swept.split("=")
    bad = values.split(",")[1]
    assert re.match(f"error: {message}", refused(typed, f"{key}={bad}", *rest))
    assert list(tmp_path.iterdir()) == []


def test_training_from_python_is_refused_the_same_way(tmp_path):
    """No command line looked at this Config; still there is no run directory without weights."""
    config = Config(name="x", model=LSTMConfig(attention=GlobalConfig()), data=PhrasesConfig(), device="cpu")
    config.optim.schedule, config.trainer.max_steps = ScheduleName.cosine, None
    with pytest.raises(UserError, match=r"optim\.schedule=cosine needs optim\.decay_steps"):
        train(config)
    assert list(tmp_path.iterdir()) == []


def test_one_job_is_not_many(typed, capsys):
    typed("-m", "seed=1", job=lambda config: None)
    assert capsys.readouterr().out.startswith("1 job: ")


def test_a_failing_job_does_not_stop_the_others(typed, capsys):
    """All jobs run; the failed ones are named at the end, and the command leaves with an error."""
    ran = []

    def job(config: Config):
        ran.append(config.seed)
        if config.seed == 1:
            raise ZeroDivisionError("a bug")
        if config.seed == 3:
            raise UserError("a mistake")

    with pytest.raises(SystemExit) as caught:
        typed("-m", "seed=1,2,3", job=job)
    assert ran == [1, 2, 3]
    assert caught.value.code == (
        "error: 2 of 3 jobs failed\n  seed_1: ZeroDivisionError: a bug\n  seed_3: a mistake"
    )  # fmt: skip
    err = capsys.readouterr().err
    assert err.count("Traceback") == 1, "a bug shows its traceback, a mistake does not"


@pytest.mark.parametrize("number", STOPPING)
def test_the_exit_status_tells_which_signal_ended_a_training(typed, number):
    """As a shell tells it: 143 for SIGTERM."""

    def job(config):
        raise Stopped(number)

    with pytest.raises(SystemExit) as caught:
        typed("seed=2", job=job)
    assert caught.value.code == 128 + number


def test_interrupting_a_sweep_ends_it(typed):
    def job(config):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        typed("-m", "seed=1,2", job=job)
    assert caught.value.code == 130


def test_names_that_are_null_or_swept(typed):
    """null is no name, as without -m, where it is the default; and jobs may be named."""
    configs = typed("-m", "seed=1,2", "name=null", "sweep=null")
    assert [c.name for c in configs] == ["seed_1", "seed_2"]
    assert re.match(r"\d{4}-", configs[0].sweep)
    assert [c.name for c in typed("-m", "name=a,b", "seed=2,3")] == ["a-seed_2", "a-seed_3", "b-seed_2", "b-seed_3"]


def test_a_disk_that_refuses_is_no_bug(typed, capsys):
    """One line that names the file, from a job and from a job of a sweep; other errors of the system are bugs."""

    def job(config: Config):
        code = errno.ENOENT if config.seed == 3 else errno.ENOSPC
        raise OSError(code, os.strerror(code), "runs/a/x")

    with pytest.raises(SystemExit, match=r"error: runs/a/x: No space left on device"):
        typed("seed=2", job=job)
    with pytest.raises(SystemExit, match=r"seed_1: .*No space left.*\n  seed_3: FileNotFoundError"):
        typed("-m", "seed=1,3", job=job)
    assert capsys.readouterr().err.count("Traceback") == 1
    with pytest.raises(FileNotFoundError):
        typed("seed=3", job=job)


@pytest.fixture(scope="module")
def configs():
    """Two different trained configurations."""
    compose.register(COMMAND)
    with hydra.initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        first = compose.typed(
            hydra.compose("train", ["data.source=fr", "decode=greedy", "data.tokenizer.vocab_size=500"])
        )
        second = compose.typed(hydra.compose("train", ["data.source=es"]))
    first.decode.beam_size = 7
    return first, second


@pytest.fixture
def trained(configs, tmp_path):
    """Run directories a and b, as far as the command line looks at them."""
    for name, config in zip("ab", configs, strict=True):
        save_config(tmp_path / name, config)
    return tmp_path / "a"


def test_a_later_command_starts_from_what_the_run_was_trained_with(typed, trained):
    """run=DIR is enough; what is typed, choices included, comes on top."""
    ((config,),) = typed(f"run={trained}", command=EVAL)
    assert (config.data.source, config.data.name, config.decode.beam_size) == ("fr", "phrases", 7)
    ((config,),) = typed(f"run={trained}", "data.test=[x]", "decode=luong2015", "data.target=es", command=EVAL)
    assert (config.data.source, config.data.target, config.data.test) == ("fr", "es", ["x"])
    assert config.decode.beam_size == typed("decode=luong2015")[0].decode.beam_size


def test_each_of_several_runs_keeps_its_own_settings(typed, trained):
    """run=[A,B]: both get what is typed, each the rest from its own config.yaml."""
    ((a, b),) = typed("run=[a,b]", "decode.n_best=2", command=EVAL)
    assert (a.run, a.data.source, a.decode.beam_size, a.decode.n_best) == ("a", "fr", 7, 2)
    assert (b.run, b.data.source, b.decode.beam_size, b.decode.n_best) == ("b", "es", 5, 2)


def test_runs_in_an_inner_list_belong_together(typed, trained):
    """An ensemble is one configuration, that of its first run."""
    ((a, together),) = typed("run=[a,[b,a]]", command=EVAL)
    assert (a.run, a.data.source) == ("a", "fr")
    assert (together.run, together.data.source) == (["b", "a"], "es")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "which run?  python -m nmt.eval run=DIR"),
        ("run=[[]]", "run=DIR names no run directory"),
        ("run=a checkpoint=avg", "checkpoint must be best, last, avg:K or best:K, got avg"),
        ("run=nowhere", "nowhere: there is no such run directory"),
        ("run=.", "it has no config.yaml; runs in it: a, b"),
        ("run=a model.hidden_size=3", "model.hidden_size is built into the run"),
        ("run=a model=lstm", "model is built into the run"),
        ("run=a data.tokenizer.vocab_size=3", "data.tokenizer.vocab_size is built into the run"),
        ("run=a trainer.max_steps=3", "trainer is a setting of nmt.train"),
        ("run=a seed=3", "seed is a setting of nmt.train, not of nmt.eval\n  did you mean: decode.seed?"),
        ("run=a decode.beam_sise=3", "did you mean: decode.beam_size"),
        ("run=a decode=gredy", "choose one of: beam, greedy"),
        ("run=a eval.metrics=[blue]", "'blue' is not one of"),
        ("-m run=a decode=greedy,beam", "-m belongs to nmt.train"),
    ],
)
def test_mistakes_in_a_later_command(typed, trained, words, message):
    text = refused(typed, *words.split(), command=EVAL)
    assert message in text
    assert "as_trained" not in text


def test_only_what_the_command_takes_is_offered(typed, trained):
    message = refused(typed, "run=a", "data=multi30k", command=TRANSLATE)
    assert message == "error: data is a setting of nmt.train, not of nmt.translate"


def test_what_must_be_given_is_asked_for(typed, trained):
    assert "source is missing: type source=" in refused(typed, "run=a", command=ALIGN)


@pytest.mark.parametrize("word", ["decode=greedy", "decode.beam_size=3", "decode.ensemble=log_probabilities"])
def test_aligning_takes_no_key_of_search(typed, trained, word):
    """Given translations are aligned: nothing is searched for."""
    message = refused(typed, "run=a", "source=x", "target=y", word, command=ALIGN)
    assert message == "error: decode is a setting of nmt.train, not of nmt.eval.align"
    assert not [option.key for option in key_options(ALIGN.schema) if option.key.startswith("decode")]


def test_a_damaged_config_names_the_file(typed, trained):
    (trained / "config.yaml").write_text("model: [", encoding="utf-8")
    assert str(trained / "config.yaml") in refused(typed, f"run={trained}", command=TRANSLATE)


def run_module(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [COMMAND, EVAL, ALIGN, TRANSLATE, DATA], ids=lambda command: command.module)
def test_every_command_says_its_version(typed, capsys, command):
    """In one line, and nothing else happens."""
    assert typed("--version", command=command) == []
    expected = f"nmt {version('nmt')}, torch {torch.__version__}, Python {platform.python_version()}\n"
    assert capsys.readouterr() == (expected, "")


def test_console_scripts_are_the_commands():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert sorted(scripts) == [
        "nmt-align",
        "nmt-augment",
        "nmt-data",
        "nmt-eval",
        "nmt-export",
        "nmt-look",
        "nmt-report",
        "nmt-serve",
        "nmt-train",
        "nmt-translate",
    ]
    for script, target in scripts.items():
        main = EntryPoint(script, target, "console_scripts").load()
        assert main.__module__ == "nmt.cli.start"
        assert callable(main)


def test_help_from_any_folder(tmp_path):
    """As typed: the page, and the values as the words before --help change them."""
    out = run_module("nmt.train", "model.attention=local_p", "seed=41", "--help", "all", cwd=tmp_path)
    assert out.returncode == 0
    assert out.stderr == ""
    assert "python -m nmt.train -m model.attention=none," in out.stdout
    assert "seed: 41" in out.stdout
    assert "half_width: 10" in out.stdout


def test_what_takes_long_to_import_waits_until_it_is_needed(tmp_path):
    """Help and refusals come before datasets with pandas, matplotlib and TensorBoard, a second each."""
    code = "import sys, nmt.cli.train, nmt.cli.eval, nmt.cli.translate; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert {"torch", "hydra"} <= set(out.stdout.split())
    assert not {"datasets", "pandas", "matplotlib", "tensorboard"} & set(out.stdout.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    ("unbuffered", "said"),
    [
        ("", "error: standard output: No space left on device\n"),
        ("1", "error: standard output, or a file that was being written: No space left on device\n"),
    ],
)
def test_a_disk_that_is_full_behind_standard_output(tmp_path, unbuffered, said):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "nmt.data", "--cfg", "job"]
    with Path("/dev/full").open("w") as full:
        out = subprocess.run(
            command, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (out.returncode, out.stderr) == (1, said)


def test_a_mistake_as_typed(tmp_path):
    """The process ends with 1 and prints one message."""
    out = run_module("nmt.train", "model.attention=loca_p", cwd=tmp_path)
    assert out.returncode == 1
    assert out.stdout == ""
    assert "did you mean: local_p" in out.stderr
    assert "Traceback" not in out.stderr
