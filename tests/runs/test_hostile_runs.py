"""A run directory from a stranger: no command that loads it executes what it holds, or reads what lies outside it."""

import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from tiny_runs import MODELS, make_run, save_weights

import nmt
from nmt.checksum import json_with_checksum
from nmt.cli import align, eval, export, train, translate
from nmt.data.corpus import PhrasesConfig, open_corpus
from nmt.runs import checkpoint
from nmt.runs.directory import CONFIG_FILE, read_json, write_json

SECRET = "a secret of this computer"
# What Python tells its audit hooks of execution; torch.load and YAML would go through them, too.
EXECUTION = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class")
seen: list[tuple[str, str]] = []
watching = [False]


def audit(event: str, args: tuple[Any, ...]) -> None:
    if watching[0] and (event in EXECUTION or event == "open"):
        seen.append((event, str(args[0]) if args else ""))


sys.addaudithook(audit)  # which cannot be removed


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def change_config(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """What somebody who knows how to leave the checksum out can write."""
    tree = yaml.safe_load((run / CONFIG_FILE).read_text())
    change(tree)
    (run / CONFIG_FILE).write_text(yaml.safe_dump(tree))


def pickled_weights(run: Path, outside: Path) -> None:
    for name in (checkpoint.BEST, checkpoint.LAST):
        torch.save({"format": 1, "model": Payload(outside / "marker"), "step": 1}, run / name)


def old_pickle(run: Path, outside: Path) -> None:
    for name in (checkpoint.BEST, checkpoint.LAST):
        (run / name).write_bytes(pickle.dumps({"format": 1, "model": Payload(outside / "marker")}, protocol=2))


def yaml_tag(run: Path, outside: Path) -> None:
    (run / CONFIG_FILE).write_text(f"!!python/object/apply:os.system ['touch {outside}/marker']\n")


def yaml_tag_inside(run: Path, outside: Path) -> None:
    text = (run / CONFIG_FILE).read_text().partition("# sha256")[0]
    (run / CONFIG_FILE).write_text(f"{text}more: !!python/object/apply:os.system ['touch {outside}/marker']\n")


def target(run: Path, outside: Path) -> None:
    payload = {"_target_": "os.system", "_args_": [f"touch {outside}/marker"]}
    change_config(run, lambda tree: tree["decode"].update(payload))


def target_as_model(run: Path, outside: Path) -> None:
    change_config(run, lambda tree: tree.update(model={"_target_": "os.system", "command": f"touch {outside}/marker"}))


def tokenizer_outside(run: Path, outside: Path) -> None:
    """A name in tokenizer.json that leads out of the folder."""
    file = run / "tokenizer" / "tokenizer.json"
    side = next(iter(read_json(file).values())) | {"kind": "word"}
    side.pop("sha256", None)
    place = os.path.relpath(outside / "secret", file.parent)
    file.write_text(json_with_checksum({place: side, "source": side, "target": side}))


def tokenizer_of_another_program(run: Path, outside: Path) -> None:
    model = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    for file in (run / "tokenizer").iterdir():
        file.write_text(json.dumps(model))


def pickled_tokenizer(run: Path, outside: Path) -> None:
    for file in (run / "tokenizer").iterdir():
        file.write_bytes(pickle.dumps(Payload(outside / "marker")))


REFUSED = (
    *(pickled_weights, old_pickle, yaml_tag, yaml_tag_inside, target, target_as_model),
    *(tokenizer_outside, tokenizer_of_another_program, pickled_tokenizer),
)  # fmt: skip


def interpolations(run: Path, outside: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["name"] = "${oc.env:NMT_SECRET}"
        tree["data"]["cache"] = "${oc.env:NMT_SECRET}"
        tree["decode"]["ensemble"] = tree["decode"].get("ensemble")
        tree["init_from"] = "${oc.create:${oc.env:NMT_SECRET}}"

    change_config(run, change)
    write_json(run / "origin.json", {"folder": "${oc.env:NMT_SECRET}", "command": ["${oc.env:NMT_SECRET}"]})


COMMANDS: dict[str, tuple[ModuleType | None, str]] = {
    "translate": (translate, "run={run} input={text} output={folder}/out.txt device=cpu"),
    "eval": (eval, "run={run} data.test=[test] data.test_size=3 device=cpu"),
    "align": (align, "run={run} source={text} target={text} device=cpu"),
    "export": (export, "run={run} to=ctranslate2 threads=1"),
    "init_from": (train, "init_from={run} name=new runs={folder} data.cache={folder}/cache device=cpu"),
    "resume": (train, "resume=true name=run runs={folder} data.cache={folder}/cache device=cpu"),
    "load": (None, ""),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.json").write_text(json.dumps([SECRET, "b", "c"]))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = make_run(tmp_path / "runs" / "run", MODELS["transformer"])
    save_weights(made, checkpoint.LAST, 0)
    return made


@pytest.fixture(scope="module", autouse=True)
def locales_read() -> None:
    """The data of languages that Babel brings are pickles of its own, read once a process."""
    open_corpus(PhrasesConfig()).validation()


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    seen.clear()
    with patch.dict(os.environ, {"NMT_SECRET": SECRET}):
        yield
    watching[0] = False


def said(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says of a run, on whatever stream, and with which message it ends."""
    module, words = COMMANDS[name]
    text = run.parent / "text.txt"
    text.write_text("one two three\n")
    filled = words.format(run=run, text=text, folder=run.parent)
    watching[0] = True
    ending = ""
    try:
        if module is None:
            ending = str(nmt.load(run).translate(["one two three"]))
        else:
            with patch.object(sys, "argv", ["nmt", *filled.split()]):
                module.main()
    except (SystemExit, ValueError) as error:
        ending = str(error)
    finally:
        watching[0] = False
    streams = capsys.readouterr()
    return f"{streams.out}{streams.err}{ending}"


def executed(outside: Path) -> list[tuple[str, str]]:
    """What was executed, or read outside the run, but for git, which is asked about the source tree."""
    return [(e, what) for e, what in seen if (e in EXECUTION and what != "git") or str(outside) in what]


# Every command meets something hostile, and everything hostile meets two commands, in the fast tests.
OTHERS = [name for name in COMMANDS if name != "load"]
PAIRS = [
    pytest.param(make, name, marks=() if name in ("load", OTHERS[row % len(OTHERS)]) else pytest.mark.slow)
    for row, make in enumerate(REFUSED)
    for name in COMMANDS
]


@pytest.mark.parametrize(("make", "name"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_hostile_is_refused_in_one_line_and_nothing_of_it_is_executed(name, make, run, outside, capsys):
    make(run, outside)
    message = said(name, run, capsys)
    assert not (outside / "marker").exists()
    assert executed(outside) == []
    assert str(run.name) in message
    assert SECRET not in message
    assert "Traceback" not in message
    assert name == "resume" or not (run.parent / "new").exists()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("resume", "init_from")])
def test_interpolations_stay_the_text_that_they_are(name, run, outside, capsys):
    """The environment is not read for them: what is said and written does not have it."""
    interpolations(run, outside)
    message = said(name, run, capsys)
    assert executed(outside) == []
    assert SECRET not in message
    for path in run.parent.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
