"""to=run: a slim copy of a run to give away, which loads and translates as the run does."""

from pathlib import Path
from typing import Any

import torch

from nmt.config import restore, to_tree
from nmt.errors import RunError
from nmt.export.check import agreement
from nmt.export.private_paths import without_folders
from nmt.export.quantization import Quantization
from nmt.export.request import RECORD, ExportRequest
from nmt.export.safetensors_export import DTYPES
from nmt.runs import checkpoint
from nmt.runs.directory import ORIGIN, RESULTS, TOKENIZER, Run, read_json, read_weights, save_config, write_json
from nmt.runs.plugins import copy_plugins
from nmt.runs.results import RESULTS_FILE
from nmt.runs.summary import read_all_results
from nmt.search.engine import ModelEngine

CPU = torch.device("cpu")
# What of origin.json says by what the run was made; the rest says where, and names folders.
MADE_BY = ("nmt", "commit", "uncommitted", "torch", "python", "device", "processes")
# Of the checkpoint, what says how good its weights are; the rest is for going on with the training.
ABOUT_WEIGHTS = ("precision", "metrics")


def export_run_copy(request: ExportRequest, folder: Path) -> str:
    """Write the copy, and compare its weights with those of the run in every bit; see ``nmt.export.export``.

    It has the weights as checkpoints/best.pt, the tokenizer, the configuration with the paths outside its folder cut to
    file names, the scores without the sentences, and of origin.json the versions.  A copy whose weights are rounded
    (``request.quantization``) has no scores: they are of other weights.  Returns what was left out.
    """
    run, dtype = request.run, DTYPES[request.quantization or Quantization.fp32]
    model, step = run.load_model(request.checkpoint, CPU)
    if dtype is not None:
        model = model.to(dtype)
    paths = run.weights(request.checkpoint)
    # A mean of weights was validated nowhere, nor were rounded ones.
    saved = read_weights(paths[0]) if len(paths) == 1 and dtype is None else {}
    about = {key: saved[key] for key in ABOUT_WEIGHTS if key in saved}
    checkpoint.save(folder / checkpoint.BEST, {"model": model.state_dict(), "step": step, **about})
    run.tokenizers.save(folder / TOKENIZER)
    code = copy_plugins(run.directory, folder)
    tree, cut = without_folders(to_tree(run.config))
    save_config(folder, restore(tree))
    write_origin(run, folder)
    if dtype is None:
        write_scores(run, folder)
    check_weights(folder, model.state_dict(), run.name)
    write_json(folder / RECORD, request.record(step=step))
    told = left_out(run, folder, cut, None if dtype is None else f"weights in {rounding(request, folder, dtype)}")
    return f"{told}\n{code}" if code else told


def rounding(request: ExportRequest, folder: Path, dtype: torch.dtype) -> str:
    """The type of a copy's weights, and how many sentences are translated as the run translates them."""
    ours, theirs = (
        run.load_model(which, CPU)[0] for run, which in ((request.run, request.checkpoint), (Run.open(folder), "best"))
    )
    found = agreement(request.run, ModelEngine(ours, CPU), ModelEngine(theirs, CPU))
    return f"{str(dtype).removeprefix('torch.')}: {found}"


def write_origin(run: Run, folder: Path) -> None:
    """By what the run was made, without the command and the folder it was typed in."""
    if (run.directory / ORIGIN).exists():
        origin = read_json(run.directory / ORIGIN)
        write_json(folder / ORIGIN, {key: origin[key] for key in MADE_BY if key in origin})


def write_scores(run: Run, folder: Path) -> None:
    """The results of every set; not those of ensembles with other runs."""
    name = run.directory.resolve().name
    for place, results in read_all_results(run.directory).values():
        write_json(folder / RESULTS / place.relative_to(run.scores) / RESULTS_FILE, results | {"run": name})


def check_weights(folder: Path, weights: dict[str, Any], name: str) -> None:
    """Raise RunError unless the copy, read as a run is, has these weights in every bit."""
    copied = Run.open(folder).load_model("best", CPU)[0].state_dict()
    if copied.keys() != weights.keys() or not all(
        torch.equal(copied[key], weights[key].to(copied[key].dtype)) for key in weights
    ):
        raise RunError(f"the copy of {name} does not have its weights")


def left_out(run: Run, folder: Path, cut: list[str], rounded: str | None) -> str:
    """What the copy has and has not, with sizes; ``rounded`` says so of weights that are."""
    have = {path.relative_to(folder) for path in folder.rglob("*")}
    missing: dict[str, int] = {}
    for path in sorted(p for p in run.directory.rglob("*") if p.is_file() and not p.name.startswith(".")):
        relative = path.relative_to(run.directory)
        if relative not in have and folder not in path.parents:  # the copy may be made inside the run
            name = (
                relative.parts[0] if len(relative.parts) > 1 and relative.parts[0] != "checkpoints" else str(relative)
            )
            missing[name] = missing.get(name, 0) + path.stat().st_size
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    listed = ", ".join(f"{name} ({bytes_ / 2**20:.1f} MiB)" for name, bytes_ in missing.items()) or "nothing"
    of_scores = "of scores: the sentences" if rounded is None else "scores: they are of the weights before rounding"
    lines = [
        f"a copy of {run.name}, {size / 2**20:.1f} MiB, with {rounded or 'the same weights'}",
        f"left out: {listed}",
    ]
    lines.append(f"left out of origin.json: the command and the folder; {of_scores}")
    if cut:
        lines.append(f"cut to file names in config.yaml: {', '.join(cut)}")
    return "\n".join(lines)
