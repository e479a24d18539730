"""Attention of one sentence pair, kept until somebody wants to see it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nmt.eval.figures.panels import Heads, Layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """Attention of one sentence pair, ready to be drawn."""

    sentence: int  # its place in the set
    kind: str  # "reference" (forced), "translation" (searched), "encoder" or "decoder" (self-attention)
    source: list[str]  # S pieces, which are attended to
    target: list[str]  # T pieces
    weights: Any  # (layers, heads, T, S)
    centre: Any = None  # (layers, heads, T)
    half_width: int | None = None

    def draw(self, step: int | None = None, layers: Layers = Layers.all, heads: Heads = Heads.all) -> "Figure":
        """The figure; sentence number and ``step`` go into its title."""
        from nmt.eval.figures.heatmap import draw  # here: it brings matplotlib, which takes half a second

        at = "" if step is None else f", step {step}"
        title = f"sentence {self.sentence}{at}: {self.kind}"
        return draw(self.weights, self.source, self.target, title, self.centre, self.half_width, layers, heads)
