"""Run directories: names that need no quotes, folders that are never shared, damage that is named."""

import json
import re
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmt.cli.on_run import directories
from nmt.config import MAX_NAME, Config
from nmt.data.corpus import FilesConfig, PhrasesConfig, TextFiles
from nmt.data.tokenizer import train_tokenizers
from nmt.errors import ConfigError, RunError
from nmt.eval.alignment import AlignConfig
from nmt.models import LSTMConfig
from nmt.models.attention import LocalPConfig
from nmt.runs import checkpoint
from nmt.runs.directory import (
    ORIGIN,
    TOKENIZER,
    Run,
    alignment_config,
    create_directory,
    directory_for,
    newest_run,
    read_config,
    read_data,
    recorded_name,
    run_name,
    runs_of_name,
    save_config,
    write_json,
    write_text_file,
)
from nmt.runs.lock import sole_writer
from nmt.translate.loaded import load

CPU = torch.device("cpu")


@given(st.lists(st.text(max_size=80), max_size=6))
def test_a_name_is_one_short_folder_that_needs_no_quotes(parts):
    """Whatever was typed: no path, nothing hidden, nothing that a shell or Hydra would read."""
    name = run_name(parts)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert len(f"{name}-9999") <= MAX_NAME


@given(st.lists(st.text(string.ascii_letters + string.digits + "._", min_size=40, max_size=80), min_size=3, max_size=6))
def test_long_names_stay_different(parts):
    """What is cut off still tells two names apart."""
    assert run_name(parts) != run_name([*parts[:-1], parts[-1] + "x"])


def test_a_place_is_below_runs_and_its_sweep():
    assert directory_for(Config(runs="r", name="n")) == Path("r/n")
    assert directory_for(Config(runs="r", sweep="s", name="n")) == Path("r/s/n")


def made(wanted: Path, name: str | None = None) -> Path:
    """A run directory as training makes it: its config.yaml records the name that was asked for."""
    directory = create_directory(wanted)
    config = Config(model=LSTMConfig(attention=LocalPConfig()), data=PhrasesConfig(), name=name or wanted.name)
    save_config(directory, config)
    return directory


def test_a_taken_name_gets_a_number(tmp_path):
    """Whether or not what takes it is a run."""
    assert [made(tmp_path / "x" / "a").name for _ in range(3)] == ["a", "a-2", "a-3"]
    assert [create_directory(tmp_path / "b").name for _ in range(3)] == ["b", "b-2", "b-3"]


def test_processes_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        directories_made = list(pool.map(lambda _: create_directory(tmp_path / "a"), range(40)))
    assert len(set(directories_made)) == 40


def test_the_newest_is_the_highest_number(tmp_path):
    """Numbers, not letters; others' names that begin alike do not count; gaps do not matter."""
    assert newest_run(tmp_path / "a") is None
    for name in ("a", "a-2", "a-9", "a-10", "a-10b", "a-seed_3", "ab", "a-1", "a-02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 1\nname: a\n")
    (tmp_path / "a-99").touch()
    assert newest_run(tmp_path / "a") == tmp_path / "a-10"
    assert sorted(runs_of_name(tmp_path / "a")) == [1, 2, 9, 10]
    assert create_directory(tmp_path / "a") == tmp_path / "a-11"


def test_a_run_that_was_named_with_a_number_is_no_other_ones_second(tmp_path):
    """With a-2 alone, a run of that name, there is no run of a; and a-2 is found by its own name."""
    own = made(tmp_path / "a-2")
    assert newest_run(tmp_path / "a") is None
    assert newest_run(tmp_path / "a-2") == own
    first = made(tmp_path / "a")
    assert first.name == "a"
    assert newest_run(tmp_path / "a") == first
    second = made(tmp_path / "a")  # a-2 is taken
    assert second.name == "a-3"
    assert newest_run(tmp_path / "a") == second
    assert [made(tmp_path / "a-2").name, newest_run(tmp_path / "a-2")] == ["a-2-2", tmp_path / "a-2-2"]
    assert newest_run(tmp_path / "a") == second


