"""What benchmarks/kills.py compares of two run directories."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nmt.runs import checkpoint
from nmt.runs.directory import read_json

OF_TIME = ("time", "minutes", "seconds", "tokens_per_second", "data_wait", "memory", "device_memory")
RESULTS_OF_PLACE = ("run", "seconds", "search_seconds", "tokens_per_second")


def records(run: Path) -> list[dict[str, Any]]:
    """The events of log.jsonl; a line that was cut short is left out."""
    found, file = [], run / "log.jsonl"
    for line in file.read_bytes().split(b"\n") if file.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def differences(one: Path, other: Path) -> list[str]:
    """A line for each thing that is not equal."""
    found = [*checkpoints_differ(one, other)]
    if course(one) != course(other):
        found.append("log.jsonl differs")
    curves = [scalars(run) for run in (one, other)]
    found += [f"TensorBoard: {tag} differs" for tag in sorted(curves[0] | curves[1]) if differ(tag, *curves)]
    if not curves[0]:
        found.append("TensorBoard has no curves")
    scores = [{p.relative_to(run): result(p) for p in (run / "scores").rglob("*.*")} for run in (one, other)]
    if not scores[0] or scores[0] != scores[1]:
        found.append("scores differ")
    return found


def differ(tag: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.get(tag) != other.get(tag)


def checkpoints_differ(one: Path, other: Path) -> Iterator[str]:
    """Names of files, and places inside them, that only one has or that have other values."""
    names = [{p.name for p in (run / "checkpoints").iterdir()} - {"previous.pt"} for run in (one, other)]
    yield from (f"only one has {name}" for name in names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        a, b = (dict(leaves(checkpoint.load(run / "checkpoints" / name))) for run in (one, other))
        yield from (f"{name}: {key}" for key in sorted(a.keys() | b.keys()) if not same(a.get(key), b.get(key)))


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and plain values in a checkpoint by their places in it, but for seconds of training."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for name, value in items:
            if name != "seconds":
                yield from leaves(value, f"{key}/{name}")
    else:
        yield key, tree


def same(a: Any, b: Any) -> bool:
    """Equal in every bit; NaN equals NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def course(run: Path) -> list[dict[str, Any]]:
    """All that was logged of updates, validations and sets, without what depends on the speed of the machine."""
    kept = [event for event in records(run) if event["event"] in ("train", "validation", "scored")]
    return [{key: value for key, value in event.items() if key not in OF_TIME} for event in kept]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's curves by tag, as TensorBoard shows them: what a resumed run logged anew in place of the old."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells what it drops of the killed processes
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.rpartition("/")[2] not in OF_TIME]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def result(path: Path) -> Any:
    """Scores or sentences, without where and how fast they were made."""
    if path.suffix != ".json":
        return path.read_bytes()
    return {key: value for key, value in read_json(path).items() if key not in RESULTS_OF_PLACE}
