"""to=huggingface: what to=safetensors writes, with a model card, laid out as a repository of the Hugging Face hub."""

import json
from pathlib import Path
from typing import Any

from nmt.config import Config, restore, to_tree
from nmt.export.model_card import model_card
from nmt.export.private_paths import without_folders
from nmt.export.request import RECORD, ExportRequest
from nmt.export.safetensors_export import write_run
from nmt.runs.directory import write_json, write_text_file
from nmt.runs.origin import nmt_version

# How git keeps large files on the hub; huggingface_hub decides by itself.
GIT_ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def export_huggingface(request: ExportRequest, folder: Path) -> str:
    """Write the folder, and read it back to see that it is the same model; see ``nmt.export.export``.

    config.yaml names no folder of this machine: of paths that are absolute or lead upwards it has the file name alone.
    """
    config = request.run.config
    tree, _ = without_folders(to_tree(config))
    step, message = write_run(request, folder, restore(tree))
    write_text_file(folder / "README.md", model_card(request, step))
    write_text_file(folder / "config.json", json.dumps(hub_config(config), indent=2) + "\n")
    write_text_file(folder / ".gitattributes", GIT_ATTRIBUTES)
    write_json(folder / RECORD, request.record(step=step, check=message))
    return f"{message}; README.md is the model card: read it before you upload the folder"


def hub_config(config: Config) -> dict[str, Any]:
    """The content of config.json, the file by which the hub counts downloads and knows a kind of model."""
    model = to_tree(config.model)
    return {"model_type": f"nmt-{model['name']}", "library": f"nmt {nmt_version()}", "model": model}
