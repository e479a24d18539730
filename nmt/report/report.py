"""From run directories to a report, and from a report to files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nmt.errors import ConfigError
from nmt.eval.significance import SignificanceTest
from nmt.report import measures, plots, tables
from nmt.report.alignments import Sentence, side_by_side
from nmt.report.comparison import Tested, against_baseline, find_baseline
from nmt.report.formats import as_csv, as_latex, as_markdown
from nmt.report.measures import Measure
from nmt.report.page import as_html
from nmt.report.tables import Table
from nmt.runs.directory import write_text_file
from nmt.runs.summary import SetKey, read_runs
from nmt.runs.table import VALIDATION, Configuration, columns, configurations, newest_of_each_seed, remarks, titles

# What a report writes, and what stands at the beginning of each file that it wrote.
FILES = {
    "report.md": "# Report of ",
    "report.csv": "configuration,measure,",
    "report.tex": "% \\usepackage{booktabs}",
    "report.html": "<title>Report of ",
}


def refuse_other_files(folder: Path) -> None:
    """Raise ConfigError where a report would replace what is no report."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output={folder} is a file: type the name of a folder")
    for name, beginning in FILES.items():
        path = folder / name
        if path.exists() and beginning.encode() not in path.read_bytes()[:1000]:
            raise ConfigError(f"{path} is there and is no report: type output=DIR, another folder")


@dataclass(frozen=True)
class ReportOptions:
    """What a report is of, and what is in it."""

    baseline: str | None = None  # what the others are tested against
    metrics: Sequence[str] | None = None  # None: all that were scored
    sets: Sequence[str] | None = None  # None: all but the validation set
    tests: Sequence[SignificanceTest] = tuple(SignificanceTest)
    trials: int | None = None
    alignments: int = 2  # sentences whose attention is drawn
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Report:
    """Everything that is written."""

    title: str
    of: list[Configuration]
    measures: list[Measure]
    scores: list[Measure]  # those of them that are scores
    tested: list[Tested]
    tables: list[Table]
    plots: list[tuple[str, str]]  # title and SVG
    alignments: list[Sentence]
    notes: list[str]

    @property
    def markdown(self) -> str:
        """The tables, and what a reader should know."""
        return as_markdown(self.title, self.tables, self.notes)

    def write(self, folder: Path) -> list[Path]:
        """report.md, report.csv, report.tex and report.html; raises RunError where the disk refuses."""
        contents = (
            self.markdown,
            as_csv(self.of, self.measures, self.scores, self.tested),
            as_latex(self.tables),
            as_html(self.title, self.tables, self.plots, self.alignments, self.notes),
        )
        for name, text in zip(FILES, contents, strict=True):
            write_text_file(folder / name, text)
        return [folder / name for name in FILES]


def make_report(
    directories: Sequence[Path], options: ReportOptions, progress: Callable[[str], object] = lambda _: None
) -> Report:
    """Read the runs, test them, and draw.

    Raises RunError for a folder without runs and for damaged files, ConfigError for a baseline that no configuration
    is and for sets or metrics that no run was scored by.
    """
    runs, left_out = newest_of_each_seed(read_runs(directories))
    of = configurations(runs)
    shown = columns(runs, options.metrics, options.sets)
    if not shown and (options.metrics is not None or options.sets is not None):
        there = ", ".join(titles(columns(runs))) or "none"
        raise ConfigError(f"sets and metrics choose no scores; there are {there}, and those of the set {VALIDATION}")
    baseline = None if options.baseline is None else find_baseline(of, options.baseline)
    keys = sorted({column.key for column in shown})
    scores = measures.scores(of, shown, titles(shown))
    tested, notes = [], [*(note for run in runs for note in run.notes), *remarks(runs, left_out)]
    if baseline is not None:
        tested, untested = against_baseline(of, baseline, shown, options.tests, options.trials, progress)
        notes += untested
    qualities, costs = measures.qualities(of, [SetKey(VALIDATION, ""), *keys]), measures.costs(of, keys)
    faults = measures.faults(of, keys)
    lengths = {key: found for key in keys if (found := measures.by_length(of, key))}
    pictures, undrawn = side_by_side(of, keys, options.alignments, options.device, progress)
    return Report(
        f"Report of {', '.join(map(str, directories))}",
        of,
        [*scores, *qualities, *(renamed(key, m) for key, found in lengths.items() for m in found), *faults, *costs],
        scores,
        tested,
        all_tables(of, scores, tested, baseline, options, qualities, lengths, faults, costs),
        all_plots(of, lengths),
        pictures,
        [*dict.fromkeys(notes), *undrawn],
    )


def all_tables(
    of: Sequence[Configuration],
    scores: Sequence[Measure],
    tested: Sequence[Tested],
    baseline: int | None,
    options: ReportOptions,
    qualities: Sequence[Measure],
    lengths: dict[SetKey, list[Measure]],
    faults: Sequence[Measure],
    costs: Sequence[Measure],
) -> list[Table]:
    """The tables in their order; those without columns or rows are left out."""
    found = [tables.score_table(of, scores)]
    if baseline is not None and tested:
        found.append(tables.test_table(of, baseline, scores, tested, options.tests))
    if qualities:
        found.append(tables.measured("Perplexity and alignment", of, qualities))
    found += [
        tables.measured(f"BLEU by words of the source, {named(key)}", of, buckets) for key, buckets in lengths.items()
    ]
    if faults:
        found.append(tables.measured("Faults that a mean hides, per cent", of, faults))
    return [*found, *([tables.measured("Cost", of, costs)] if costs else [])]


def all_plots(of: Sequence[Configuration], lengths: dict[SetKey, list[Measure]]) -> list[tuple[str, str]]:
    """Curves of the validations during training, and BLEU by length."""
    curves = [
        (f"Validation during training: {name}", plots.curves(of, figure, name))
        for figure, name in (("loss", "loss"), ("bleu", "BLEU"), ("aer", "AER"))
    ]
    return [*curves, *((f"BLEU by length, {named(key)}", plots.lengths(of, found)) for key, found in lengths.items())]


def named(key: SetKey) -> str:
    """A set and how it was scored, in words."""
    return " ".join(filter(None, key))


def renamed(key: SetKey, bucket: Measure) -> Measure:
    """A bucket of source lengths under a title that says what it is of."""
    return Measure(f"BLEU {named(key)}, {bucket.title} words", bucket.digits, bucket.values)
