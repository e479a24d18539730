"""Weights in a safetensors file: tensors with their names, which any program can read and which nothing executes.

Tensors that are one (tied word vectors) are written once, under the first of their names; the metadata of the file say
which other names they have ("same"), after how many updates they were taken ("step"), and what the tensors' SHA-256 is.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmt.atomic import whole_file
from nmt.errors import RunError
from nmt.libraries import needed

WEIGHTS_FILE = "model.safetensors"  # of an exported folder, which has no checkpoints


def save_weights(path: Path, state: Mapping[str, Tensor], step: int, dtype: torch.dtype | None = None) -> None:
    """Write a model's state_dict, its floating point tensors in ``dtype`` (None: as they are).

    Raises ConfigError without the library safetensors.
    """
    library = needed("safetensors.torch", f"{path.name}")
    first: dict[tuple[int, torch.Size], str] = {}
    same: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        known = first.setdefault((tensor.data_ptr(), tensor.shape), name)
        if known != name:
            same[name] = known
            continue
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        tensors[name] = tensor.detach().to("cpu", wanted).contiguous()
    metadata = {"format": "pt", "step": str(step), "same": json.dumps(same), "sha256": digest(tensors)}
    with whole_file(path, "wb") as file:
        file.write(library.save(tensors, metadata))


def load_weights(path: Path) -> dict[str, Any]:
    """What ``save_weights`` wrote, as ``nmt.runs.checkpoint.load`` gives a checkpoint: its ``model`` and ``step``.

    A file of another program, without these metadata, is read, too.  Raises RunError for a file that is damaged,
    ConfigError without the library safetensors.
    """
    library = needed("safetensors", f"{path}")
    try:
        with library.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
        same, step = json.loads(metadata.get("same", "{}")), int(metadata.get("step", 0))
        if metadata.get("sha256", digest(state)) != digest(state):
            raise RunError(f"{path} is damaged: its weights do not fit their checksum")
        return {"model": state | {name: state[other] for name, other in same.items()}, "step": step}
    except (library.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} is damaged or no safetensors file: {error}") from None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors' bytes, in the order of their names."""
    result = hashlib.sha256()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return result.hexdigest()
