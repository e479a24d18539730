"""A slim copy of a run: the same translations, and nothing that names where it was made."""

from dataclasses import replace

import pytest
import torch
from tiny_runs import ENGLISH, MODELS, make_run, save_weights
from written_runs import write_result

import nmt
from nmt.errors import RunError
from nmt.export import ExportRequest, Quantization, export
from nmt.export.private_paths import without_folders
from nmt.export.run_export import check_weights
from nmt.models.seq2seq import Tied
from nmt.runs import checkpoint
from nmt.runs.directory import Run, read_config, save_config, write_json


@pytest.fixture
def run(tmp_path):
    """A run with everything that a training leaves, and private paths in it."""
    directory = make_run(tmp_path / "run", MODELS["local_p"])
    config = read_config(directory)
    config.data.cache, config.data.gold, config.runs = str(tmp_path / "cache"), "../secret/gold.txt", str(tmp_path)
    config.init_from = "~/secret/first"
    save_config(directory, config)
    save_weights(directory, checkpoint.LAST, 5, optimizer={"state": torch.zeros(9)})
    save_weights(directory, "checkpoints/step-00000003.pt", 6, metrics={"loss": 1.0})
    write_json(directory / "origin.json", {"command": ["/secret/nmt"], "folder": str(tmp_path), "torch": "2.13"})
    (directory / "log.jsonl").write_text('{"event": "built", "run": "/secret"}\n')
    write_result(directory / "scores" / "test", "test", {"bleu": 12.5}, run=str(directory), difference={})
    (directory / "scores" / "test" / "source.txt").write_text("a secret sentence\n")
    return directory


def exported(run, **more):
    """The copy's folder, and what was said."""
    return export(ExportRequest(Run.open(run), "run", output=run.parent / "copy", **more))


def test_the_copy_translates_and_scores_as_the_run_does(run):
    folder, said = exported(run)
    ours, theirs = (nmt.load(directory, device="cpu") for directory in (run, folder))
    assert theirs.translate(ENGLISH) == ours.translate(ENGLISH)
    scores = [[t.score for ts in x.hypotheses(ENGLISH) for t in ts] for x in (ours, theirs)]
    assert scores[0] == scores[1]
    assert "with the same weights" in said


def test_nothing_in_the_copy_names_a_folder_of_this_machine(run):
    folder, _ = exported(run)
    for path in (p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for private in (str(run.parent), "secret"):
            assert private.encode() not in content, (path, private)
    config = read_config(folder)
    assert (config.data.cache, config.data.gold, config.init_from) == ("cache", "gold.txt", "first")


def test_what_was_left_out_is_said(run):
    folder, said = exported(run)
    have = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert have == {
        *("checkpoints/best.pt", "config.yaml", "export.json", "origin.json", "scores/test/results.json"),
        *("tokenizer/joint.json", "tokenizer/tokenizer.json"),
    }
    for name in ("checkpoints/last.pt", "checkpoints/step-00000003.pt", "log.jsonl", "scores ("):
        assert name in said
    assert "cut to file names in config.yaml: runs, init_from, data.cache, data.gold" in said
    assert checkpoint.load(folder / checkpoint.BEST).keys() == {"format", "model", "step"}


def test_a_mean_of_weights_is_the_copys_best(run):
    save_weights(run, "checkpoints/step-00000009.pt", 7, metrics={"loss": 1.0})
    folder, _ = exported(run, checkpoint="avg:2")
    mean = Run.open(run).load_model("avg:2", torch.device("cpu"))[0].state_dict()
    copied = checkpoint.load(folder / checkpoint.BEST)["model"]
    assert all(torch.equal(mean[key], copied[key]) for key in mean)
    assert "metrics" not in checkpoint.load(folder / checkpoint.BEST), "nobody validated it"


def test_rounded_weights_halve_the_copy_and_have_no_scores_of_others(run):
    folder, said = exported(run, quantization=Quantization.bf16)
    ours, theirs = (checkpoint.load(directory / checkpoint.BEST)["model"] for directory in (run, folder))
    assert {key: torch.equal(theirs[key], ours[key].bfloat16()) for key in theirs} == dict.fromkeys(ours, True)
    assert "weights in bfloat16: " in said
    assert "scores: they are of the weights before rounding" in said
    assert not (folder / "scores").exists()
    assert nmt.load(folder, device="cpu").translate(ENGLISH[0])


def test_word_vectors_that_are_one_are_rounded_once(tmp_path):
    run = make_run(tmp_path / "run", replace(MODELS["transformer"], tied=Tied.target))
    folder, _ = exported(run, quantization=Quantization.fp16)
    states = [checkpoint.load(directory / checkpoint.BEST)["model"] for directory in (run, folder)]
    ours, theirs = (len({tensor.data_ptr() for tensor in state.values()}) for state in states)
    assert theirs == ours < len(states[0])


def test_a_copy_with_other_weights_is_refused(run):
    weights = Run.open(run).load_model("best", torch.device("cpu"))[0].state_dict()
    weights["projection.bias"][0] += 1e-6
    with pytest.raises(RunError, match="does not have its weights"):
        check_weights(run, weights, "run")


def test_paths_that_others_have_too_stay():
    tree = {"data": {"root": "data", "path": "org/set", "files": ["/a/b.en", "c/d.en"], "more": {"x": "/a/../b"}}}
    assert without_folders(tree) == (
        {"data": {"root": "data", "path": "org/set", "files": ["b.en", "c/d.en"], "more": {"x": "b"}}},
        ["data.files", "data.more.x"],
    )
