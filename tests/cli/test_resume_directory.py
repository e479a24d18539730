"""resume=DIR goes on with the run that lies there; init_from=DIR brings the settings of its tokenizer."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from nmt.cli import train
from nmt.runs import checkpoint
from nmt.runs.directory import Run, read_config, read_json, write_json

PAIRS = [(f"{a} {b} {c}", f"{c}n {b}n {a}n") for a in "abcde" for b in "fghi" for c in "jklm"]
WORDS = (
    *("data=files", "data.source=en", "data.target=de", "data.train.source=text/train.en"),
    *("data.train.target=text/train.de", "data.validation.source=text/dev.en", "data.validation.target=text/dev.de"),
    *("data.test=[]", "data.tokenizer.kind=bpe", "data.tokenizer.vocab_size=290", "data.batching.tokens=100"),
    *("model.hidden_size=8", "model.attention=local_p", "model.attention.half_width=2", "model.dropout=0.1"),
    *("trainer.validate_every=4", "trainer.precision=fp32", "decode=greedy", "decode.max_length=5", "threads=1"),
    *("logger.tensorboard=false", "logger.heatmaps=0", "optim.warmup=3", "device=cpu"),
)


def typed(*words: str) -> None:
    sys.argv = ["nmt.train", *words]
    train.main()


def refused(*words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        typed(*words)
    return str(caught.value.code)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts and two runs: one of 4 updates, one of 8."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "text").mkdir()
    for name, pairs in (("train", PAIRS), ("dev", PAIRS[::9])):
        for side, language in enumerate(("en", "de")):
            lines = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / "text" / f"{name}.{language}").write_text(lines, encoding="utf-8")
    argv = sys.argv
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for steps in (4, 8):
            typed(*WORDS, f"name=of{steps}", f"trainer.max_steps={steps}")
    sys.argv = argv
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch) -> Path:
    """A copy of the folder, which is the working directory."""
    folder = tmp_path / "folder"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [])
    for origin in folder.glob("runs/*/origin.json"):
        write_json(origin, read_json(origin) | {"folder": str(folder)})
    return folder


def last(directory: Path) -> dict:
    return checkpoint.load(directory / checkpoint.LAST)


def test_weights_without_a_state_are_not_overwritten(here):
    """As in a slim copy, or where last.pt was deleted to save space."""
    run = here / "runs" / "of8"
    for name in (checkpoint.LAST, checkpoint.PREVIOUS):
        (run / name).unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for words in (["resume=runs/of8"], [*WORDS, "name=of8", "resume=true", "model.hidden_size=16"]):
        message = refused(*words, "trainer.max_steps=12")
        assert "runs/of8 has weights, which a training from the beginning would overwrite" in message
        assert "init_from=runs/of8 starts another" in message
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kills", [1, 2])
def test_a_training_that_was_killed_while_it_saved_for_the_first_time_begins_again(here, kills):
    run = here / "runs" / "of4"
    log = (run / "log.jsonl").read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(log) if '"event": "validation"' in line)
    (run / "log.jsonl").write_text("".join(log[: first + 1] * kills))
    for name in (checkpoint.LAST, checkpoint.PREVIOUS):
        (run / name).unlink(missing_ok=True)
    typed("resume=runs/of4")
    assert last(run)["step"] == 4


def test_a_metric_that_the_best_weights_do_not_have_is_refused(here):
    """Or the next validation would be the best, however bad; a finished run with it ended in a traceback."""
    before = {path: path.read_bytes() for path in (here / "runs/of8").rglob("*") if path.is_file()}
    for steps in (8, 12):
        message = refused("resume=runs/of8", "trainer.metric=ter", f"trainer.max_steps={steps}")
        assert "trainer.metric=ter was not measured where the best weights of" in message
    assert before == {path: path.read_bytes() for path in (here / "runs/of8").rglob("*") if path.is_file()}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_directory_says_all_that_is_not_typed(here, monkeypatch, elsewhere):
    """Also from another folder, where the relative paths of its data lead nowhere; and the old command goes on, too."""
    if elsewhere:
        (here / "other").mkdir()
        monkeypatch.chdir(here / "other")
    typed(f"resume={'../' * elsewhere}runs/of4", "trainer.max_steps=8")
    monkeypatch.chdir(here)
    first, second = last(here / "runs/of4"), last(here / "runs/of8")
    assert first["step"] == 8
    for name, weights in second["model"].items():
        assert torch.equal(weights, first["model"][name]), name
    config = read_config(here / "runs/of4")
    assert (config.name, config.trainer.max_steps, config.trainer.validate_every) == ("of4", 8, 4)
    typed(*WORDS, "name=of4", "trainer.max_steps=9", "resume=true")
    assert last(here / "runs/of4")["step"] == 9
    assert not (here / "other/runs").exists()


def test_what_is_typed_takes_the_place_of_what_was(here):
    """Values, and choices of sections that a training may change."""
    typed("resume=runs/of4", "trainer.max_steps=6", "optim.lr=0.5", "+data.tests.more.source=text/dev.en",
          "+data.tests.more.target=text/dev.de", "decode=beam", "decode.beam_size=2")  # fmt: skip
    config = read_config(here / "runs/of4")
    assert (config.optim.lr, config.optim.warmup, config.decode.beam_size) == (0.5, 3, 2)
    assert list(config.data.tests) == ["more"]
    assert (here / "runs/of4/scores").is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resume=runs/none"], "error: runs/none: there is no such run directory"),
        (["resume=runs"], "error: runs is no run directory: it has no config.yaml; runs in it: runs/of4, runs/of8"),
        (["resume=''"], "resume is empty"),
        (["resume=runs/of4", "name=x"], "resume=runs/of4 says which run, so name is not typed with it"),
        (["resume=runs/of4", "runs=x"], "so runs is not typed"),
        (["resume=runs/of4", "sweep=x"], "so sweep is not typed"),
        (["-m", "resume=runs/of4", "seed=1,2"], "resume=runs/of4 goes on with one run, and -m makes several"),
        (["--cfg", "job", "resume=runs/of4"], "--cfg shows none: see runs/of4/config.yaml"),
        (["resume=runs/of4", "model=transformer"], "goes on with the model of that run"),
        (["resume=runs/of4", "+experiment=demo"], "goes on with the experiment of that run"),
        (["resume=runs/of4", "model.hidden_size=10"], "was trained with model.hidden_size=8, not 10"),
        (["resume=runs/of4", "data.train.source=text/dev.en"], "text/dev.en"),
        (["resume=runs/of4", "seed=2"], "was trained with seed=1, not 2"),
        (["resume=runs/of4", "trainer.max_stepz=9"], "unknown key 'trainer.max_stepz'"),
        (["resume=runs/of4", "trainer.max_steps=x"], "trainer.max_steps"),
        (["resume=runs/of4", "hydra.verbose=true"], "hydra.verbose"),
        (["resume=runs/of4", "init_from=runs/of8"], "so init_from is not typed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(here, words, said):
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}

    before = files()
    message = refused(*words)
    assert said in message
    assert "\n" not in message.partition("did you mean")[0].strip()
    assert files() == before


def test_a_run_of_a_stranger_reads_nothing_of_the_environment(here, monkeypatch):
    """An interpolation in its config.yaml stays text."""
    monkeypatch.setenv("NMT_SECRET", "secret")
    path = here / "runs/of4/config.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]  # without the checksum
    changed = "\n".join(lines).replace("cache: data/cache", "cache: ${oc.env:NMT_SECRET}")
    assert changed != "\n".join(lines)
    path.write_text(changed + "\n", encoding="utf-8")
    typed("resume=runs/of4", "trainer.max_steps=5")
    assert not (here / "secret").exists()
    assert (here / "${oc.env:NMT_SECRET}").is_dir()


def test_init_from_brings_the_settings_of_its_tokenizer(here):
    """Those that are typed stay, and are refused where the tokenizer is another."""
    words = [word for word in WORDS if not word.startswith("data.tokenizer")]
    typed(*words, "init_from=runs/of4", "name=new", "trainer.max_steps=1", "data.tokenizer.sampling=0.1")
    new, old = Run.open(here / "runs/new"), Run.open(here / "runs/of4")
    assert new.tokenizers.digest() == old.tokenizers.digest()
    found = new.config.data.tokenizer
    assert (found.vocab_size, found.kind.name, found.sampling) == (290, "bpe", 0.1)
    typed("-m", *words, "init_from=runs/of4", "sweep=s", "seed=1,2", "trainer.max_steps=1")
    assert read_config(here / "runs/s/seed_2").data.tokenizer.vocab_size == 290
    said = refused(*words, "init_from=runs/of4", "name=other", "data.tokenizer.vocab_size=300")
    assert "vocab_size=290, not 300" in said
