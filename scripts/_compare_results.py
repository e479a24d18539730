"""Bit-for-bit comparison of what two runs left: scripts/compare_commits.py's eyes.

Every function gives None where nothing differs, or one line that names the first difference.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What a clock or the machine decides.
TIMES = ("time", "minutes", "tokens_per_second", "data_wait", "memory", "device_memory", "seconds", "best_seconds")
EVENTS = ("train", "validation", "scored", "end")  # the others hold paths and the tables of the data


def log_difference(old: Path, new: Path) -> str | None:
    """The first figure of two log.jsonl that differs: losses, gradient norms, validations, scores."""
    rows = [[event for event in events(path) if event["event"] in EVENTS] for path in (old, new)]
    for one, other in zip(*rows, strict=False):
        where = f"{one['event']} {one.get('set', '')}".strip()
        found = tree_difference(untimed(one), untimed(other), f"{where} at update {one.get('step')}")
        if found:
            return found
    return None if len(rows[0]) == len(rows[1]) else f"log: {len(rows[0])} lines, then {len(rows[1])}"


def events(path: Path) -> list[dict[str, Any]]:
    """The objects of a log.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def untimed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a clock decides, at the first two levels."""
    return {k: untimed(v) if isinstance(v, dict) else v for k, v in tree.items() if k not in TIMES}


def checkpoint_difference(old: Path, new: Path) -> str | None:
    """The first tensor or value of two checkpoints that differs: weights, optimizer, random numbers, all else."""
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in (old, new)]
    # Weights first, and what standing has of the clock left out.
    old_state, new_state = (untimed(dict(sorted(s.items(), key=lambda item: item[0] != "model"))) for s in states)
    return tree_difference(old_state, new_state, "")


def translation_difference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str | None:
    """The first sentence whose hypotheses differ, in text or in score."""
    for number, (one, other) in enumerate(zip(old, new, strict=False), 1):
        found = tree_difference(one, other, f"sentence {number}")
        if found:
            return found
    return None if len(old) == len(new) else f"translations: {len(old)}, then {len(new)}"


def tree_difference(old: Any, new: Any, name: str) -> str | None:
    """Compare mappings, lists, tensors and plain values, down to the bits of each number."""
    if type(old) is not type(new):
        return f"{name}: {type(old).__name__} became {type(new).__name__}"
    if isinstance(old, Mapping):
        if list(old) != list(new) and (only := old.keys() ^ new.keys()):
            return f"{name}: only one of them has {', '.join(sorted(map(str, only))[:3])}"
        return first(tree_difference(old[key], new[key], f"{name} {key}".strip()) for key in old)
    if isinstance(old, list | tuple):
        if len(old) != len(new):
            return f"{name}: {len(old)} values became {len(new)}"
        return first(tree_difference(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(old, new, strict=True)))
    if isinstance(old, Tensor):
        return tensor_difference(old, new, name)
    if isinstance(old, float):
        same = old.hex() == new.hex()  # tells -0.0 from 0.0, and takes nan for nan
        return None if same else f"{name}: {old!r} became {new!r}, by {apart(old, new):.2g}"
    return None if old == new else f"{name}: {short(old)} became {short(new)}"


def tensor_difference(old: Tensor, new: Tensor, name: str) -> str | None:
    """Shape, type and every bit."""
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        return f"{name}: {old.dtype} {tuple(old.shape)} became {new.dtype} {tuple(new.shape)}"
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (old, new)]
    if torch.equal(*bits):
        return None
    other = (bits[0] != bits[1]).view(old.numel(), -1).any(1)
    most = (old.double() - new.double()).abs().max().item()
    return f"{name}: {int(other.sum())} of {old.numel()} numbers, by up to {most:.2g}"


def first(found: Iterator[str | None]) -> str | None:
    """The first that is a difference."""
    return next((difference for difference in found if difference), None)


def apart(old: float, new: float) -> float:
    """How far two numbers are from one another; nan where that means nothing."""
    return abs(new - old) if math.isfinite(old) and math.isfinite(new) else math.nan


def short(value: Any) -> str:
    """A value that fits into a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
