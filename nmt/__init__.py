"""Attention models for translation, from Bahdanau and Luong to the Transformer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nmt.translate.loaded import LoadedModel


def load(
    directory: "str | Path | Sequence[str | Path]",
    device: str = "auto",
    checkpoint: str = "best",
    engine: str = "torch",
) -> "LoadedModel":
    """What a training left in a run directory, ready to translate: ``nmt.load("runs/local_p").translate(["..."])``.

    Several directories make an ensemble; hf://OWNER/NAME is a model on the Hugging Face hub.  ``score``, ``align``,
    ``attention`` and ``evaluate`` of LoadedModel read given translations, ``hypotheses`` gives more than the best
    translation, ``export`` writes the model for other programs.  ``engine``:
    torch, or another program that runs the model (ctranslate2, onnx), for which it is exported once into the run.
    """
    from nmt.translate.loaded import load  # here, because it brings torch

    return load(directory, device, checkpoint, engine)
