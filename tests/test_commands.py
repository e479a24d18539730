"""The commands one after the other on one tiny run: train, resume, score, align, translate, compare."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nmt.eval import align
from nmt.eval import run as scoring
from nmt.runs import Run, read_config
from nmt.train import checkpoint
from nmt.train import run as training

ROOT = Path(__file__).parents[1]
TINY = (
    *("model.hidden_size=16", "model.attention=local_p", "model.attention.half_width=2"),
    *("data.train_size=200", "data.validation_size=8", "data.test_size=9", "data.max_words=10"),
    *("data.tokenizer.vocab_size=400", "trainer.max_steps=4", "trainer.validate_every=2", "logger.heatmaps=1"),
    *("decode=greedy", "decode.max_length=12", "threads=1", "device=cpu", "name=tiny"),
)  # fmt: skip


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Type words after a command, in a folder of its own; returns the folder."""
    threads, folder = torch.get_num_threads(), tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")

        def typed(main, *words: str) -> Path:
            patch.setattr(sys, "argv", ["nmt", *words])
            main()
            return folder

        yield typed
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(typed) -> Path:
    """A trained run."""
    return typed(training.main, *TINY) / "runs" / "tiny"


def results(run: Path, name: str = "test") -> dict:
    return json.loads((run / "scores" / name / "results.json").read_text(encoding="utf-8"))


def test_a_run_directory_holds_everything(run):
    """And nothing else is written, but the cache of the data."""
    have = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in have if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert have - events == {
        *("config.yaml", "origin.json", "log.jsonl", "tokenizer/tokenizer.json", "tokenizer/joint.model"),
        *("checkpoints/best.pt", "checkpoints/last.pt"),
        *(f"scores/{s}/{f}.txt" for s in ("test", "validation") for f in ("source", "reference", "hypotheses")),
        *(f"scores/{s}/results.json" for s in ("test", "validation")),
    }  # fmt: skip
    assert {p.name for p in run.parents[1].iterdir()} == {"runs", "data"}
    assert read_config(run).trainer.precision.name in ("fp32", "bf16"), "resolved, not auto"


def test_scores_say_what_was_scored_and_how(run):
    found = results(run)
    assert found["sentences"] == 9
    assert set(found["scores"]) == {"bleu", "chrf", "ter"}
    assert all(score["signature"] for score in found["scores"].values())
    assert (found["checkpoint"], found["decode"]["beam_size"]) == ("best", 1)
    assert found["step"] in (2, 4)
    assert found["seconds"] > 0


def test_nmt_eval_says_what_training_said(run, typed, capsys):
    """The same numbers, from the run directory alone; and sacreBLEU's command line agrees on the files."""
    before, hypotheses = results(run), (run / "scores" / "test" / "hypotheses.txt").read_bytes()
    typed(scoring.main, "run=runs/tiny", "data.test=[test]")
    printed, after = capsys.readouterr().out, results(run)
    assert after["scores"] == before["scores"]
    assert after["loss"] == before["loss"]
    assert (run / "scores" / "test" / "hypotheses.txt").read_bytes() == hypotheses
    assert after["scores"]["bleu"]["signature"] in printed
    words = ["sacrebleu", "reference.txt", "-i", "hypotheses.txt", "-m", "bleu", "chrf", "-w", "6"]
    out = subprocess.run([sys.executable, "-m", *words], cwd=run / "scores" / "test", capture_output=True, check=True)
    for name, line in zip(("bleu", "chrf"), json.loads(out.stdout), strict=True):
        assert line["score"] == pytest.approx(after["scores"][name]["value"], abs=1e-5)


