"""to=safetensors: a folder that is read as a run, has the same weights, and holds nothing that could be executed."""

import json
import pickletools
import sys
from dataclasses import replace

import pytest
import torch
from exported import CPU
from tiny_runs import LSTMS, MODELS, make_run, save_weights

import nmt
from nmt.cli.export import main as export_main
from nmt.cli.translate import main as translate_main
from nmt.errors import ConfigError, RunError
from nmt.export import ExportRequest, Quantization, export
from nmt.export import safetensors_export as exporting
from nmt.models import LSTMConfig
from nmt.models.attention import HardConfig
from nmt.models.seq2seq import Tied
from nmt.runs.directory import Run
from nmt.runs.safetensors_file import load_weights
from nmt.runs.safetensors_file import save_weights as save_file

pytest.importorskip("safetensors")
TEXTS = ["one two three", "a big cat .", "seven seven seven seven"]
EVERY = {
    **MODELS,
    "tied": LSTMConfig(attention=HardConfig(), tied=Tied.all, embedding_size=None, **LSTMS),
    "tied transformer": replace(MODELS["transformer"], tied=Tied.all),
}


@pytest.mark.parametrize("name", EVERY)
def test_the_folder_translates_as_the_run(tmp_path, name):
    """Hypotheses with their scores, wherever the folder lies and when the run is gone."""
    run = Run.open(make_run(tmp_path / "run", EVERY[name]))
    folder, _ = export(ExportRequest(run, "safetensors"))
    moved = folder.rename(tmp_path / "moved")
    ours, theirs = (nmt.load(where, device="cpu").hypotheses(TEXTS) for where in (run.directory, moved))
    assert ours == theirs
    assert sorted(path.name for path in moved.iterdir()) == [
        "config.yaml", "export.json", "model.safetensors", "tokenizer"
    ]  # fmt: skip


def test_weights_that_are_one_are_written_once(tmp_path):
    run = Run.open(make_run(tmp_path / "run", EVERY["tied"]))
    folder, _ = export(ExportRequest(run, "safetensors"))
    model, step = Run.open(folder).load_model("last", CPU)
    assert model.get_parameter("projection.weight") is model.get_parameter("source_embedding.weight")
    assert step == 7
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert (folder / "model.safetensors").stat().st_size < 4 * numbers + 10_000
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        names = file.keys()
        assert sum(file.get_tensor(name).numel() for name in names) == numbers


def test_commands_take_it_as_a_run(tmp_path, monkeypatch):
    """run=DIR of nmt.translate and of nmt.export itself; weights that only a training has are refused in a line."""
    make_run(tmp_path / "run", MODELS["local_p"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in TEXTS))

    def command(main, *words):
        monkeypatch.setattr(sys, "argv", ["nmt", *words])
        main()

    command(export_main, "run=run", "to=safetensors", "output=out")
    command(export_main, "run=out", "to=safetensors", "output=again")
    for directory in ("run", "out", "again"):
        command(translate_main, f"run={directory}", "device=cpu", "input=in", f"output={directory}.txt")
    written = {(tmp_path / f"{name}.txt").read_text() for name in ("run", "out", "again")}
    assert len(written) == 1
    with pytest.raises(SystemExit, match=r"checkpoint=avg:2: out is an export, which has model.safetensors alone"):
        command(translate_main, "run=out", "checkpoint=avg:2", "input=in")


def test_means_of_checkpoints_are_exported(tmp_path):
    directory = make_run(tmp_path / "run", MODELS["local_p"])
    for step in (1, 2):
        save_weights(directory, f"checkpoints/step-{step:08}.pt", seed=step, metrics={"loss": 1.0})
    run = Run.open(directory)
    folder, _ = export(ExportRequest(run, "safetensors", checkpoint="avg:2"))
    ours, theirs = run.load_model("avg:2", CPU)[0], Run.open(folder).load_model("best", CPU)[0]
    assert all(torch.equal(weight, theirs.state_dict()[name]) for name, weight in ours.state_dict().items())
    assert json.loads((folder / "export.json").read_text())["checkpoint"] == "avg:2"


