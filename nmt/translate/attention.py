"""Attention to one text, for a notebook or a program: tokens, arrays and a picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmt.eval.figures.panels import Heads, Layers
from nmt.eval.figures.picture import Picture

if TYPE_CHECKING:
    from nmt.eval.figures.heatmap import NotebookFigure


@dataclass(frozen=True)
class Attention:
    """What a model attends to in a source while it reads or writes a target."""

    picture: Picture

    @property
    def source(self) -> list[str]:
        """The S source tokens, with end-of-sentence where the model adds one."""
        return self.picture.source

    @property
    def target(self) -> list[str]:
        """The T target tokens, end-of-sentence last."""
        return self.picture.target

    @property
    def weights(self) -> np.ndarray:
        """(layers, heads, T, S) float32, of a latent alignment the posterior."""
        return self.picture.maps.weights.numpy()

    @property
    def centre(self) -> np.ndarray | None:
        """(layers, heads, T) float32, where the window of each target token stands; None without a window."""
        return None if self.picture.maps.centre is None else self.picture.maps.centre.numpy()

    @property
    def half_width(self) -> int | None:
        """D of the window, the centre rounded down plus and minus D; None without a window."""
        return self.picture.maps.half_width

    def plot(self, layers: Layers | str = "mean", heads: Heads | str = "mean") -> "NotebookFigure":
        """A matplotlib figure, which a notebook shows: layers and heads each ``all`` or their ``mean``."""
        return self.picture.draw(layers=Layers(layers), heads=Heads(heads))

    def _repr_png_(self) -> bytes:
        """What a notebook shows of the object itself."""
        return self.plot()._repr_png_()