def test_the_best_step_of_the_log_is_the_one_scored(run):
    """On the whole validation set here: the same evaluation in training and at the end."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    best = [e for e in events if e["event"] == "validation" and e["improved"]][-1]
    found = results(run, "validation")
    assert found["step"] == best["step"]
    assert found["loss"] == pytest.approx(best["loss"], rel=1e-6)
    assert found["scores"]["bleu"]["value"] == pytest.approx(best["bleu"])


def test_translating_a_pipe(run):
    """nmt.translate, as typed, gives the hypotheses of nmt.eval and keeps blank lines where they were."""
    folder = run / "scores" / "test"
    lines, expected = ((folder / name).read_bytes().split(b"\n")[:-1] for name in ("source.txt", "hypotheses.txt"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["nmt.translate", "run=runs/tiny", "device=cpu", "threads=1"]
    text = b"\n".join([*lines, b"", b" ", lines[0]])
    command = [sys.executable, "-m", *words]
    out = subprocess.run(command, cwd=run.parents[1], env=env, input=text, capture_output=True, check=True)
    assert out.stdout == b"\n".join([*expected, b"", b"", expected[0], b""])
    assert out.stderr == b""


def test_aligning_given_translations(run, typed, capsys):
    """A line of links for each pair, and the judgement against gold links."""
    source, target = (run / "scores" / "test" / name for name in ("source.txt", "reference.txt"))
    typed(align.main, "run=runs/tiny", f"source={source}", f"target={target}", "align.shift=1")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 9
    assert err == ""
    (run / "gold").write_text(out, encoding="utf-8")
    typed(align.main, "run=runs/tiny", f"source={source}", f"target={target}", "align.shift=1", f"gold={run / 'gold'}")
    assert "AER 0.00%" in capsys.readouterr().err
    (run / "gold").write_text("0-0\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="has 1 lines for 9 sentence pairs"):
        typed(align.main, "run=runs/tiny", f"source={source}", f"target={target}", f"gold={run / 'gold'}")
    (run / "gold").unlink()


def test_comparing_two_runs(run, typed, capsys):
    """Both tests are named; a run against itself differs by nothing."""
    typed(scoring.main, "run=[runs/tiny,runs/tiny]", "eval.metrics=[bleu]", "eval.limit=5")
    out = capsys.readouterr().out
    assert "paired bootstrap resampling" in out
    assert "paired approximate randomization" in out
    assert results(run)["sentences"] == 5
    with pytest.raises(SystemExit, match="no_such"):
        typed(scoring.main, "run=runs/tiny", "data.test=[no_such]")


def test_resuming_goes_on_in_the_same_directory(run, typed):
    """From the saved step to the new limit; without anything to resume it starts."""
    typed(training.main, *TINY, "resume=true", "trainer.max_steps=6")
    assert [p.name for p in run.parent.iterdir()] == ["tiny"]
    assert checkpoint.saved_step(run / checkpoint.LAST) == 6
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in events if e["event"] == "resume"] == [4]
    assert read_config(run).trainer.max_steps == 6
    assert read_config(run).resume is False


def test_resuming_with_another_model_is_refused(run, typed):
    with pytest.raises(SystemExit, match=r"model\.hidden_size=16, not 18"):
        typed(training.main, *TINY, "resume=true", "model.hidden_size=18")


def test_starting_from_another_run(run, typed):
    """Its tokenizer and weights, a directory of its own, step 0."""
    words = (
        "init_from=runs/tiny",
        "trainer.max_steps=1",
        "optim.lr=1e-30",
        "optim.warmup=0",
        "logger.tensorboard=false",
    )
    typed(training.main, *TINY, *words, "data.train_size=150")
    started, source = Run.open(run.with_name("tiny-2")), Run.open(run)
    assert started.tokenizers.digest() == source.tokenizers.digest()
    states = [
        checkpoint.load(r.directory / w)["model"] for r, w in ((started, checkpoint.LAST), (source, checkpoint.BEST))
    ]
    for name, weights in states[0].items():
        torch.testing.assert_close(weights, states[1][name])
    assert checkpoint.saved_step(started.directory / checkpoint.LAST) == 1


def test_a_failed_start_leaves_no_directory(run, typed):
    """What cannot be trained makes no folder that the next try would have to step around."""
    with pytest.raises(SystemExit, match="nowhere"):
        typed(training.main, *TINY, "name=failed", "init_from=nowhere")
    with pytest.raises(SystemExit, match=r"data\.source"):
        typed(training.main, *TINY, "name=failed", "data.source=xx")
    assert not (run.with_name("failed")).exists()
