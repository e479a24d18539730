"""The curves of a report, as SVG: validations during training, and BLEU by length."""

import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from nmt.report.measures import Measure
from nmt.runs.table import Configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 8.0, 4.2  # inches
LINES = ("-", "--", ":", "-.")


class Curve(NamedTuple):
    """Means over seeds with their range."""

    x: list[float]
    mean: list[float]
    lowest: list[float]
    highest: list[float]


def validation_curve(configuration: Configuration, figure: str) -> Curve:
    """A figure of the validations by step; where runs ended at different steps, the mean of those that came so far."""
    by_step: dict[float, list[float]] = defaultdict(list)
    for run in configuration.runs:
        latest: dict[float, float] = {}
        for event in run.events:
            if event["event"] == "validation" and isinstance(event.get(figure), int | float):
                latest[event["step"]] = event[figure]
        for step, value in latest.items():
            by_step[step].append(value)
    steps = sorted(by_step)
    values = [by_step[step] for step in steps]
    return Curve(steps, [statistics.mean(v) for v in values], [min(v) for v in values], [max(v) for v in values])


def curves(of: Sequence[Configuration], figure: str, name: str) -> str:
    """An SVG of one figure of the validations, a line for each configuration; empty where none has it."""
    found = [validation_curve(configuration, figure) for configuration in of]
    if not any(curve.x for curve in found):
        return ""
    drawing, axes = canvas("updates", name)
    for number, (configuration, curve) in enumerate(zip(of, found, strict=True)):
        colour, line = look(number)
        axes.plot(
            curve.x, curve.mean, line, color=colour, label=literal(configuration.name), marker="." * (len(curve.x) < 30)
        )
        axes.fill_between(curve.x, curve.lowest, curve.highest, color=colour, alpha=0.15, linewidth=0)
    return finished(drawing, axes)


def lengths(of: Sequence[Configuration], buckets: Sequence[Measure]) -> str:
    """An SVG of BLEU by words of the source; empty where there is none."""
    if not buckets:
        return ""
    drawing, axes = canvas("words of the source", "BLEU")
    for number, configuration in enumerate(of):
        colour, line = look(number)
        there = [i for i, bucket in enumerate(buckets) if bucket.values[number]]
        means = [statistics.mean(buckets[i].values[number]) for i in there]
        axes.plot(there, means, line, color=colour, marker="o", markersize=4, label=literal(configuration.name))
    axes.set_xticks(range(len(buckets)), [bucket.title for bucket in buckets])
    return finished(drawing, axes)


def literal(label: str) -> str:
    """A label in which a dollar sign begins no formula."""
    return label.replace("$", r"\$")


def look(number: int) -> tuple[str, str]:
    """Colour and kind of line of the configuration of that number: ten colours, then other lines."""
    return f"C{number % 10}", LINES[number // 10 % len(LINES)]


def canvas(x: str, y: str) -> "tuple[Figure, Axes]":
    """A figure with axes."""
    drawing = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    axes = drawing.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    return drawing, axes


def finished(drawing: Figure, axes: "Axes") -> str:
    """The figure with its legend as an SVG element; equal figures give equal text."""
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    with mpl.rc_context({"svg.hashsalt": "nmt"}), io.StringIO() as out:
        drawing.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        text = out.getvalue()
    return text[text.index("<svg") :]
