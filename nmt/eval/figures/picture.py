"""Attention of one sentence pair, which becomes a figure only when somebody asks for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nmt.eval.figures.panels import Heads, Layers
from nmt.models.seq2seq import AttentionMaps

if TYPE_CHECKING:
    from nmt.eval.figures.heatmap import NotebookFigure


@dataclass(frozen=True)
class Picture:
    """Attention of one sentence pair with the pieces it is between."""

    sentence: int  # its place in the set
    kind: str  # "reference" (forced), "translation" (searched), "encoder" or "decoder" (self-attention)
    source: list[str]  # S pieces, which are attended to
    target: list[str]  # T pieces
    maps: AttentionMaps  # of this pair alone: (layers, heads, T, S), on the CPU
    posterior: bool = False  # whether they are p(s | x, y_t) of a latent alignment, which have seen the target word

    def draw(self, step: int | None = None, layers: Layers = Layers.all, heads: Heads = Heads.all) -> "NotebookFigure":
        """The figure; sentence number and ``step`` go into its title."""
        from nmt.eval.figures.heatmap import draw_heatmap  # here: it brings matplotlib, which takes half a second

        at = "" if step is None else f", step {step}"
        title = f"sentence {self.sentence}{at}: {self.kind}{', posterior' if self.posterior else ''}"
        return draw_heatmap(self.maps, self.source, self.target, title, layers, heads)