def test_weights_of_two_bytes(tmp_path):
    run = Run.open(make_run(tmp_path / "run", MODELS["transformer"]))
    folder, message = export(ExportRequest(run, "safetensors", quantization=Quantization.bf16))
    assert folder.name == "safetensors-bf16"
    assert "with weights in bfloat16, " in message
    model = Run.open(folder).load_model("best", CPU)[0]
    for name, weight in run.load_model("best", CPU)[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], weight.bfloat16().float())
    with pytest.raises(ConfigError, match=r"quantization=int8 is for to=ctranslate2.*, not for to=safetensors"):
        export(ExportRequest(run, "safetensors", quantization=Quantization.int8))


def test_nothing_in_the_file_is_a_program(tmp_path):
    """It is a header in JSON and numbers; no pickle is found in it."""
    run = Run.open(make_run(tmp_path / "run", MODELS["transformer"]))
    folder, _ = export(ExportRequest(run, "safetensors"))
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    assert {"F32"} == {entry["dtype"] for key, entry in json.loads(data[8 : 8 + size]).items() if key != "__metadata__"}
    with pytest.raises(ValueError, match="opcode"):
        list(pickletools.genops(data))


@pytest.mark.parametrize("place", [20, -5, None])
def test_damage_is_named(tmp_path, place):
    """In the header, in the numbers, and a file that is cut short."""
    run = Run.open(make_run(tmp_path / "run", MODELS["local_p"]))
    folder, _ = export(ExportRequest(run, "safetensors"))
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    if place is None:
        del data[-100:]
    else:
        data[place] ^= 0x11
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"model.safetensors (is damaged|does not fit)"):
        Run.open(folder).load_model("best", CPU)


def test_a_file_of_another_program_is_read(tmp_path):
    from safetensors.torch import save_file as plain

    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    plain(weights, tmp_path / "plain.safetensors")
    found = load_weights(tmp_path / "plain.safetensors")
    assert found["step"] == 0
    assert all(torch.equal(found["model"][name], weights[name]) for name in weights)
    shared = torch.ones(2)
    save_file(tmp_path / "own.safetensors", {"x": shared, "y": shared, "n": torch.tensor(3)}, 5, torch.float16)
    found = load_weights(tmp_path / "own.safetensors")
    assert found["step"] == 5
    assert found["model"]["y"].dtype == torch.float16
    assert found["model"]["n"].dtype == torch.int64


def test_another_model_is_not_exported(tmp_path, monkeypatch):
    run = Run.open(make_run(tmp_path / "run", MODELS["local_p"]))

    def save(path, state, step, dtype):
        save_file(path, {name: weight + 1e-6 for name, weight in state.items()}, step, dtype)

    monkeypatch.setattr(exporting, "save_weights", save)
    with pytest.raises(RunError, match="is another model: nothing was exported"):
        export(ExportRequest(run, "safetensors"))
    assert not list((tmp_path / "run" / "exports").glob("*"))


def test_python_exports_what_it_loaded(tmp_path):
    """The same folder as the command's; of the weights that were loaded."""
    directory = make_run(tmp_path / "run", MODELS["local_p"])
    save_weights(directory, "checkpoints/last.pt", seed=4)
    translator = nmt.load(directory, device="cpu", checkpoint="last")
    assert translator.export("safetensors") == directory / "exports" / "safetensors"
    folder = translator.export("safetensors", output=str(tmp_path / "small"), quantization="bf16")
    assert folder == tmp_path / "small"
    assert json.loads((folder / "export.json").read_text())["checkpoint"] == "last"
    found = nmt.load(directory / "exports" / "safetensors", device="cpu").hypotheses(TEXTS)
    assert found == translator.hypotheses(TEXTS)
    for words, message in (
        ({"to": "marian"}, "to=marian is not one of ctranslate2, onnx, safetensors"),
        ({"to": "safetensors", "quantization": "int3"}, "quantization=int3 is not one of fp32"),
        ({"to": "safetensors", "license": "mit"}, "license=mit is for to=huggingface"),
    ):
        with pytest.raises(ConfigError, match=message):
            translator.export(**words)
    with pytest.raises(ConfigError, match=r"run \+ .*run is an ensemble, and an export holds one model"):
        nmt.load([directory, directory], device="cpu").export("safetensors")
