"""A report as Markdown, CSV and LaTeX."""

import csv
import io
import re
import statistics
from collections.abc import Sequence

from nmt.report.comparison import Tested
from nmt.report.measures import Measure
from nmt.report.tables import Table
from nmt.runs.table import Configuration, markdown

LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}"},
}


def as_markdown(title: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """All tables, each with its note, and what a reader should know."""
    parts = [f"# {title}"]
    for table in tables:
        parts += [f"## {table.title}", markdown([table.head, *table.rows]), table.note]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []
    return "\n\n".join(part for part in parts if part) + "\n"


def as_latex(tables: Sequence[Table]) -> str:
    """A tabular for each table, between the rules of booktabs; paste what is wanted into a paper."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        lines = [" & ".join(latex(cell) for cell in row) + r" \\" for row in (table.head, *table.rows)]
        body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        columns = "l" + "r" * (len(table.head) - 1)
        note = [f"% {line}" for line in table.note.splitlines()]
        parts.append(
            "\n".join([f"% {table.title}", *note, f"\\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])
        )
    return "\n\n".join(parts) + "\n"


def latex(text: str) -> str:
    """Text with the characters replaced that LaTeX takes for something else."""
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found[0]], text)


def as_csv(
    of: Sequence[Configuration], measures: Sequence[Measure], scores: Sequence[Measure], tested: Sequence[Tested]
) -> str:
    """A line for each configuration and measure, with full precision: for a spreadsheet or another program.

    The p-values of the measures that are scores stand in columns of their own, empty for the baseline.
    """
    tests = sorted({test.name for t in tested for test in t.p_values})
    out = io.StringIO()
    head = ["configuration", "measure", "signature", "seeds", "mean", "standard deviation", "lowest", "highest"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, "difference", *(f"p {name}" for name in tests)])
    for place, configuration in enumerate(of):
        for m in measures:
            if not m.values[place]:
                continue
            values = m.values[place]
            deviation = statistics.stdev(values) if len(values) > 1 else ""
            found = [t for t in tested if t.configuration == place and m in scores and scores.index(m) == t.column]
            extra = [
                [t.difference, *({test.name: p for test, p in t.p_values.items()}.get(name, "") for name in tests)]
                for t in found
            ]
            figures = [len(values), statistics.mean(values), deviation, min(values), max(values)]
            row = [configuration.name, m.title, m.signature, *figures]
            writer.writerow([*row, *(extra[0] if extra else [""] * (1 + len(tests)))])
    return out.getvalue()
