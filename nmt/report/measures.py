"""The figures of a report: for each configuration one value a seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nmt.eval.challenges import TITLES
from nmt.runs.summary import RunSummary, SetKey
from nmt.runs.table import Column, Configuration, score


@dataclass(frozen=True)
class Measure:
    """One figure of all runs."""

    title: str
    digits: int
    values: list[list[float]]  # of each configuration, the values of its runs that have one
    signature: str = ""  # of a metric


def measure(
    title: str,
    digits: int,
    of: Sequence[Configuration],
    read: Callable[[RunSummary], float | None],
    signature: str = "",
) -> Measure:
    """What ``read`` finds in each run."""
    values = [[v for run in configuration.runs if (v := read(run)) is not None] for configuration in of]
    return Measure(title, digits, values, signature)


def present(measures: Sequence[Measure]) -> list[Measure]:
    """Those of which there is any value."""
    return [m for m in measures if any(m.values)]


def scores(of: Sequence[Configuration], columns: Sequence[Column], titles: Sequence[str]) -> list[Measure]:
    """The scores, one measure for each column of nmt.runs.table: never two signatures in one."""
    return [
        measure(title, 2, of, lambda run, column=column: score(run, column), column.signature)
        for column, title in zip(columns, titles, strict=True)
    ]


def qualities(of: Sequence[Configuration], keys: Sequence[SetKey]) -> list[Measure]:
    """Perplexity, and the alignment error rate (per cent) with both shifts, on each set."""
    found = []
    for key in keys:
        name = " ".join(filter(None, key))
        found.append(measure(f"perplexity {name}", 2, of, lambda run, key=key: at(run, key, "perplexity")))
        for shift in (0, 1):
            path = ("alignment", f"shift {shift}", "aer")
            found.append(
                measure(
                    f"AER {name}, align.shift={shift}", 1, of, lambda run, key=key, p=path: percent(at(run, key, *p))
                )
            )
    return present(found)


def faults(of: Sequence[Configuration], keys: Sequence[SetKey]) -> list[Measure]:
    """The shares of nmt.eval.challenges, per cent, on each set."""
    found = []
    for key in keys:
        for name, title in TITLES.items():
            found.append(
                measure(f"{' '.join(filter(None, key))}: {title}", 2, of, lambda run, k=key, n=name: share(run, k, n))
            )
    return present(found)


def share(run: RunSummary, key: SetKey, name: str) -> float | None:
    """One of the shares, per cent; None where it was not counted, or is one of nothing."""
    part, whole = (at(run, key, "challenges", name, of) for of in ("part", "of"))
    return None if part is None or not whole else 100 * part / whole


def costs(of: Sequence[Configuration], keys: Sequence[SetKey]) -> list[Measure]:
    """Parameters, time, speed of training and of search, and memory."""
    found = [
        measure("parameters", 0, of, lambda run: run.parameters),
        measure("minutes of training", 1, of, lambda run: run.minutes),
        measure("training, target tokens/s", 0, of, lambda run: run.speed),
        measure("memory, MiB", 0, of, lambda run: run.memory),
    ]
    for key in keys:
        name = " ".join(filter(None, key))
        speed = measure(f"search {name}, tokens/s", 0, of, lambda run, key=key: at(run, key, "tokens_per_second"))
        found.append(speed)
    return present(found)


def by_length(of: Sequence[Configuration], key: SetKey) -> list[Measure]:
    """BLEU of a set by words of the source, a measure for each bucket; empty where no run has it."""
    buckets = {
        (b["shortest"], b["longest"]): b["sentences"]
        for configuration in of
        for run in configuration.runs
        for b in run.results.get(key, {}).get("by_length", [])
    }
    return [
        measure(
            f"{shortest}+" if longest is None else f"{shortest}-{longest}",
            *(2, of, lambda run, shortest=shortest: bucket_bleu(run, key, shortest)),
        )
        for shortest, longest in sorted(buckets, key=lambda edges: edges[0])
    ]


def bucket_bleu(run: RunSummary, key: SetKey, shortest: int) -> float | None:
    """BLEU of the bucket that begins at so many words."""
    buckets = run.results.get(key, {}).get("by_length", [])
    return next((b["bleu"] for b in buckets if b["shortest"] == shortest), None)


def at(run: RunSummary, key: SetKey, *path: str) -> float | None:
    """A number in a run's results of a set; None where there is none."""
    node = run.results.get(key, {})
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return float(node) if isinstance(node, int | float) else None


def percent(value: float | None) -> float | None:
    """A share as per cent."""
    return None if value is None else 100 * value