def test_the_second_run_of_a_name_can_also_be_named_by_its_folder(tmp_path):
    made(tmp_path / "a")
    second = made(tmp_path / "a")
    assert second.name == "a-2"
    assert newest_run(tmp_path / "a") == newest_run(tmp_path / "a-2") == second


def test_the_first_run_may_have_been_deleted_or_renamed(tmp_path):
    first, second = made(tmp_path / "a"), made(tmp_path / "a")
    first.rename(tmp_path / "b")
    assert newest_run(tmp_path / "a") == second
    assert newest_run(tmp_path / "b") == tmp_path / "b"
    assert made(tmp_path / "a").name == "a-3"


@pytest.mark.parametrize(
    ("text", "name"),
    [("name: a\n", "a"), ("seed: 1\nname: '12'\nruns: [", "12"), ("name: null\n", "default"), ("seed: 1\n", None)],
)
def test_the_recorded_name_is_read_without_the_rest(tmp_path, text, name):
    """So that a config.yaml that somebody damaged elsewhere still says whose run it is."""
    assert recorded_name(tmp_path) is None
    (tmp_path / "config.yaml").write_text(text)
    assert recorded_name(tmp_path) == name


def test_writing_is_whole_or_not_at_all(tmp_path):
    write_text_file(tmp_path / "sub" / "x", "old\r\nline")
    assert (tmp_path / "sub" / "x").read_bytes() == b"old\r\nline"
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="could not be written"):
        write_text_file(tmp_path / "file" / "x", "new")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "sub", "x"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with a tiny model."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    data = PhrasesConfig()
    data.tokenizer.vocab_size = 300
    attention = LocalPConfig(hidden_size=4, half_width=2)
    config = Config(model=LSTMConfig(hidden_size=8, attention=attention), data=data)
    config.decode.max_length = 5
    save_config(directory, config)
    train_tokenizers(data.tokenizer, ["one two three"], ["eins zwei drei"], seed=1).save(directory / TOKENIZER)
    torch.manual_seed(0)
    for step, file in enumerate((checkpoint.BEST, checkpoint.LAST), 7):
        state = Run.open(directory).build().state_dict()
        checkpoint.save(directory / file, {"model": state, "step": step})
    return directory


def test_a_run_is_what_was_saved(run):
    opened = Run.open(run)
    assert opened.config.model == LSTMConfig(hidden_size=8, attention=LocalPConfig(hidden_size=4, half_width=2))
    models = [opened.load_model(which, CPU) for which in ("best", "last")]
    assert [step for _, step in models] == [7, 8]
    assert not models[0][0].training
    first, second = (torch.cat([p.flatten() for p in model.parameters()]) for model, _ in models)
    assert not torch.equal(first, second)


def weights(run: Run, which: str) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.load_model(which, CPU)[0].parameters()])


def test_averages_of_kept_weights(run, tmp_path):
    """avg:K is the mean of the K latest, best:K of the K best; too few are counted, and named."""
    copy_without(run, tmp_path, "")
    opened, losses = Run.open(tmp_path), {10: 5.0, 20: 1.0, 30: 4.0, 40: 2.0}
    with pytest.raises(RunError, match=r"checkpoint=avg:1: .* has none; train with trainer\.keep_last=1"):
        opened.weights("avg:1")
    single = {}
    for step, loss in losses.items():
        model = opened.build()
        single[step] = torch.cat([p.detach().flatten() for p in model.parameters()])
        state = {"model": model.state_dict(), "step": step, "metrics": {"loss": loss}}
        checkpoint.save(tmp_path / f"checkpoints/step-{step:08d}.pt", state)
    for which, steps in {"avg:1": [40], "avg:3": [20, 30, 40], "best:1": [20], "best:3": [20, 40, 30]}.items():
        assert [path.stem for path in opened.weights(which)] == [f"step-{step:08d}" for step in steps]
        torch.testing.assert_close(weights(opened, which), torch.stack([single[s] for s in steps]).mean(0))
        assert opened.load_model(which, CPU)[1] == max(steps)
    with pytest.raises(
        RunError, match=r"best:5: .* only step-00000010, .*step-00000040; train with trainer\.keep_best=5"
    ):
        opened.weights("best:5")
    assert torch.equal(weights(opened, "best"), weights(Run.open(run), "best"))


