"""What benchmarks/self_attention.py found: what it comes to, two tables and a plot.

    python benchmarks/self_attention_report.py [FILE]      .md, .png and .svg beside FILE,
                                                           benchmarks/results/self_attention.json

Ways:

- global: every position sees every other (model.self_attention=global)
- global/products: the same from plain products, which make all L x L weights of a head; torch's fused kernel, which
  global uses, never holds them
- local: every position sees W on either side (model.self_attention=local)
- sinks, localness: every position sees every other, with a learned sink (model.sinks=self_attention) or a predicted
  Gaussian (model.self_attention=localness); both from plain products
- hard_coded: fixed Gaussians (model.self_attention=hard_coded), without queries and keys
- convolution: 2 W + 1 taps, each a D x D matrix (Gehring et al. 2017, without the gates)
- fully_connected: one L x L matrix, which all features share

Each looks to both sides, as in an encoder, or is causal, as in a decoder: attention then sees nothing that comes later,
local the W before, the convolution has W + 1 taps, and of the L x L matrix the upper triangle is zeroed.  Attention
comes with its maps of queries, keys, values and output; its masks are made in every call, which a model does once for
all layers.  All of it is float32.

Columns, medians over the rounds, and ratios the medians of those within a round:

- L: positions
- forward: milliseconds of a call without gradients
- training: milliseconds of a call forward and backward, to the gradients of inputs and weights
- forward MB, training MB: their peaks in MB of a million bytes, from torch's allocator, beyond inputs and weights
- of global: over the same of global at the same length
- over L/2: over the same at half the length
- faster from: the length from which on training takes less time than global's; empty where it does not
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from common import draw, log_log, markdown, name_lines, save, saved

COLOURS = {
    "global": "#0072B2",
    "global/products": "#56B4E9",
    "local": "#009E73",
    "sinks": "#E69F00",
    "localness": "#999999",
    "hard_coded": "#000000",
    "convolution": "#D55E00",
    "fully_connected": "#B0479A",
}
SIDES = {False: "both sides", True: "causal"}


@dataclass
class Case:
    """What was measured, and what came of it: milliseconds, a sample a round."""

    name: str
    causal: bool
    length: int
    forward: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    forward_mb: float = 0.0
    training_mb: float = 0.0
    skipped_mb: float = 0.0  # of its L x L matrices, if it was skipped for them


Samples = Callable[[Case], list[float]]
MEASURES: dict[str, Samples] = {
    "forward": lambda case: case.forward,
    "training": lambda case: case.training,
    "forward MB": lambda case: [case.forward_mb],
    "training MB": lambda case: [case.training_mb],
}


def over(case: Case, cases: Sequence[Case], name: str, length: float, of: Samples) -> float | None:
    """The median over the rounds of a ratio to another case, if that was measured."""
    wanted = (name, case.causal, length)
    other = next((c for c in cases if (c.name, c.causal, c.length) == wanted and not c.skipped_mb), None)
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(of(case), of(other), strict=True))


def of_global(case: Case, cases: Sequence[Case], of: Samples) -> float | None:
    return over(case, cases, "global", case.length, of)


def over_half(case: Case, cases: Sequence[Case], of: Samples) -> float | None:
    return over(case, cases, case.name, case.length / 2, of)


def faster_from(name: str, cases: Sequence[Case]) -> int | None:
    """The length from which on a way's training takes less time than global's, up to its longest; cases of one side."""
    first = None
    for case in sorted((c for c in cases if c.name == name and not c.skipped_mb), key=lambda c: -c.length):
        found = of_global(case, cases, MEASURES["training"])
        if found is None or found >= 1:
            break
        first = case.length
    return first


def summary(cases: Sequence[Case]) -> str:
    """A row for each way and side at its longest: how it grew, and how it stands to global."""
    rows, keys = [], ("training", "training MB")
    for name, causal in product(dict.fromkeys(c.name for c in cases), SIDES):
        side = [c for c in cases if c.causal == causal]
        longest = max((c for c in side if c.name == name and not c.skipped_mb), key=lambda c: c.length, default=None)
        if longest is not None:
            ratios = [ratio(longest, side, MEASURES[key]) for key in keys for ratio in (of_global, over_half)]
            cells = [*map(number, ratios), str(faster_from(name, side) or "")]
            rows.append([name, SIDES[causal], str(longest.length), *cells])
    head = ["way", "sides", "L", *(h for key in keys for h in (f"{key} of global", f"{key} over L/2")), "faster from"]
    return markdown(head, rows)


def table(cases: Sequence[Case]) -> str:
    """All cases of one side."""
    rows = []
    for case in cases:
        row = [case.name, str(case.length)]
        if case.skipped_mb:
            row += [f"skipped: {number(case.skipped_mb)} MB", *[""] * (3 * len(MEASURES) - 1)]
        else:
            for of in MEASURES.values():
                found = (statistics.median(of(case)), of_global(case, cases, of), over_half(case, cases, of))
                row += [number(x) for x in found]
        rows.append(row)
    return markdown(["way", "L", *(h for key in MEASURES for h in (key, "of global", "over L/2"))], rows)


def number(x: float | None) -> str:
    """Three digits, and none more after the point; empty for what was not measured."""
    if x is None:
        return ""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def report(settings: dict[str, Any], cases: Sequence[Case]) -> str:
    """All of it as Markdown."""
    explained = (__doc__ or "").partition("Ways:")[2]
    parts = [
        "# Ways for positions to talk to one another",
        "\n".join(f"- {name}: {value}" for name, value in settings.items()),
        "At the longest length:",
        summary(cases),
        f"Ways:{explained.rstrip()}",
        *(f"{side.capitalize()}:\n\n{table([c for c in cases if c.causal == key])}" for key, side in SIDES.items()),
    ]
    return "\n\n".join(parts) + "\n"


def plot(cases: Sequence[Case], files: Sequence[Path]) -> None:
    """Time and memory of training against length."""
    from matplotlib.figure import Figure

    shown = [c for c in cases if not c.skipped_mb]
    lengths = sorted({c.length for c in shown})
    figure = Figure(figsize=(12, 9), layout="constrained")
    panels = figure.subplots(2, 2, sharey="col")
    for row, causal in zip(panels, SIDES, strict=True):
        for axes, key, unit in zip(row, ("training", "training MB"), ("milliseconds", "peak MB"), strict=True):
            for name in dict.fromkeys(c.name for c in shown):
                these = [c for c in shown if (c.name, c.causal) == (name, causal)]
                draw(axes, name, [(c.length, statistics.median(MEASURES[key](c))) for c in these], COLOURS[name])
            log_log(axes, "positions", lengths)
            axes.set_title(f"{SIDES[causal]}: {unit}, forward and backward", fontsize=11, loc="left")
            axes.set_ylabel(unit)
    for axes in panels.flat:  # now that their common scale is known
        name_lines(axes)
    for file in files:
        figure.savefig(file, dpi=160)


def write_report(settings: dict[str, Any], cases: Sequence[Case], folder: Path | None) -> str:
    """The report; ``folder`` gets it as self_attention.md, with self_attention.json and the plot."""
    text = report(settings, cases)
    if folder is not None:
        found = {"settings": settings, "cases": [asdict(c) for c in cases]}
        save(folder, "self_attention", found, text, partial(plot, cases))
    return text


def main() -> None:
    found, folder = saved("self_attention")
    print(write_report(found["settings"], [Case(**c) for c in found["cases"]], folder))


if __name__ == "__main__":
    main()
