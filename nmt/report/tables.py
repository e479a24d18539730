"""The tables of a report, as rows of text."""

from collections.abc import Sequence
from dataclasses import dataclass

from nmt.eval.significance import COMBINATION, TEST_NAMES, SignificanceTest
from nmt.report.comparison import Tested
from nmt.report.measures import Measure
from nmt.runs.summary import State
from nmt.runs.table import Configuration, spread, states, with_count


@dataclass(frozen=True)
class Table:
    """A table with a title, a head, and a sentence about it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


SPREAD = "Mean ± sample standard deviation over seeds (lowest to highest)."


def measured(title: str, of: Sequence[Configuration], measures: Sequence[Measure], note: str = SPREAD) -> Table:
    """A row for each configuration, a column for each measure."""
    rows = [
        [c.name, c.seeds, *(shown(m.values[place], m.digits, len(c.runs)) for m in measures)]
        for place, c in enumerate(of)
    ]
    return Table(title, ["configuration", "seeds", *(m.title for m in measures)], rows, note)


def shown(values: Sequence[float], digits: int, seeds: int) -> str:
    """Mean and spread; a count that is the same for all seeds, as of parameters, once."""
    text = spread(values[:1] if digits == 0 and len(set(values)) == 1 else values, digits)
    return with_count(text, values, seeds)


def score_table(of: Sequence[Configuration], measures: Sequence[Measure]) -> Table:
    """Scores; the signatures stand below, and states where not all runs are finished."""
    signatures = "; ".join(f"{m.title}: {m.signature}" for m in measures if m.signature)
    table = measured("Scores", of, measures, f"{SPREAD} {signatures}".strip())
    if all(run.state is State.finished for c in of for run in c.runs):
        return table
    rows = [[*row, states(c.runs)] for row, c in zip(table.rows, of, strict=True)]
    return Table(table.title, [*table.head, "state"], rows, table.note)


def test_table(
    of: Sequence[Configuration],
    baseline: int,
    scores: Sequence[Measure],
    found: Sequence[Tested],
    tests: Sequence[SignificanceTest],
) -> Table:
    """For each configuration and score: the difference from the baseline, and its p-values."""
    head = ["configuration", "score", "seeds", "difference", *(f"p, {TEST_NAMES[test]}" for test in tests)]
    rows = [
        [
            of[t.configuration].name,
            scores[t.column].title,
            ", ".join(map(str, t.seeds)),
            f"{t.difference:+.2f}",
            *(p_shown(t.p_values[test]) for test in tests),
        ]
        for t in sorted(found, key=lambda t: (t.column, t.configuration))
    ]
    note = (
        f"Runs of one seed are compared on the same sentences; p over several seeds is {COMBINATION}, which holds "
        "whatever the dependence of the seeds."
    )
    return Table(f"Against {of[baseline].name}", head, rows, note)


def p_shown(p: float) -> str:
    """A p-value with four digits; never 0."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