@pytest.mark.parametrize("which", ["avg", "avg:0", "avg:-1", "last:2", "best:", "bset", "avg:1.5"])
def test_no_other_weights_can_be_asked_for(run, which):
    with pytest.raises(ConfigError, match=r"checkpoint must be best, last, avg:K or best:K, got"):
        Run.open(run).weights(which)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a", [["a"]]),
        (["a"], [["a"]]),
        (["a", "b"], [["a"], ["b"]]),
        ([["a", "b"]], [["a", "b"]]),
        (["a", ["b", "c"]], [["a"], ["b", "c"]]),
    ],
)
def test_lists_of_runs_and_lists_in_them(typed, meant):
    assert directories(typed) == [[Path(name) for name in inner] for inner in meant]


@pytest.mark.parametrize("typed", ["", None, [], [[]], ["a", []]])
def test_no_run_is_refused(typed):
    with pytest.raises(ConfigError, match="names no run directory"):
        directories(typed)


def test_a_moved_run_translates_the_same(run, tmp_path):
    """load(DIR) needs nothing but the directory: one line for each text, blank ones included."""
    texts = ["one two", "", "  \n", "three", "zero \u2028 weird \x00 \U0001f600"]
    before = load(run, device="cpu").translate(texts)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in run.rglob("*"):
        if path.is_file():
            (moved / path.relative_to(run)).parent.mkdir(exist_ok=True)
            (moved / path.relative_to(run)).write_bytes(path.read_bytes())
    assert load(moved, device="cpu").translate(texts) == before
    assert before[1:3] == ["", ""]
    assert not any("\n" in text or "\r" in text for text in before)


def copy_without(run: Path, target: Path, name: str) -> Path:
    for path in run.rglob("*"):
        if path.is_file() and path.name != name:
            (target / path.relative_to(run)).parent.mkdir(exist_ok=True)
            (target / path.relative_to(run)).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize(
    ("missing", "message"),
    [("config.yaml", "no config.yaml"), ("best.pt", "there is checkpoint=last"), ("joint.model", "tokenizer")],
)
def test_what_is_missing_is_named(run, tmp_path, missing, message):
    with pytest.raises(RunError, match=message) as caught:
        load(copy_without(run, tmp_path, missing), device="cpu")
    assert str(tmp_path) in str(caught.value)


def test_weights_that_do_not_fit_are_refused(run, tmp_path):
    copy_without(run, tmp_path, "config.yaml")
    config = read_config(run)
    config.model.hidden_size = 10  # type: ignore[attr-defined]
    save_config(tmp_path, config)
    with pytest.raises(RunError, match=r"best\.pt does not fit .*config\.yaml"):
        load(tmp_path, device="cpu")


