"""The commands one after the other on one tiny run: train, resume, score, align, translate, compare."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from werkzeug.test import Client

from nmt.cli import align, train
from nmt.cli import eval as scoring
from nmt.data.pharaoh import parse_pharaoh
from nmt.errors import RunError
from nmt.eval.alignment import score_alignments
from nmt.eval.drift import offsets
from nmt.eval.symmetrize import Symmetrize, symmetrize, turned
from nmt.runs import checkpoint
from nmt.runs.directory import Run, newest_run, read_config, read_json, save_config
from nmt.runs.start import copy_weights

ROOT = Path(__file__).parents[2]
TINY = (
    *("model.hidden_size=16", "model.attention=local_p", "model.attention.half_width=2"),
    *("data.train_size=200", "data.validation_size=8", "data.test_size=9", "data.max_words=10"),
    *("data.tokenizer.vocab_size=400", "trainer.max_steps=4", "trainer.validate_every=2", "logger.heatmaps=1"),
    *("trainer.keep_last=2",),
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
    return typed(train.main, *TINY) / "runs" / "tiny"


def results(run: Path, name: str = "test") -> dict:
    (path,) = run.glob(f"scores/{name}/results.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_directory_holds_everything(run):
    """And nothing else is written, but the cache of the data."""
    have = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in have if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert have - events == {
        *(".lock", "config.yaml", "origin.json", "log.jsonl", "tokenizer/tokenizer.json", "tokenizer/joint.model"),
        *("checkpoints/best.pt", "checkpoints/last.pt", "checkpoints/previous.pt"),
        *("checkpoints/step-00000002.pt", "checkpoints/step-00000004.pt"),
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
    assert printed.splitlines()[-1] == wanted_line(run, "tiny")
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


def wanted_line(run: Path, name: str) -> str:
    """BLEU of the test set, and the file."""
    value = results(run)["scores"]["bleu"]["value"]
    return f"BLEU on test: {value:.2f} (runs/{name}/scores/test/hypotheses.txt)"


def test_the_metric_that_chose_the_weights_is_said_and_scored(typed, capsys):
    """The loss unless another is typed, which nmt.train would otherwise not score by at the end."""
    folder = typed(train.main, *TINY, "name=chosen", "trainer.metric=chrfpp")
    chosen = folder / "runs" / "chosen"
    best = checkpoint.load(chosen / checkpoint.BEST)
    said = f"best.pt of step {best['step']} (chrfpp {best['metrics']['chrfpp']:.4f} in validation) is scored:"
    out = capsys.readouterr().out
    assert said in out
    assert out.splitlines()[-1] == wanted_line(chosen, "chosen")
    assert {"bleu", "chrf", "ter", "chrfpp"} <= results(chosen)["scores"].keys()
    assert read_config(folder / "runs" / "tiny").trainer.metric == "loss"
    shutil.rmtree(chosen)


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
    with pytest.raises(SystemExit, match=r"source\.txt has 9 lines and .*gold has 1"):
        typed(align.main, "run=runs/tiny", f"source={source}", f"target={run / 'gold'}")
    with pytest.raises(SystemExit, match=r"source: no file .*nowhere"):
        typed(align.main, "run=runs/tiny", "source=nowhere", f"target={target}")
    (run / "gold").unlink()


@pytest.mark.slow  # half a minute
def test_alignments_of_two_directions_are_merged(run, typed, capsys):
    """By two runs, by a run and a file, or by two files, which gold links judge; as symmetrize merges them."""
    typed(train.main, *TINY, "data.source=de", "data.target=en", "runs=turned", "logger.tensorboard=false")
    source, target = (run / "scores" / "test" / name for name in ("source.txt", "reference.txt"))
    named = (f"source={source}", f"target={target}")
    capsys.readouterr()

    def printed(*words: str) -> list[str]:
        typed(align.main, *words)
        return capsys.readouterr().out.splitlines()

    forward = parse_pharaoh(printed("run=runs/tiny", *named), "forward")
    back = printed("run=turned/tiny", f"source={target}", f"target={source}")
    (run / "back.align").write_text("".join(f"{line}\n" for line in back), encoding="utf-8")
    reverse = [turned(links) for links in parse_pharaoh(back, "back")]
    for other in ("turned/tiny", run / "back.align"):
        for how in (None, *(how for how in Symmetrize if how is not Symmetrize.mean)):
            choice = [] if how is None else [f"symmetrize={how.name}"]
            found = printed("run=runs/tiny", f"reverse={other}", *named, *choice)
            merge = how or Symmetrize.grow_diag_final_and
            assert found == [str(symmetrize(a, b, merge)) for a, b in zip(forward, reverse, strict=True)]
    weights = [
        [json.loads(line)["weights"] for line in printed(f"run={a}", f"source={s}", f"target={t}", "align.soft=true")]
        for a, s, t in (("runs/tiny", source, target), ("turned/tiny", target, source))
    ]
    for line, there, back_again in zip(
        printed("run=runs/tiny", "reverse=turned/tiny", *named, "symmetrize=mean"), *weights, strict=True
    ):
        expected = {(i, j) for j, row in enumerate(there) for i, w in enumerate(row) if w + back_again[i][j] > 1}
        assert {link for links in parse_pharaoh([line], "mean") for link in links.sure} == expected
    with pytest.raises(
        SystemExit, match=r"symmetrize=mean needs the weights of two runs, and reverse=.*back.align is a"
    ):
        typed(align.main, "run=runs/tiny", f"reverse={run / 'back.align'}", *named, "symmetrize=mean")
    (run / "forward.align").write_text("".join(f"{links}\n" for links in forward), encoding="utf-8")
    (run / "gold.align").write_text("".join(f"{links}\n" for links in reverse), encoding="utf-8")
    union = [symmetrize(a, b, Symmetrize.union) for a, b in zip(forward, reverse, strict=True)]
    files = (f"run={run / 'forward.align'}", f"reverse={run / 'back.align'}", "symmetrize=union")
    typed(align.main, *files, *named, f"gold={run / 'gold.align'}")
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(links) for links in union]
    assert all(str(line) in err for line in (score_alignments(union, reverse), *offsets(union, reverse)))
    with pytest.raises(SystemExit, match=r"run=.*forward\.align is a file of links, which has none"):
        typed(align.main, files[0], *named, "align.soft=true")
    with pytest.raises(SystemExit, match=r"source\.txt:1: .* is not a link"):
        typed(align.main, f"run={source}", *named)
    typed(align.main, "run=runs/tiny", "reverse=turned/tiny", *named, "align.layer=auto", "symmetrize=union")
    out, err = capsys.readouterr()
    layers = re.search(
        r"run layer 1, shift (\d); reverse layer 1, shift (\d): .*validation pairs are those of both", err
    )
    assert layers is not None
    ways = [
        (f"run={a}", f"source={s}", f"target={t}", f"align.shift={shift}")
        for a, s, t, shift in (("runs/tiny", source, target, layers[1]), ("turned/tiny", target, source, layers[2]))
    ]
    mine, theirs = (parse_pharaoh(printed(*way), "way") for way in ways)
    assert out.splitlines() == [
        str(symmetrize(a, turned(b), Symmetrize.union)) for a, b in zip(mine, theirs, strict=True)
    ]
    for words, message in (
        (("align.layer=auto",), "align.layer=auto is chosen by the agreement of two directions"),
        (("align.layer=top",), "align.layer=top is neither a number nor auto"),
        (("symmetrize=union",), "symmetrize=union merges links of two directions; give the other one by reverse=DIR"),
        (("reverse=turned/tiny", "align.soft=true"), "align.soft=true writes the weights of one direction"),
        (("reverse=runs/tiny",), "reverse=runs/tiny translates en into de, and run translates en into de: reverse has"),
        (("reverse=runs/nothing",), "runs/nothing"),
        ((f"reverse={source}",), "source.txt:1: .* is not a link"),
    ):
        with pytest.raises(SystemExit, match=message):
            typed(align.main, "run=runs/tiny", *named, *words)
    for name in ("forward.align", "back.align", "gold.align"):
        (run / name).unlink()


def test_soft_alignments(run, typed, capsys):
    """JSON lines: the words, the links that are written without align.soft, and a weight for each pair of words."""
    names = (run / "scores" / "test" / name for name in ("source.txt", "reference.txt"))
    texts = [name.read_text(encoding="utf-8").splitlines() for name in names]
    folder = run / "scores" / "test"
    words = ("run=runs/tiny", f"source={folder / 'source.txt'}", f"target={folder / 'reference.txt'}")
    typed(align.main, *words)
    hard = capsys.readouterr().out.splitlines()
    typed(align.main, *words, "align.soft=true", "output=soft.jsonl")
    assert capsys.readouterr().out == ""
    file = run.parents[1] / "soft.jsonl"
    for line, links, source, target in zip(file.read_text("utf-8").splitlines(), hard, *texts, strict=True):
        found = json.loads(line)
        assert (found["source"], found["target"], found["links"]) == (source.split(), target.split(), links)
        for j, row in enumerate(found["weights"]):
            assert len(row) == len(found["source"])
            assert f"{row.index(max(row))}-{j}" in links.split()
        assert len(found["weights"]) == len(found["target"])
    file.unlink()


def test_alignment_is_judged_while_training(run, typed, capsys):
    """With data.gold=NAME, log, console and TensorBoard have the AER that nmt.eval.align finds by the better shift.

    trainer.metric=aer makes the lowest the best.
    """
    folder, scored = run.parents[1], run / "scores" / "test"
    (folder / "mine.align").write_text("0-0 1p1\n" * 9, encoding="utf-8")
    files = {"source": scored / "source.txt", "target": scored / "reference.txt", "gold": folder / "mine.align"}
    mine = ", ".join(f"{key}: {path}" for key, path in files.items())
    words = (f"+data.tests.mine={{{mine}}}", "data.gold=mine", "data.test=[mine]", "trainer.metric=aer")
    typed(train.main, *TINY, "name=watched", *words)
    watched = folder / "runs" / "watched"
    events = [json.loads(line) for line in (watched / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    logged = [e["aer"] for e in events if e["event"] == "validation"]
    best = checkpoint.load(watched / checkpoint.BEST)
    assert (best["step"], best["metrics"]["aer"]) == (2 * (1 + logged.index(min(logged))), min(logged))
    assert f"AER {logged[-1]:.1%}" in capsys.readouterr().out
    read = EventAccumulator(str(watched))
    read.Reload()
    assert [e.value for e in read.Scalars("validation/aer")] == pytest.approx(logged)
    named = [f"{key}={path}" for key, path in files.items()]
    found = []
    for shift in (0, 1):
        typed(align.main, "run=runs/watched", "checkpoint=last", *named, f"align.shift={shift}", "output=found.align")
        found.append(float(re.findall(r"AER ([\d.]+)%", capsys.readouterr().err)[0]))
    assert 100 * logged[-1] == pytest.approx(min(found), abs=0.006)
    by_shift = results(watched, "mine")["alignment"]
    assert set(by_shift) == {"shift 0", "shift 1"}
    shutil.rmtree(watched)
    for name in ("mine.align", "found.align"):
        (folder / name).unlink()


def test_alignment_error_cannot_choose_the_best_without_gold_or_attention(run, typed):
    """Said before training, by the keys that help."""
    words = [word for word in TINY if not word.startswith(("data.", "model.attention"))]
    blind = (*words, "data.train_size=100", "data.tokenizer.vocab_size=400", "model.attention=none")
    with pytest.raises(SystemExit, match=r"trainer\.metric=aer: .* no attention .* model\.attention$"):
        typed(train.main, *blind, "name=failed", "trainer.metric=aer")
    files = [
        f"data.{split}.{side}={run / 'scores' / name / file}.txt"
        for split, name in (("train", "test"), ("validation", "validation"))
        for side, file in (("source", "source"), ("target", "reference"))
    ]
    bare = (*words, "data=files", *files, "data.tokenizer.kind=word", "name=failed")
    with pytest.raises(SystemExit, match=r"trainer\.metric=aer needs gold word alignments: data\.gold=NAME"):
        typed(train.main, *bare, "trainer.metric=aer")
    assert not run.with_name("failed").exists()


def test_two_seeds_in_the_hparams_tab(run, typed):
    """What TensorBoard's server tells it: all settings, those that differ first, and the best weights' figures.

    Both runs are listed with all columns on, also where a key is a number in one and null in the other.
    """
    typed(train.main, *TINY, "name=other", "seed=2", "decode.max_ratio=null")
    runs = EventMultiplexer().AddRunsFromDirectory(str(run.parent))
    runs.Reload()
    provider = MultiplexerDataProvider(runs, str(run.parent))
    pages: dict[str, Any] = HParamsPlugin(TBContext(data_provider=provider, logdir=str(run.parent))).get_plugin_apps()
    columns = Client(pages["/experiment"]).post(json={"includeMetrics": True}).json
    assert columns is not None
    keys = [column["name"] for column in columns["hparamInfos"]]
    assert keys[:2] == ["decode.max_ratio", "seed"]
    assert {"model.attention.name", "model.hidden_size", "optim.lr", "data.name"} <= set(keys)
    metrics = [column["name"] for column in columns["metricInfos"]]
    shown = [metric["tag"] for metric in metrics[:5]]  # unless more are asked for
    assert shown == ["best/aer", "best/bleu", "best/chrf", "best/loss", "best/ppl"]
    asked: list[dict[str, Any]] = [
        # As the tab asks: with the range or the values that the server named.
        {"hparam": column["name"], "includeInResult": True}
        | ({"filterInterval": column["domainInterval"]} if "domainInterval" in column else {})
        | ({"filterDiscrete": column["domainDiscrete"]} if "domainDiscrete" in column else {})
        for column in columns["hparamInfos"]
    ]
    asked += [{"metric": name} for name in metrics]
    every = ["STATUS_UNKNOWN", "STATUS_RUNNING", "STATUS_SUCCESS", "STATUS_FAILURE"]
    body = {"colParams": asked, "allowedStatuses": every, "startIndex": 0, "sliceSize": 9, "includeMetrics": True}
    rows = Client(pages["/session_groups"]).post(json=body).json
    assert rows is not None
    assert sorted(row["name"] for row in rows["sessionGroups"]) == ["runs/other", "runs/tiny"]
    found = {row["sessions"][0]["name"]: row for row in rows["sessionGroups"]}
    assert sorted(found) == ["other", "tiny"]
    for name, seed in (("tiny", 1), ("other", 2)):
        assert (found[name]["hparams"]["seed"], found[name]["hparams"]["model.hidden_size"]) == (seed, 16)
        values = {value["name"]["tag"]: value["value"] for value in found[name]["metricValues"]}
        scores = results(run.with_name(name))["scores"]
        assert values["scored test/bleu"] == pytest.approx(scores["bleu"]["value"], rel=1e-6)
        best = checkpoint.load(run.with_name(name) / checkpoint.BEST)["metrics"]
        assert values["best/loss"] == pytest.approx(best["loss"], rel=1e-6)
    shutil.rmtree(run.with_name("other"))


def test_comparing_two_runs(run, typed, capsys):
    """Both tests are named; a run against itself differs by nothing."""
    typed(scoring.main, "run=[runs/tiny,runs/tiny]", "eval.metrics=[bleu]", "eval.limit=5")
    out = capsys.readouterr().out
    assert "paired bootstrap resampling" in out
    assert "paired approximate randomization" in out
    assert results(run)["sentences"] == 9, "the run's own results are still there"
    assert results(run, "test/limit_5")["sentences"] == 5
    assert "test: 5 of 9 sentences" in out
    with pytest.raises(SystemExit, match="no_such"):
        typed(scoring.main, "run=runs/tiny", "data.test=[no_such]")


def test_test_sets_are_typed_without_quotes(run, typed, capsys):
    """The validation set, too; where there is nothing to score, what to type is said."""
    scored = run / "scores" / "test"
    words = (f"data.tests.mine.source={scored / 'source.txt'}", f"data.tests.mine.target={scored / 'reference.txt'}")
    typed(scoring.main, "run=runs/tiny", *words, "data.test=mine", "eval.metrics=[bleu]")
    assert results(run, "mine")["scores"]["bleu"]["value"] == results(run)["scores"]["bleu"]["value"]
    typed(scoring.main, "run=runs/tiny", "data.test=[validation]", "eval.limit=3")
    assert results(run, "validation/limit_3")["set_sentences"] == 8
    capsys.readouterr()
    with pytest.raises(SystemExit, match=r"runs/tiny: data\.test=\[\] chooses nothing .* data\.test=null"):
        typed(scoring.main, "run=runs/tiny", "data.test=[]")
    files = [f"data.{split}.{side}=x" for split in ("train", "validation") for side in ("source", "target")]
    with pytest.raises(SystemExit, match=r"data=files has no test set; type data\.tests\.NAME\.source=FILE"):
        typed(scoring.main, "run=runs/tiny", "data=files", *files)
    assert "written to" not in capsys.readouterr().out
    shutil.rmtree(run / "scores" / "mine")


@pytest.fixture
def sweeps(run) -> Iterator[Path]:
    """Copies of the run as two sweeps: a with seeds 1, 2 and 10, b with 2, 10 and 3."""
    folder = run.parents[1] / "sweeps"
    for name, seeds in (("a", (1, 2, 10)), ("b", (2, 10, 3))):
        for seed in seeds:
            copy = folder / f"{name}-seed_{seed}"
            shutil.copytree(run, copy)
            save_config(copy, replace(read_config(copy), seed=seed))
    (folder / "notes").mkdir()
    yield folder
    shutil.rmtree(folder)


def test_patterns_name_runs_and_p_values_are_written(sweeps, typed, capsys):
    """Only run directories, in the order of their numbers; beside the results of each run but the first."""
    typed(scoring.main, "run=sweeps/a*", "eval.metrics=[bleu,chrf]", "eval.limit=4")
    out = capsys.readouterr().out
    assert re.findall(r"^(sweeps/\S+),", out, re.MULTILINE) == [f"sweeps/a-seed_{seed}" for seed in (1, 2, 10)]
    for seed in (2, 10):
        (path,) = (sweeps / f"a-seed_{seed}" / "scores" / "test" / "limit_4").glob("against*.json")
        assert f"p-values written to sweeps/{path.relative_to(sweeps)}" in out
        found = read_json(path)
        assert (found["run"], found["against"]) == (f"sweeps/a-seed_{seed}", "sweeps/a-seed_1")
        assert (found["sentences"], found["set"]) == (4, "test")
        assert [test["run"]["p_value"] for test in found["tests"]] == [1.0] * 4  # they are copies
    with pytest.raises(SystemExit, match=r"run=sweeps/c\* matches no run directory"):
        typed(scoring.main, "run=[sweeps/a*,sweeps/c*]")


@pytest.mark.slow  # two sweeps
def test_seeds_of_two_sweeps_are_paired(sweeps, typed, capsys):
    """Each seed with its own, and those without a partner are named; all p-values are in one file, too."""
    typed(scoring.main, "run=sweeps/b*", "against=sweeps/a*", "eval.metrics=[bleu]", "eval.limit=4")
    out = capsys.readouterr().out
    assert "left out, because no run of its seed is on the other side: sweeps/a-seed_1, sweeps/b-seed_3" in out
    assert "paired bootstrap resampling" in out
    assert "all 2: mean difference +0.00, Stouffer's method p = 1.0000 (if the pairs were independent), " in out
    assert "twice the mean p = 1.0000" in out
    (path,) = sweeps.glob("seeds*.json")
    assert f"p-values written to sweeps/{path.name}" in out
    found = read_json(path)
    assert found["seeds"] == [2, 10]
    assert found["run"] == ["sweeps/b-seed_2", "sweeps/b-seed_10"]
    assert found["against"] == ["sweeps/a-seed_2", "sweeps/a-seed_10"]
    assert [test["p_value_stouffer"] for test in found["tests"]] == [1.0, 1.0]
    with pytest.raises(SystemExit, match=r"against: sweeps/\S+ and sweeps/\S+ have the same seed, 2"):
        typed(scoring.main, "run=sweeps/b*", "against=sweeps/*")
    with pytest.raises(SystemExit, match="no run has the seed of one of against: seeds 3 and 1"):
        typed(scoring.main, "run=sweeps/b-seed_3", "against=sweeps/a-seed_1")


@pytest.mark.slow
def test_averages_and_ensembles_of_runs(run, typed, capsys):
    """The files of an average are named; an ensemble of a run with itself scores and aligns as the run does."""
    words = ("checkpoint=avg:2", "data.test=[test]", "eval.limit=3", "decode.precision=fp32")
    typed(scoring.main, "run=[runs/tiny,[runs/tiny,runs/tiny]]", *words)
    out = capsys.readouterr().out
    assert "runs/tiny, checkpoint=avg:2 (step-00000002.pt, step-00000004.pt), step 4" in out
    assert "runs/tiny + runs/tiny" in out
    alone = results(run, "test/checkpoint_avg_2-limit_3*")
    together = results(run, "with-runs_tiny-*/test/checkpoint_avg_2-limit_3*")
    assert alone["weights"] == ["step-00000002.pt", "step-00000004.pt"]
    assert together["weights"] == 2 * alone["weights"]
    assert together["run"] == "runs/tiny + runs/tiny"
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert together["scores"]["bleu"]["value"] == pytest.approx(alone["scores"]["bleu"]["value"])
    source, target = (run / "scores" / "test" / name for name in ("source.txt", "reference.txt"))
    lines = []
    for which in ("runs/tiny", "[runs/tiny,runs/tiny]"):
        typed(align.main, f"run={which}", f"source={source}", f"target={target}", "checkpoint=avg:2", "precision=fp32")
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1]
    with pytest.raises(SystemExit, match=r"only step-00000002, step-00000004; train with trainer\.keep_best=3"):
        typed(scoring.main, "run=runs/tiny", "checkpoint=best:3")


def test_resuming_goes_on_in_the_same_directory(run, typed):
    """From the saved step to the new limit; without anything to resume it starts."""
    typed(train.main, *TINY, "resume=true", "trainer.max_steps=6")
    assert [p.name for p in run.parent.iterdir()] == ["tiny"]
    assert checkpoint.saved_step(run / checkpoint.LAST) == 6
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in events if e["event"] == "resume"] == [4]
    assert read_config(run).trainer.max_steps == 6
    assert read_config(run).resume is False


def test_resuming_from_the_state_before_a_damaged_one(run, typed, capsys):
    """It is said which file is damaged and from which step training goes on, on the console and in log.jsonl."""
    copied = shutil.copytree(run, run.with_name("flipped"))
    try:
        before, last = checkpoint.saved_step(copied / checkpoint.PREVIOUS), copied / checkpoint.LAST
        changed = bytearray(last.read_bytes())
        changed[len(changed) // 2] ^= 1
        last.write_bytes(changed)
        typed(train.main, *TINY, "name=flipped", "resume=true", f"trainer.max_steps={before + 1}")
        said = capsys.readouterr().out
        assert f"{last} is damaged: Bad CRC-32" in said.replace("runs/", f"{run.parent}/")
        assert f"previous.pt, step {before:,}" in said
        events = [json.loads(line) for line in (copied / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [e["step"] for e in events if e["event"] in ("resume", "damaged")][-2:] == [before, before]
        assert checkpoint.saved_step(last) == before + 1
    finally:
        shutil.rmtree(copied)


def test_a_second_run_resumed_by_the_name_of_its_folder_stays_the_second_run(run, typed):
    """Its record keeps the name that it was made for."""
    second = shutil.copytree(run, run.with_name("tiny-2"))
    try:
        step = checkpoint.saved_step(run / checkpoint.LAST)
        typed(train.main, *TINY, "name=tiny-2", "resume=true", f"trainer.max_steps={step + 1}")
        assert checkpoint.saved_step(second / checkpoint.LAST) == step + 1
        assert read_config(second).name == "tiny"
        assert newest_run(run) == second
    finally:
        shutil.rmtree(second)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.hidden_size=18", r"model\.hidden_size=16, not 18$"),
        ("optim=sgd", r"optim=adam, not sgd$"),
        ("data.source=fr", r"data\.source=en, not fr$"),
    ],
)
def test_resuming_another_run_is_refused(run, typed, word, said):
    """Before anything is written: the run stays what it is."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=said):
        typed(train.main, *TINY, "resume=true", word)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resuming_with_another_mechanism_names_that_alone(run, typed):
    """And not the keys that only one of the two has."""
    words = [word for word in TINY if "half_width" not in word]
    with pytest.raises(SystemExit, match=r"was trained with model\.attention=local_p, not none$"):
        typed(train.main, *words, "resume=true", "model.attention=none")


