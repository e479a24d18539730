"""Which of a model's attention maps are drawn, and in what grid."""

import math
from enum import Enum
from typing import NamedTuple

import numpy as np


class Layers(Enum):
    """Which layers are drawn."""

    all = "all"
    last = "last"
    mean = "mean"


class Heads(Enum):
    """Which heads of a layer are drawn."""

    all = "all"
    mean = "mean"


class Grid(NamedTuple):
    """Maps in rows and columns; the places after the last name are empty."""

    maps: np.ndarray  # (rows, columns, T, S), NaN in empty places
    names: list[str]  # of the maps, row after row
    note: str  # what is true of all of them
    centres: np.ndarray | None = None  # (rows, columns, T)


def arrange(weights: np.ndarray, centres: np.ndarray | None, layers: Layers, heads: Heads) -> Grid:
    """The maps (layers, heads, T, S) that are asked for, named "layer 2 head 3" as far as there are several.

    Layers stand below each other with their heads side by side.  Where only layers or only heads vary, they fill a
    grid that is about as wide as high, because a long row or column would be shrunk until nobody can read it.
    centres (layers, heads, T) are those of a map, and dropped where maps are averaged.
    """
    L, H = weights.shape[:2]
    notes = []
    if layers is Layers.last:
        notes += [f"layer {L} of {L}"] if L > 1 else []
        weights, centres = weights[-1:], None if centres is None else centres[-1:]
    if layers is Layers.mean and L > 1:
        notes.append(f"mean of {L} layers")
        weights, centres = weights.mean(0, keepdims=True), None
    if heads is Heads.mean and H > 1:
        notes.append(f"mean of {H} heads")
        weights, centres = weights.mean(1, keepdims=True), None
    rows, columns, T, S = weights.shape
    names = [
        " ".join([f"layer {i + 1}"] * (rows > 1) + [f"head {k + 1}"] * (columns > 1))
        for i, k in np.ndindex(rows, columns)
    ]
    if 1 in (rows, columns):
        columns = math.ceil(math.sqrt(len(names)))
        rows = math.ceil(len(names) / columns)
    maps = np.full((rows * columns, T, S), np.nan)
    maps[: len(names)] = weights.reshape(-1, T, S)
    if centres is not None:
        centres = np.concatenate([centres.reshape(-1, T), np.full((rows * columns - len(names), T), np.nan)])
        centres = centres.reshape(rows, columns, T)
    return Grid(maps.reshape(rows, columns, T, S), names, ", ".join(notes), centres)
