"""Attention models for translation, from Bahdanau and Luong to the Transformer."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import nmt.train as _train_package  # empty: torch is imported when something is called

__all__ = ["load", "train"]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nmt.cli.in_python import train as train
    from nmt.translate.loaded import LoadedModel
else:
    # nmt.train is a function for those who call it, and the package that python -m nmt.train runs.  A function in the
    # place of the package would be lost as soon as somebody imports nmt.train.loop, because Python then sets the
    # attribute nmt.train to the package; so the package itself can be called.  Type checkers see the function alone.
    class _TrainPackage(ModuleType):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            from nmt.cli.in_python import train  # here, because it brings torch

            return train(*arguments, **named)

    _train_package.__class__ = _TrainPackage


def load(
    directory: "str | Path | Sequence[str | Path]",
    device: str = "auto",
    checkpoint: str = "best",
    engine: str = "torch",
    into: str | None = None,
    plugins: "Sequence[str]" = (),
    trust: bool = False,
) -> "LoadedModel":
    """What a training left in a run directory, ready to translate: ``nmt.load("runs/local_p").translate(["..."])``.

    Several directories make an ensemble; hf://OWNER/NAME is a model on the Hugging Face hub.  ``score``, ``align``,
    ``attention`` and ``evaluate`` of LoadedModel read given translations, ``hypotheses`` gives more than the best
    translation, ``export`` writes the model for other programs.  ``engine``:
    torch, or another program that runs the model (ctranslate2, onnx), for which it is exported once into the run.
    ``into``: of a run of several directions (data.tags=true), the language to translate into; by default that of the
    first direction.  ``plugins``: files or modules that the run was trained with; ``trust``: execute the run's own
    copies of them.
    """
    from nmt.translate.loaded import load  # here, because it brings torch

    return load(directory, device, checkpoint, engine, into, plugins, trust)
