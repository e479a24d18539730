"""docs/log_format.md is what a training writes: no event and no key that the page does not have, and none missing."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

import nmt
from nmt.errors import ConfigError
from nmt.eval.challenges import TITLES
from nmt.eval.metrics import METRICS
from nmt.runs.directory import read_json
from nmt.train.log import LoggerConfig, RunLog

PAGE = Path(__file__).parents[2] / "docs" / "log_format.md"
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
TINY = [
    *("model.hidden_size=16", "model.attention=local_p", "data.train_size=200", "data.validation_size=8"),
    *("data.test_size=9", "data.tokenizer.vocab_size=400", "trainer.max_steps=2", "trainer.validate_every=1"),
    *("logger.every=1", "logger.tensorboard=false", "decode=greedy", "decode.max_length=12", "device=cpu", "threads=1"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Its directory, its log, the results of each set, and what was printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(tmp_path_factory.mktemp("logged"))
        run = nmt.train(TINY)
        history, directory = run.history, Path(run.directory).resolve()
        scores = {path.parent.name: read_json(path) for path in directory.glob("scores/*/*.json")}
    return directory, history, scores, printed.getvalue()


@pytest.fixture(scope="module")
def history(trained):
    """Its log, with what a second start after damage to its last state adds, and one that an error ends."""
    directory, history, *_ = trained
    last = directory / "checkpoints" / "last.pt"
    changed = bytearray(last.read_bytes())
    changed[len(changed) // 2] ^= 1
    last.write_bytes(changed)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(directory.parents[1])
        resumed = nmt.train([*TINY, f"name={directory.name}", "resume=true"]).history
        ended = directory.with_name("ended")
        with pytest.raises(ConfigError), RunLog(ended, LoggerConfig(tensorboard=False)):
            raise ConfigError("a reason")
    return history + resumed + [json.loads(line) for line in (ended / "log.jsonl").read_text("utf-8").splitlines()]


def test_the_faults_of_a_set_are_one_table_and_one_line(trained):
    """Those of every set that is scored, with the words of the training text; results.json has the same."""
    _, history, scores, printed = trained
    order = [(e["event"], e["set"]) for e in history if e["event"] in ("scored", "challenges")]
    assert order == [(event, name) for name in ("validation", "test") for event in ("scored", "challenges")]
    for name, text in zip(("validation", "test"), printed.split("\nvalidation: ")[1].split("\ntest: "), strict=True):
        (line,) = (e for e in history if e["event"] == "challenges" and e["set"] == name)
        assert {key: line[key] for key in TITLES} == scores[name]["challenges"]
        assert None not in line.values()
        for key, title in TITLES.items():
            (row,) = re.findall(rf"^  {re.escape(title)} +(.*)$", text, re.MULTILINE)
            assert row.endswith(f"  {line[key]['part']:,} of {line[key]['of']:,}") or (row, line[key]["of"]) == ("-", 0)


def documented() -> dict[str, set[str]]:
    """Of each kind of event the words in code type of its last column."""
    return {kind: set(re.findall(r"`(\w+)`", keys)) for kind, _, keys in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_the_page_has_every_event_and_key(history):
    page = documented()
    assert {event["event"] for event in history} == page.keys()
    figures = {"loss", "ppl", "aer", *METRICS}  # which the page calls metrics
    for event in history:
        unknown = event.keys() - page[event["event"]] - {"event", "time", "step"}
        if event["event"] in ("validation", "scored"):
            unknown -= figures
        assert not unknown, f"{event['event']} has {unknown}"
        assert isinstance(event["time"], int | float)


def test_every_key_of_the_page_is_written(history):
    page = documented()
    inner = {"source", "reference", "translation"}  # of each sample
    for kind in page.keys() - {"challenges"}:  # which has a test of its own
        written = set().union(*(event.keys() for event in history if event["event"] == kind))
        named = page[kind] - inner - {"patience", "epochs", "steps", "interrupted", "trainer"}
        assert named <= written, f"{kind}: {named - written} is not written"
