"""to=huggingface: a model card, an upload by huggingface_hub to this machine, and nmt.load of what is there."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from exported import CPU
from hub_server import HubServer
from tiny_runs import MODELS, make_run

import nmt
from nmt.cli.translate import main as translate_main
from nmt.config import Config, restore, to_tree
from nmt.data.files import FilesConfig
from nmt.data.text import ParallelText, TextFiles
from nmt.errors import ConfigError, RunError
from nmt.export import ExportRequest, export
from nmt.export.private_paths import without_folders
from nmt.runs.directory import Run, read_config, save_config
from nmt.runs.hub import local_directory
from nmt.runs.scoring import Scorer
from nmt.train.config import TrainerConfig

pytest.importorskip("safetensors")
huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
TEXTS = ["one two three", "a big cat ."]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An endpoint with the hub's interface; what is downloaded from it lies in an empty cache."""
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


def upload(server: HubServer, folder: Path, name: str = "somebody/model") -> None:
    api = huggingface_hub.HfApi(endpoint=server.url, token="hf_none")
    api.create_repo(name, exist_ok=True)
    api.upload_folder(folder_path=folder, repo_id=name)


@pytest.fixture
def run(tmp_path):
    """A run that was scored on a set."""
    run = Run.open(make_run(tmp_path / "run", MODELS["local_p"]))
    text = ParallelText("counting", ["one two", "a cat ."], ["eins zwei", "eine Katze ."])
    Scorer(run, run.config.data, run.config.decode, CPU).score(text)
    return run


def front_matter(folder: Path) -> dict:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_says_what_the_model_is(run):
    """Languages, licence, data, and every score with its signature, as huggingface_hub reads them, too."""
    folder, _ = export(ExportRequest(run, "huggingface", license="mit"))
    header = front_matter(folder)
    assert header["language"] == ["en", "de"]
    assert header["license"] == "mit"
    assert header["pipeline_tag"] == "translation"
    [result] = huggingface_hub.ModelCard.load(folder / "README.md").data.eval_results[:1]
    assert (result.dataset_name, result.dataset_type) == ("counting", "phrases")
    scores = {m["type"]: m for m in header["model-index"][0]["results"][0]["metrics"]}
    assert set(scores) == {"bleu", "chrf", "ter"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for metric in scores.values():
        assert "version:" in metric["args"]
        [row] = [
            line for line in card.splitlines() if line.startswith("|") and metric["args"].replace("|", r"\|") in line
        ]
        cells = re.split(r"(?<!\\)\|", row)  # of Markdown's tables: an escaped | is in a cell, all others end one
        assert len(cells) == 7
        assert cells[4].strip() == f"{metric['value']:.2f}"
    assert f"name: {run.config.model.attention.name}" in card


def test_scores_of_other_weights_are_left_out(run):
    """Those of another checkpoint, of a part of the set, and of weights that are no longer there."""
    other, _ = export(ExportRequest(run, "huggingface", checkpoint="best"))
    assert "model-index" in front_matter(other)
    results = run.scores / "counting" / "results.json"
    text = results.read_text()
    for change in (('"checkpoint": "best"', '"checkpoint": "last"'), ('"step": 7', '"step": 6')):
        assert change[0] in text
        changed = "\n".join(line for line in text.replace(*change).splitlines() if "sha256" not in line)
        results.write_text(changed.replace(",\n}", "\n}"))
        folder, _ = export(ExportRequest(run, "huggingface"))
        assert "model-index" not in front_matter(folder)
        assert "were not scored" in (folder / "README.md").read_text()
    assert front_matter(folder)["license"] == "unknown"


def test_uploaded_and_loaded_by_its_name(run, server, tmp_path, monkeypatch):
    """huggingface_hub uploads the folder; nmt.load and the command get it back, and later without the hub."""
    folder, _ = export(ExportRequest(run, "huggingface"))
    upload(server, folder)
    assert {"README.md", "config.json", "config.yaml", "model.safetensors", "tokenizer/joint.json"} <= set(
        server.files["somebody/model"]
    )
    expected = nmt.load(run.directory, device="cpu").hypotheses(TEXTS)
    assert nmt.load("hf://somebody/model", device="cpu").hypotheses(TEXTS) == expected
    assert nmt.load("hf://somebody/model@main", device="cpu").hypotheses(TEXTS) == expected
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in TEXTS))
    words = ["run=hf://somebody/model", "device=cpu", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["nmt", *words])
    translate_main()
    assert (tmp_path / "out").read_text().splitlines() == [found[0].text for found in expected]
    taken = {Path(path).name for path in server.downloaded}
    assert "README.md" not in taken  # only what is read
    server.files.clear()
    server.offline = True
    assert nmt.load("hf://somebody/model", device="cpu").hypotheses(TEXTS) == expected


def test_the_folder_itself_is_read(run):
    """A local clone of the repository is a run directory."""
    folder, _ = export(ExportRequest(run, "huggingface"))
    ours, theirs = (nmt.load(where, device="cpu").translate(TEXTS) for where in (run.directory, folder))
    assert ours == theirs


@pytest.mark.parametrize("address", ["hf://nobody/nothing", "hf://model", "hf://a/b/c", "hf://a/b@"])
def test_a_wrong_address_is_named(server, address):
    with pytest.raises(RunError, match=f"^{address} (cannot be downloaded|is no address)") as caught:
        nmt.load(address)
    assert "\n" not in str(caught.value)


def test_other_places_are_paths(tmp_path):
    assert local_directory("runs/a") == Path("runs/a")
    assert local_directory(tmp_path) == tmp_path


def test_no_folder_of_this_machine_is_told(tmp_path):
    """Absolute paths of data lose their folders, relative ones stay; everything else is as it was."""
    files = FilesConfig(
        train=TextFiles(source="/home/me/secret/train.en", target="/home/me/secret/train.de"),
        validation=TextFiles(source="data/val.en", target="data/val.de"),
        cache="/home/me/cache",
    )
    trainer = TrainerConfig(validate_command="sh -c 'python /home/me/judge.py --model=../me/comet {source} 2> log'")
    own = {"plugins": ["/home/me/mine.py"], "runs": "/home/me/runs", "init_from": "~/me/run"}
    config = Config(model=MODELS["local_p"], data=files, trainer=trainer, **own)
    tree, cut = without_folders(to_tree(config))
    save_config(tmp_path, restore(tree))
    text = (tmp_path / "config.yaml").read_text()
    assert not re.search(r"/home|\bme\b", text)
    assert {"plugins", "runs", "init_from", "data.cache", "data.train.source", "trainer.validate_command"} <= {*cut}
    back = read_config(tmp_path)
    assert isinstance(back.data, FilesConfig)
    assert back.data.train.source == "train.en"
    assert back.data.validation.source == "data/val.en"
    assert (back.model, back.decode) == (config.model, config.decode)
    assert back.trainer.validate_command == "sh -c 'python judge.py --model=comet {source} 2> log'"


def test_a_licence_is_for_a_card(run):
    with pytest.raises(ConfigError, match="license=mit is for to=huggingface, not for to=safetensors"):
        export(ExportRequest(run, "safetensors", license="mit"))
