"""What benchmarks/attention.py found: a table, a verdict on each promise, and a plot.

    python benchmarks/attention_report.py [benchmarks/results/attention.json]      writes .md, .png and .svg beside it

Columns, in milliseconds, medians over the samples:
    search     a step forward without gradients
    training   a step forward and backward
    prepare, zero, gradient
               once a training batch: padding and keys; making the zeroed gradient buffer of windows; the memory's
               gradient from what the steps left, and back through prepare
    all/step   a training step and its share of everything that a batch does once
and in MB of a million bytes, from torch's allocator, beyond the inputs:
    search MB  the peak of a step in search
    batch MB, step MB
               the peak of a training batch, as what it holds in any case and what each step adds
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from common import draw, log_log, markdown, name_lines, save, saved

ALLOWED = 1.15  # what a promise leaves to chance
BATCH_STEPS = 50  # over which all/step spreads what a batch does once
TIMES = ("search", "training", "prepare", "zero", "gradient")
MEMORY = ("search_mb", "batch_mb", "step_mb")
# hard attention costs what global does, and would hide it.
COLOURS = {"bahdanau": "#D55E00", "global": "#0072B2", "local_m": "#009E73", "local_p": "#B0479A"}


@dataclass
class Case:
    """What was measured, and what came of it: milliseconds of each sample, in which ``round`` numbers the round."""

    name: str
    source: int
    queries: int
    threads: int
    steps: int = 0
    memory: dict[str, float] = field(default_factory=dict)
    samples: list[dict[str, float]] = field(default_factory=list)


Cost = Callable[[Case, int | None], float]


def cost(key: str) -> Cost:
    """Median milliseconds of ``key`` over all samples of a case, or over those of one round."""

    def median(case: Case, turn: int | None = None) -> float:
        return statistics.median(s[key] for s in case.samples if turn is None or s["round"] == turn)

    return median


def spread_out(case: Case, turn: int | None = None) -> float:
    """A training step and its share of all that is done once in a batch of BATCH_STEPS."""
    whole, step = cost("batch")(case, turn), cost("training")(case, turn)
    return step + max(whole - case.steps * step, 0.0) / BATCH_STEPS


def ratio(case: Case, others: Sequence[Case], of: Cost) -> float:
    """A case's cost over the least of the others', the median over the rounds in which all were measured."""
    rounds = set.intersection(*({s["round"] for s in c.samples} for c in (case, *others)))
    return statistics.median(of(case, int(r)) / min(of(c, int(r)) for c in others) for r in rounds)


class Verdict(NamedTuple):
    """A promise, one place where it was looked at, and the ratio found there."""

    promise: str
    place: str
    found: float

    @property
    def kept(self) -> bool:
        """Whether it is kept."""
        return self.found <= ALLOWED


def verdicts(cases: Sequence[Case], decoder: Sequence[Case]) -> Iterator[Verdict]:
    """Every promise at every place where it can be looked at."""
    at = {key(c): c for c in cases}
    steps = {"search": cost("search"), "training": cost("training")}
    sources = sorted({c.source for c in cases})
    low, high = 100 if 100 in sources else sources[0], sources[-1]
    for case in cases:
        base = at.get((case.name, low, case.queries, case.threads))
        if case.source == high and case.name in ("local_m", "local_p") and base is not None:
            for kind, of in steps.items():
                promise = f"a step at S={high} over one at S={low}"
                yield Verdict(promise, f"{place(case)}, {kind}", ratio(case, [base], of))
    for case in cases:
        ways = [at[k] for way in ("dense", "windows") if (k := (f"{case.name}/{way}", *key(case)[1:])) in at]
        for kind, of in {"search": cost("search"), "training, all/step": spread_out}.items() if len(ways) == 2 else ():
            where = f"S={case.source}, {place(case)}, {kind}"
            yield Verdict("local attention over the better of its two ways", where, ratio(case, ways, of))
    for case in (c for c in decoder if c.name == "local_p"):
        other = [c for c in decoder if c.name == "global" and c.threads == case.threads]
        for kind, of in steps.items():
            promise = f"a whole decoder step at S={case.source} over one with global"
            yield Verdict(promise, f"{place(case)}, {kind}", ratio(case, other, of))


def place(case: Case) -> str:
    return f"{case.name}, N={case.queries}, {threads(case)}"


def threads(case: Case) -> str:
    return f"{case.threads} thread{'s' * (case.threads > 1)}"


def judged(found: Sequence[Verdict]) -> str:
    """A line for each promise, and one for each place where it is broken."""
    lines = []
    for promise in dict.fromkeys(v.promise for v in found):
        these = [v for v in found if v.promise == promise]
        worst = max(these, key=lambda v: v.found)
        kept = sum(v.kept for v in these)
        lines.append(
            f"- {promise}: at most {ALLOWED} in {kept} of {len(these)} places; the most is {worst.found:.2f} "
            f"({worst.place})"
        )
        lines += [f"    - {v.found:.2f} at {v.place}" for v in these if not v.kept]
    return "\n".join(lines)


def growth(cases: Sequence[Case]) -> str:
    """How a step grows from one source length to the next, for mechanisms that read all of it."""
    sources = sorted({c.source for c in cases})
    lines = []
    for low, high in itertools.pairwise(sources):
        for case in (c for c in cases if c.name == "global" and c.source == high and c.samples):
            (base,) = (c for c in cases if (*key(c)[2:], c.name, c.source) == (*key(case)[2:], "global", low))
            found = [ratio(case, [base], cost(kind)) for kind in ("search", "training")]
            lines.append(
                f"- global, S={high} over S={low} ({high / low:.3g} times the positions), N={case.queries}, "
                f"{threads(case)}: search {found[0]:.3g}, training {found[1]:.3g}"
            )
    return "\n".join(lines)


def key(case: Case) -> tuple[str, int, int, int]:
    return case.name, case.source, case.queries, case.threads


def attention_table(cases: Sequence[Case]) -> str:
    head = ["mechanism", "S", "N", "threads", *(t.replace("_", "-") for t in TIMES), "all/step"]
    rows = []
    for c in sorted(cases, key=lambda c: (c.threads, c.queries, c.source)):
        times = [*(cost(kind)(c, None) for kind in TIMES), spread_out(c)]
        memory = [f"{c.memory[m]:.3g}" if m in c.memory else "" for m in MEMORY]
        rows.append([c.name, *map(str, key(c)[1:]), *(f"{t:.3g}" for t in times), *memory])
    return markdown([*head, *(m.replace("_mb", " MB") for m in MEMORY)], rows)


def decoder_table(cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        other = [c for c in cases if c.name == "global" and c.threads == case.threads]
        row = [case.name, str(case.threads)]
        for kind in ("search", "training"):
            row += [f"{cost(kind)(case, None):.3g}", f"{ratio(case, other, cost(kind)):.2f}"]
        rows.append(row)
    return markdown(["mechanism", "threads", "search", "of global", "training", "of global"], rows)


def report(settings: dict[str, Any], cases: Sequence[Case], decoder: Sequence[Case], mixtures: Sequence[Case]) -> str:
    """All of it as Markdown."""
    lines = [f"- {name}: {value}" for name, value in settings.items()]
    explained = (__doc__ or "").partition("Columns, ")[2]
    parts = [
        "# Cost of attention",
        "\n".join(lines),
        judged(list(verdicts(cases, decoder))),
        growth(cases),
        f"Columns, {explained.strip()}",
        attention_table(cases),
        f"A whole decoder step (LSTM, attention, attentional vector) at S={decoder[0].source}, N=1, milliseconds:",
        decoder_table(decoder),
    ]
    if mixtures:  # which older results do not have
        parts += [
            "A target position of a whole LSTM, encoder, projection and loss included, where the attention weights mix "
            "predictions (model.mixture), of the K likeliest positions, of all or of single words, with intra-decoder "
            f"attention, and with the encoder lstmn; S={mixtures[0].source}, N=1, milliseconds:",
            decoder_table(mixtures),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plot(cases: Sequence[Case], files: Sequence[Path]) -> None:
    """Milliseconds of a step against source length, N and threads as few as there are."""
    from matplotlib.figure import Figure

    few = min(c.queries for c in cases), min(c.threads for c in cases)
    found = [c for c in cases if (c.queries, c.threads) == few]
    shown = [c for c in found if c.name in COLOURS] or found
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"search": "search: a step forward", "training": "training: a step forward and backward"}
    sources = sorted({c.source for c in shown})
    for axes, (kind, title) in zip(panels, titles.items(), strict=True):
        for name in dict.fromkeys(c.name for c in shown):
            points = sorted((c.source, cost(kind)(c, None)) for c in shown if c.name == name)
            draw(axes, name, points, COLOURS.get(name, "black"))
        log_log(axes, "source positions", sources)
        axes.set_title(title, fontsize=11, loc="left")
    for axes in panels:  # now that their common scale is known
        name_lines(axes)
    panels[0].set_ylabel("milliseconds")
    for file in files:
        figure.savefig(file, dpi=160)


def write_report(
    settings: dict[str, Any],
    cases: Sequence[Case],
    decoder: Sequence[Case],
    mixtures: Sequence[Case],
    folder: Path | None,
) -> str:
    """The report; ``folder`` gets it as attention.md, with attention.json and the plot."""
    text = report(settings, cases, decoder, mixtures)
    if folder is not None:
        parts = {"cases": cases, "decoder": decoder, "mixtures": mixtures}
        found = {"settings": settings} | {name: [asdict(c) for c in part] for name, part in parts.items()}
        save(folder, "attention", found, text, partial(plot, cases))
    return text


def main() -> None:
    found, folder = saved("attention")
    cases, decoder, mixtures = ([Case(**c) for c in found.get(part, [])] for part in ("cases", "decoder", "mixtures"))
    print(write_report(found["settings"], cases, decoder, mixtures, folder))


if __name__ == "__main__":
    main()
