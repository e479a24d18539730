"""Attention models for translation, from Bahdanau and Luong to the Transformer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nmt.translate.translator import Translator


def load(
    directory: "str | Path | Sequence[str | Path]", device: str = "auto", checkpoint: str = "best"
) -> "Translator":
    """What a training left in a run directory, ready to translate: ``nmt.load("runs/local_p").translate(["..."])``.

    Several directories make an ensemble.  ``Translator.hypotheses`` gives more than the best translation.
    """
    from nmt.translate.translator import load  # here, because it brings torch

    return load(directory, device, checkpoint)