def test_relative_paths_are_found_from_where_the_run_was_trained(tmp_path, monkeypatch):
    """A path that is only there gets that folder before it; one that is here stays, as does one that is nowhere."""
    home, away, run = (tmp_path / name for name in ("home", "away", "run"))
    for path in (home / "text" / "a.en", home / "text" / "a.de", home / "here", away / "here", home / "en"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    data = FilesConfig(
        train=TextFiles(["text/a.en", "text/gone.en"], "text/a.de"),
        validation=TextFiles("here", "here"),
        tests={"t": TextFiles("text/a.en", "text/a.de")},
    )
    save_config(run, Config(model=LSTMConfig(attention=LocalPConfig()), data=data))
    write_json(run / ORIGIN, {"folder": str(home)})
    monkeypatch.chdir(away)
    found = read_data(run)
    assert found["train"]["source"] == [str(home / "text/a.en"), "text/gone.en"]
    assert found["train"]["target"] == str(home / "text/a.de")
    assert found["validation"] == {"source": "here", "target": "here", "gold": None}
    assert found["tests"]["t"]["source"] == str(home / "text/a.en")
    assert found["source"] == "en", "a language is no path, whatever lies around"
    (run / ORIGIN).write_text(json.dumps([]), encoding="utf-8")
    assert read_data(run)["train"]["target"] == "text/a.de"


@pytest.mark.parametrize(
    ("layer", "head", "read"),
    [(None, None, (2, 3)), (None, 4, (2, 4)), (-1, None, (-1, None)), (1, 4, (1, 4))],
)
@pytest.mark.parametrize("key", ["guided_alignment", "agreement"])
def test_the_head_that_was_taught_is_read_unless_another_is_asked_for(key, layer, head, read):
    """A head alone is one of that layer, a layer alone the mean of its heads."""
    config = Config(model=LSTMConfig(attention=LocalPConfig()), data=PhrasesConfig())
    asked = AlignConfig(layer=layer, head=head, shift=1)
    assert alignment_config(config, asked) == asked
    setattr(config.trainer, key, 0.05)
    config.trainer.guided_layer, config.trainer.guided_head = 2, 3
    found = alignment_config(config, asked)
    assert (found.layer, found.head, found.shift) == (*read, 1)


@pytest.mark.parametrize(("asked", "read"), [(None, 1), (0, 0), (1, 1)])
def test_the_guided_step_is_read_unless_another_is_asked_for(asked, read):
    config = Config(model=LSTMConfig(attention=LocalPConfig()), data=PhrasesConfig())
    config.trainer.guided_shift = 1
    assert alignment_config(config, AlignConfig(shift=asked)).steps_later == (asked or 0)  # nothing was guided
    config.trainer.guided_alignment = 0.05
    assert alignment_config(config, AlignConfig(shift=asked)).steps_later == read


@pytest.mark.parametrize("name", ["config.yaml", "tokenizer.json", "joint.model", "best.pt"])
def test_damage_is_named_by_the_file(run, tmp_path, name):
    """A bit in the middle of each."""
    copy_without(run, tmp_path, "")
    [path] = tmp_path.rglob(name)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(RunError, match="damaged") as caught:
        load(tmp_path, device="cpu")
    assert str(path.parent) in str(caught.value)
    assert name in str(caught.value) or name == "tokenizer.json"


def test_damage_of_what_says_where_the_data_is(run, tmp_path):
    copy_without(run, tmp_path, "")
    write_json(tmp_path / ORIGIN, {"folder": "/home/a"})
    changed = (tmp_path / ORIGIN).read_text().replace("home", "hole")
    (tmp_path / ORIGIN).write_text(changed)
    with pytest.raises(RunError, match=rf"{ORIGIN}: damaged, or changed by hand"):
        read_data(tmp_path)


def test_a_configuration_without_a_checksum_is_read(run, tmp_path):
    """As earlier versions wrote it, and whoever changed it by hand."""
    copy_without(run, tmp_path, "")
    path = tmp_path / "config.yaml"
    text = path.read_text().replace("beam_size: 5", "beam_size: 3")
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("#")))
    assert read_config(tmp_path).decode.beam_size == 3


def test_a_folder_that_was_left_before_anything_was_written_is_taken(tmp_path):
    """Its process was killed right after it had locked it; one that is locked, or has more in it, is another's."""
    wanted, second, third = (tmp_path / name for name in ("a", "a-2", "a-3"))
    assert create_directory(wanted) == wanted
    assert create_directory(wanted) == second, "the process of the first has not locked it yet"
    with sole_writer(wanted), sole_writer(second):
        assert create_directory(wanted) == third
    (wanted / ".config.yaml.1.tmp").touch()  # a draft
    assert create_directory(wanted) == wanted
    (wanted / "config.yaml").write_text("name: a\n")
    assert create_directory(wanted) == second
