"""Many runs as one table: a row for each configuration, with mean and spread over its seeds."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nmt.eval.evaluate import count_of
from nmt.runs.summary import RunSummary, SetKey, State

VALIDATION = "validation"


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in the seed alone."""

    name: str  # what sets it apart from the other configurations: model.attention=global
    runs: list[RunSummary]  # one a seed, in their order

    @property
    def seeds(self) -> str:
        """The seeds, for a table."""
        return ", ".join(str(run.seed) for run in self.runs)


class Column(NamedTuple):
    """Scores that may be compared: of one set, made in one way, with one signature of the metric."""

    metric: str
    key: SetKey
    sentences: tuple[int, int]  # how many were scored, of how many
    signature: str
    text: str  # a checksum of the references


# Choosing and grouping.


def newest_of_each_seed(runs: Sequence[RunSummary]) -> tuple[list[RunSummary], list[RunSummary]]:
    """The runs that count, and those left out because a configuration was trained again with the same seed.

    Of runs that are equal in configuration and seed, the one counts that was last at work; one without results counts
    only where none has any.
    """
    groups: dict[Any, list[RunSummary]] = defaultdict(list)
    for run in runs:
        groups[run.identity, run.seed].append(run)
    best = [max(group, key=lambda run: (bool(run.results), run.written)) for group in groups.values()]
    chosen = {run.directory for run in best}
    return [r for r in runs if r.directory in chosen], [r for r in runs if r.directory not in chosen]


def configurations(runs: Sequence[RunSummary]) -> list[Configuration]:
    """The runs by configuration, in the order of the runs; each is named by the settings that differ among them."""
    groups: dict[Any, list[RunSummary]] = defaultdict(list)
    for run in runs:
        groups[run.identity].append(run)
    differing = differences([group[0].settings for group in groups.values()])
    return [
        Configuration(
            " ".join(f"{key}={group[0].settings[key]}" for key in differing if key in group[0].settings) or "all",
            sorted(group, key=lambda run: run.seed),
        )
        for group in groups.values()
    ]


def differences(settings: Sequence[dict[str, str]]) -> list[str]:
    """Keys with several values; one that only some configurations have counts only if those differ in it."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one[key] for one in settings if key in one}) > 1]


# Scores in columns.


def column_of(key: SetKey, result: dict[str, Any], metric: str) -> Column:
    """Where a score of a results.json stands."""
    part = result.get("sentences", 0)
    signature = result["scores"][metric].get("signature", "")
    return Column(metric, key, (part, result.get("set_sentences", part)), signature, result.get("text", ""))


def columns(
    runs: Iterable[RunSummary], metrics: Sequence[str] | None = None, sets: Sequence[str] | None = None
) -> list[Column]:
    """All columns that these runs have scores for.

    ``metrics`` and ``sets`` choose some of them; None: every metric, and every set but the validation set.
    """
    found = {column_of(key, r, metric) for run in runs for key, r in run.results.items() for metric in r["scores"]}
    return sorted(
        column
        for column in found
        if (metrics is None or column.metric in metrics)
        and (column.key.name in sets if sets is not None else column.key.name != VALIDATION)
    )


def score(run: RunSummary, column: Column) -> float | None:
    """A run's score in a column, if it has one."""
    result = run.results.get(column.key)
    if (
        result is None
        or column.metric not in result["scores"]
        or column_of(column.key, result, column.metric) != column
    ):
        return None
    return float(result["scores"][column.metric]["value"])


def titles(of: Sequence[Column]) -> list[str]:
    """A title for each column: metric, set, and what tells it from another column of that metric and set."""
    found = []
    for column in of:
        like = [c for c in of if c[:2] == column[:2]]
        differing = [
            part for part in column.signature.split("|") if not all(part in c.signature.split("|") for c in like)
        ]
        counted = [f"{count_of(*column.sentences)} sentences"] if len({c.sentences for c in like}) > 1 else []
        texts = [f"text {column.text or 'unknown'}"] if len({c.text for c in like}) > 1 else []
        words = ", ".join([*counted, *texts, *differing])
        apart = f"[{words}]" if words else ""
        found.append(" ".join(filter(None, (column.metric, column.key.name, column.key.how, apart))))
    return found


def spread(values: Sequence[float], digits: int, short: bool = False) -> str:
    """mean ± sample standard deviation (lowest to highest)."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):,.{digits}f}"
    if short or len(values) == 1:
        return mean
    lowest, highest = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):,.{digits}f} ({lowest} to {highest})"


def with_count(text: str, values: Sequence[float], seeds: int) -> str:
    """A cell, with the number of its values where some of the ``seeds`` of its row have none."""
    return f"{text}, {len(values)} of {seeds} seeds" if 0 < len(values) < seeds else text


# The table.


def table(
    runs: Sequence[RunSummary], metrics: Sequence[str] | None = None, sets: Sequence[str] | None = None
) -> list[list[str]]:
    """The head, and a row for each configuration: seeds, scores, minutes of training, target tokens a second.

    A column of states follows where not all runs are finished.
    """
    shown = columns(runs, metrics, sets)
    unfinished = any(run.state is not State.finished for run in runs)
    head = ["configuration", "seeds", *titles(shown), "minutes", "tokens/s", *(["state"] if unfinished else [])]
    rows = [head]
    for of_row in configurations(runs):
        cost = (spread(known(r.minutes for r in of_row.runs), 1, short=True),
                spread(known(r.speed for r in of_row.runs), 0, short=True))  # fmt: skip
        values = [known(score(run, column) for run in of_row.runs) for column in shown]
        scores = [with_count(spread(of_column, 2), of_column, len(of_row.runs)) for of_column in values]
        rows.append([of_row.name, of_row.seeds, *scores, *cost, *([states(of_row.runs)] if unfinished else [])])
    return rows


def known(values: Iterable[float | None]) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]


def states(runs: Sequence[RunSummary]) -> str:
    """How many runs are in which state: 2 finished, 1 training now."""
    counts = {state: sum(run.state is state for run in runs) for state in State}
    return ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, as a table in Markdown."""
    head, *others = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *others))


def remarks(runs: Sequence[RunSummary], left_out: Sequence[RunSummary]) -> list[str]:
    """What a reader of the table should know: runs left out or without results, and scores that are not comparable."""
    found = [
        f"left out: {run.directory} ({run.state.value}), because a newer run has the same configuration and seed "
        f"{run.seed}"
        for run in left_out
    ]
    found += [f"no results: {run.directory} ({run.state.value})" for run in runs if not run.results]
    for key in sorted({key for run in runs for key in run.results}):
        ways = {str([run.results[key].get(k) for k in ("decode", "checkpoint")]) for run in runs if key in run.results}
        if len(ways) > 1:
            found.append(
                f"not comparable: {' '.join(filter(None, key))} was scored with different decoding or checkpoints"
            )
    found += [f"not in one column: {title} is scored with another signature or on other sentences"
              for title in titles(columns(runs, sets=None)) if title.endswith("]")]  # fmt: skip
    return found
