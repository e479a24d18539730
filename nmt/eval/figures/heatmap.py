"""Attention as a picture: source on top, target on the left, a panel for each map where there are several.

TensorBoard shows pictures about 350 pixels wide, so everything is laid out in pixels: large cells, large upright
labels, no colour bar, and the percentage written into strong cells.
"""

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from nmt.eval.figures.fonts import advice, families_for
from nmt.eval.figures.panels import Grid, Heads, Layers, arrange
from nmt.models.seq2seq import AttentionMaps

# Pixels of a cell up to 12 tokens, at 40 tokens, and at the least; a grid of more than WIDEST is made of smaller cells.
CELL, CELL_AT_40, LEAST_CELL, WIDEST = 34, 15, 4, 1600
MOST_TOKENS = 80  # of a side; the rest of an endless translation would only make a large picture
MOST_TEXTS = 150  # a text costs 1 to 2 ms
WORD_START, BOX = "\u2022", "\u25a1"
STRONG = 0.15  # weights from here on are written as a percentage
LONGEST_LABEL = 16
DPI = 72  # makes a point a pixel
MARGIN, GAP = 6, 5
TITLE, CAPTION, LABEL, LEAST_LABEL = 14, 11, 17, 8  # sizes of letters before scaling; labels fit their cells

# White to a blue on which black is still easy to read.
COLOURS = LinearSegmentedColormap.from_list("attention", ["#ffffff", "#c3daef", "#4a98cd"])
INK, FAINT, MARK = "#111111", "#dddddd", "#d0440c"


class NotebookFigure(Figure):
    """A figure that a notebook shows as a picture, also where nothing has imported pyplot, which teaches it to."""

    def _repr_png_(self) -> bytes:
        """Called by IPython for the last line of a cell and by ``display``."""
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def draw_heatmap(
    maps: AttentionMaps,
    source: Sequence[str],
    target: Sequence[str],
    title: str = "",
    layers: Layers = Layers.all,
    heads: Heads = Heads.all,
) -> NotebookFigure:
    """A heatmap of attention, with one panel for each map that ``panels.arrange`` makes of layers and heads.

    ``maps`` of one sentence pair, (layers, heads, T, S), on the CPU; weights are 0 to 1.  Its centres, in real-valued
    source positions, are each drawn as a triangle, with the window of floor(centre) plus and minus the half width
    between two lines.  ``source`` and ``target``: S and T pieces.

    The figure has an Agg canvas, and pyplot knows nothing of it.  Characters for which no font is installed become
    boxes, with a note; pieces after the first MOST_TOKENS of a side are left out, with a note.  Raises ValueError for
    shapes that do not fit.
    """
    weights = np.asarray(maps.weights, dtype=np.float64)
    if weights.ndim != 4 or 0 in weights.shape or weights.shape[2:] != (len(target), len(source)):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit {len(target)} target and {len(source)} source pieces"
        )
    centres = None if maps.centre is None else np.asarray(maps.centre, dtype=np.float64)
    grid = arrange(weights, centres, layers, heads)

    columns, labels = (
        [visible(piece) for piece in source[:MOST_TOKENS]],
        [visible(piece) for piece in target[:MOST_TOKENS]],
    )
    families, missing = families_for([*columns, *labels, title])
    columns, labels = ([mend(label, i, missing) for i, label in enumerate(side)] for side in (columns, labels))
    notes = [grid.note] if grid.note else []
    notes += [advice(missing)] if missing else []
    if grid.centres is not None:
        edges = "" if maps.half_width is None else f"   lines: window \u00b1{maps.half_width}"
        notes.append(f"\u25b2 centre p_t{edges}")
    if max(weights.shape[2:]) > MOST_TOKENS:
        notes.append(
            f"the first {len(columns)} of {len(source)} source and {len(labels)} of {len(target)} target pieces"
        )
    sheet = Sheet(grid, columns, labels, mend(title, 0, missing), notes, families)
    if grid.centres is not None:
        for row, column in sheet.places:
            sheet.window(row, column, grid.centres[row, column, :MOST_TOKENS], maps.half_width, len(source))
    return sheet.figure


def visible(piece: str) -> str:
    """A piece as a label: a dot for the word-start mark (U+2581), nothing invisible, nothing too long."""
    shown = piece.replace("\u2581", WORD_START).replace(" ", "\u2423")
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 1] + "…"


