"""scripts/compare_runs.py on run directories written by hand."""

import io
import json
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def write_run(folder: Path, attention: dict, seed: int, bleu: float | None, beam: int = 5) -> None:
    folder.mkdir(parents=True)
    model = {"name": "lstm", "hidden_size": 8, "attention": attention}
    config = {"name": folder.name, "sweep": "s", "seed": seed, "model": model, "logger": {"every": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    events = [
        {"event": "train", "tokens_per_second": 100.0 * seed},
        {"event": "train", "tokens_per_second": 300.0 * seed},
        {"event": "end", "minutes": 2.0},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    if bleu is not None:
        how = {"decode": {"beam_size": beam}, "checkpoint": "best", "sentences": 9}
        for name, value in {"flickr": bleu, "validation": 0.0}.items():
            (folder / "scores" / name).mkdir(parents=True)
            result = {"scores": {"bleu": {"value": value}, "chrf": {"value": value * 2}}, **how}
            (folder / "scores" / name / "results.json").write_text(json.dumps(result), encoding="utf-8")


@dataclass(frozen=True)
class Done:
    """What a script said; like subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


def compare(*words: object) -> Done:
    """Run the script in this process: a new one would import torch each time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    script = str(ROOT / "scripts" / "compare_runs.py")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [script, *map(str, words)])
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = 1 if isinstance(end.code, str) else int(end.code or 0)
            print(end.code, file=sys.stderr)
    return Done(code, out.getvalue(), err.getvalue())


def test_the_script_runs_by_itself(tmp_path):
    """In a process of its own, as a user starts it."""
    command = [sys.executable, str(ROOT / "scripts" / "compare_runs.py"), str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (out.returncode, out.stdout) == (1, "")
    assert "no run directory" in out.stderr


@pytest.fixture
def sweep(tmp_path):
    for seed, bleu in {1: 30.0, 2: 31.0, 3: 35.0}.items():
        write_run(tmp_path / f"global-seed_{seed}", {"name": "global"}, seed, bleu)
    write_run(tmp_path / "local_m-seed_1", {"name": "local_m", "half_width": 5}, 1, 20.0)
    write_run(tmp_path / "local_p-seed_1", {"name": "local_p", "half_width": 5}, 1, None)
    return tmp_path


def test_mean_and_spread_over_seeds(sweep):
    """mean 32, sample variance (4 + 1 + 9) / 2 = 7; configurations are named by what differs and nothing else."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in compare(sweep).stdout.splitlines()[:5]]
    assert rows[0] == ["configuration", "seeds", "bleu flickr", "chrf flickr", "minutes", "tokens/s"]
    spread = ["32.00 ± 2.65 (30.00 to 35.00)", "64.00 ± 5.29 (60.00 to 70.00)"]
    assert rows[2] == ["model.attention=global", "1, 2, 3", *spread, "2.0", "400"]
    assert rows[3] == ["model.attention=local_m", "1", "20.00", "40.00", "2.0", "200"]
    assert rows[4] == ["model.attention=local_p", "1", "-", "-", "2.0", "200"]


def test_a_line_that_a_crash_cut_short_is_not_read(sweep):
    before = compare(sweep).stdout
    with (sweep / "local_m-seed_1" / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "train", "tok')
    assert compare(sweep).stdout == before


@pytest.mark.parametrize(
    "damage", [b'{"event": "train", "tok', b"", b"\xff\xfe", b"[1, 2]", b"3", b'{"step": 1}', b"\0\0"]
)
def test_a_damaged_line_is_skipped_and_named(sweep, damage):
    """The numbers of all other lines count."""
    before, log = compare(sweep).stdout, sweep / "local_m-seed_1" / "log.jsonl"
    first, *rest = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([first, damage, *rest]))
    out = compare(sweep)
    assert (out.returncode, out.stdout) == (0, before)
    assert out.stderr == f"warning: {log}, line 2 is damaged and was skipped\n"


def test_runs_without_results_are_named(sweep):
    assert f"no results: {sweep / 'local_p-seed_1'}" in compare(sweep).stdout


def test_the_columns_can_be_chosen(sweep):
    head = compare(sweep, "--metric", "chrf", "--set", "validation").stdout.splitlines()[0]
    assert head == "| configuration | seeds | chrf validation | minutes | tokens/s |"


def test_a_key_that_differs_among_those_that_have_it_is_shown(sweep):
    write_run(sweep / "wide", {"name": "local_m", "half_width": 9}, 1, 21.0)
    out = compare(sweep).stdout
    assert "| model.attention=local_m model.attention.half_width=9 |" in out
    assert "| model.attention=global |" in out


def test_results_made_in_another_way_have_columns_that_say_so(sweep):
    """And are not taken for the run's; those of an ensemble are not shown."""
    limited = {"decode": {}, "checkpoint": "best", "sentences": 2, "set_sentences": 1000, "name": "flickr"}
    scores = {"bleu": {"value": 99.0}}
    for folder, difference in (
        ("flickr/limit_2-beam_size_3", {"limit": 2, "beam_size": 3}),
        ("with-b-1a2b/flickr", {}),
    ):
        path = sweep / "global-seed_1" / "scores" / folder / "results.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"scores": scores, "difference": difference, **limited}), encoding="utf-8")
    head, _, row, *_ = compare(sweep, "--metric", "bleu").stdout.splitlines()
    assert "| bleu flickr | bleu flickr (2 of 1,000 sentences, beam_size=3) | minutes" in head
    assert "| 32.00 ± 2.65 (30.00 to 35.00) | 99.00 |" in row


def test_scores_of_different_decoding_are_not_passed_over_in_silence(sweep):
    assert "not comparable" not in compare(sweep).stdout
    write_run(sweep / "beam", {"name": "global"}, 4, 21.0, beam=1)
    assert "not comparable: flickr" in compare(sweep).stdout