def test_starting_from_another_run(run, typed):
    """Its tokenizer and weights, a directory of its own, step 0."""
    words = (
        "init_from=runs/tiny",
        "trainer.max_steps=1",
        "optim.lr=1e-30",
        "optim.warmup=0",
        "logger.tensorboard=false",
        "data.tokenizer.sampling=0.1",  # of the same pieces
    )
    typed(train.main, *TINY, *words, "data.train_size=150")
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
    with pytest.raises(SystemExit, match=r"^error: init_from: nowhere: there is no such run directory$"):
        typed(train.main, *TINY, "name=failed", "init_from=nowhere")
    with pytest.raises(RunError, match=r"^init_from: .*failed: there is no such run directory$"):
        copy_weights(run.with_name("failed"), Run.open(run).build())
    other = ("data.tokenizer.vocab_size=500", "data.tokenizer.lowercase=true")
    said = r"vocab_size=400, not 500; data\.tokenizer\.lowercase=False, not True$"
    with pytest.raises(SystemExit, match=rf"^error: init_from=runs/tiny brings .* data\.tokenizer\.{said}"):
        typed(train.main, *TINY, *other, "name=failed", "init_from=runs/tiny")
    with pytest.raises(SystemExit, match=r"data\.source"):
        typed(train.main, *TINY, "name=failed", "data.source=xx")
    with pytest.raises(SystemExit, match="no_such"):
        typed(train.main, *TINY, "name=failed", "data.test=[no_such]")
    assert not (run.with_name("failed")).exists()
