"""Attention models for translation, from Bahdanau and Luong to the Transformer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nmt.runs import Translator


def load(directory: "str | Path", device: str = "auto") -> "Translator":
    """What a training left in a run directory, ready to translate: ``nmt.load("runs/local_p").translate(["..."])``."""
    from nmt.runs import load  # here, because it brings torch

    return load(directory, device)