def mend(label: str, index: int, missing: set[str]) -> str:
    """Boxes for characters without a font; a label of nothing else is told by its position, counted from 1."""
    mended = "".join(BOX if c in missing else c for c in label)
    return f"{mended}{index + 1}" if BOX in mended and not mended.strip(BOX + WORD_START) else mended


def upright(label: str) -> tuple[str, bool]:
    """A label above a column, and whether it is turned: wide characters (CJK) stand below each other instead."""
    if any(unicodedata.east_asian_width(c) in "WF" for c in label):
        return "\n".join(label), False
    return label, True


def cell_size(tokens: int, panels: int, across: int) -> int:
    """Pixels of a cell for the longer side of a map, with so many panels in all and abreast."""
    size = CELL - (CELL - CELL_AT_40) * max(tokens - 12, 0) / 28
    if panels > 1:
        size *= 0.55
    return max(LEAST_CELL, min(round(max(size, CELL_AT_40 / 2)), WIDEST // (tokens * across)))


class Sheet:
    """A figure with one set of axes whose units are pixels, counted from the top left corner."""

    def __init__(
        self,
        grid: Grid,
        columns: list[str],
        labels: list[str],
        title: str,
        notes: list[str],
        families: list[str],
    ) -> None:
        self.families = families
        maps = grid.maps[:, :, :MOST_TOKENS, :MOST_TOKENS]
        self.rows, self.across, self.T, self.S = maps.shape
        self.places = [divmod(i, self.across) for i in range(len(grid.names))]
        self.cell = cell_size(max(self.S, self.T), self.rows * self.across, self.across)
        self.figure = NotebookFigure(dpi=DPI, facecolor="white")
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()

        # A large figure is shrunk more, so what is written on it must be larger.
        self.scale = min(max(self.across * self.S * self.cell / 400, 1.0), 1.5)
        self.title, self.caption = round(self.scale * TITLE), round(self.scale * CAPTION)
        self.letters = max(LEAST_LABEL, min(self.scale * LABEL, 0.9 * self.cell))

        heads = [upright(label) for label in columns]
        tallest = max(self.extent(label, self.letters)[0 if turned else 1] for label, turned in heads)
        self.left = MARGIN + max(self.extent(label, self.letters)[0] for label in labels) + GAP
        self.top = MARGIN + (self.title + 8 if title else 0) + tallest + GAP
        # Panels stand whole cells apart, so that all of them are one image.
        alone = self.rows * self.across == 1
        self.apart = (0, 0) if alone else (math.ceil((self.caption + 12) / self.cell), math.ceil(10 / self.cell))
        self.pitch = (self.T + self.apart[0]) * self.cell, (self.S + self.apart[1]) * self.cell
        below, right = self.corner(self.rows, self.across)
        width = max(right + MARGIN, 2 * MARGIN + self.extent(title, self.title)[0], 20 * self.caption)
        notes = [
            line for note in notes for line in textwrap.wrap(note, int((width - 2 * MARGIN) / (0.56 * self.caption)))
        ]
        below += MARGIN if alone else 0
        self.axes = self.open(round(width), round(below + MARGIN + 1.3 * self.caption * len(notes)))

        self.write(MARGIN, MARGIN + self.title, title, self.title)
        for i, line in enumerate(notes):
            self.write(MARGIN, below + self.caption * (1 + 1.3 * i), line, self.caption)
        self.cells(maps, grid.names)
        self.label(heads, labels)

    def open(self, width: int, height: int) -> Axes:
        """Axes over the whole figure, a unit a pixel, y downwards."""
        self.figure.set_size_inches(width / DPI, height / DPI)
        axes = self.figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        return axes

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """The top left corner of a panel, as y, x."""
        return self.top + row * self.pitch[0], self.left + column * self.pitch[1]

    def extent(self, text: str, size: float) -> tuple[float, float]:
        """Width and height in pixels of a text of one or several lines."""
        font = FontProperties(family=self.families, size=size)
        lines = text.split("\n")
        widths = [self.renderer.get_text_width_height_descent(line, font, ismath=False)[0] for line in lines]
        return max(widths), 1.2 * size * len(lines)

    def write(self, x: float, y: float, text: str, size: float, **how: Any) -> None:
        """A text whose base line starts at a pixel, unless ``how`` says otherwise; a dollar sign is a dollar sign."""
        how = {"family": self.families, "size": size, "color": INK, "parse_math": False, "linespacing": 1.0} | how
        # Not axes.text: it clips every text to the axes, at a third of a text's cost.
        self.figure.text(x, y, text, transform=self.axes.transData, **how)

    def label(self, heads: list[tuple[str, bool]], labels: list[str]) -> None:
        """Pieces beside each row of panels and above each column, or where that is too many, for the first panel."""
        every = math.ceil(self.letters / (1.2 * self.cell))
        all_of_them = self.rows * self.T + self.across * self.S <= MOST_TEXTS
        base = 0.32 * self.letters  # from the middle of small letters down to their base line
        for row in range(self.rows if all_of_them else 1):
            for t in range(0, self.T, every):
                y = self.corner(row, 0)[0] + (t + 0.5) * self.cell + base
                self.write(self.left - GAP, y, labels[t], self.letters, ha="right")
        for column in range(self.across if all_of_them else 1):
            for s in range(0, self.S, every):
                x = self.corner(0, column)[1] + (s + 0.5) * self.cell
                text, turned = heads[s]
                if turned:
                    self.write(x + base, self.top - GAP, text, self.letters, rotation=90, rotation_mode="anchor")
                else:
                    self.write(x, self.top - GAP, text, self.letters, ha="center", va="bottom")

    def cells(self, maps: np.ndarray, names: list[str]) -> None:
        """All panels: colours, lines between cells, percentages, names."""
        R, C, T, S, cell = *maps.shape, self.cell
        page = np.full((R, T + self.apart[0], C, S + self.apart[1]), np.nan)
        page[:, :T, :, :S] = maps.transpose(0, 2, 1, 3)
        bottom, right = self.corner(R, C)
        self.axes.imshow(
            page.reshape(R * page.shape[1], C * page.shape[3]),
            cmap=COLOURS,
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(self.left, right, bottom, self.top),
        )
        between = 1 if cell >= LEAST_LABEL else 0
        lines = []
        for place, name in zip(self.places, names, strict=True):
            y, x = self.corner(*place)
            lines += [((x, y + t * cell), (x + S * cell, y + t * cell)) for t in range(T + 1) if between or t % T == 0]
            lines += [((x + s * cell, y), (x + s * cell, y + T * cell)) for s in range(S + 1) if between or s % S == 0]
            if name:
                self.write(x, y + T * cell + 2 + self.caption, name, self.caption)
        self.lines(lines, FAINT, 0.8)

        strong = np.argwhere(maps >= STRONG)
        if cell >= CELL_AT_40 and (R * C == 1 or len(strong) <= MOST_TEXTS):
            for row, column, t, s in strong:
                percent = f"{100 * maps[row, column, t, s]:.0f}"
                size = min(0.7 * cell, 14 * self.scale, 1.4 * cell / len(percent))
                y, x = self.corner(row, column)
                self.write(x + (s + 0.5) * cell, y + (t + 0.5) * cell + 0.36 * size, percent, size, ha="center")

    def window(self, row: int, column: int, centre: np.ndarray, half_width: int | None, source: int) -> None:
        """Centres p_t (T,) of local attention and both edges of its windows, where they are inside the sentence.

        ``source``: how many positions the sentence has, shown or not.
        """
        (y, x), cell, rows = self.corner(row, column), self.cell, np.arange(self.T)
        points = x + (centre.clip(-0.5, self.S) + 0.5) * cell, y + (rows + 0.85) * cell
        self.axes.scatter(*points, s=max(0.36 * cell, 6) ** 2, marker="^", color=MARK, linewidths=0, zorder=4)
        if half_width is None:
            return
        middle = np.floor(centre).clip(0, source - 1)
        for edge in (middle - half_width, middle + half_width + 1):
            edge = edge.clip(0, self.S)
            at = x + edge * cell
            down = [((at[t], y + t * cell), (at[t], y + (t + 1) * cell)) for t in rows[(edge > 0) & (edge < self.S)]]
            steps = [((at[t - 1], y + t * cell), (at[t], y + t * cell)) for t in rows[1:] if at[t - 1] != at[t]]
            self.lines(down + steps, MARK, 1.4)

    def lines(self, segments: list[Any], colour: str, width: float) -> None:
        """Line segments ((x, y), (x, y))."""
        self.axes.add_collection(LineCollection(segments, colors=colour, linewidths=width), autolim=False)
