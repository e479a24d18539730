"""Is a configuration better than the baseline, or is it the choice of test sentences and seeds?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.errors import ConfigError, DataError
from nmt.eval.metrics import METRICS
from nmt.eval.significance import TEST_NAMES, SignificanceTest, combined_p_value, compare
from nmt.runs.results import HYPOTHESES, REFERENCE, SOURCE
from nmt.runs.summary import RunSummary
from nmt.runs.table import Column, Configuration, score, titles


@dataclass(frozen=True)
class Tested:
    """One configuration against the baseline, in one column of scores."""

    configuration: int  # its place
    column: int  # likewise
    seeds: list[int]  # whose runs were paired
    difference: float  # mean over these seeds
    p_values: dict[SignificanceTest, float]  # combined over them


def find_baseline(of: Sequence[Configuration], name: str) -> int:
    """The place of the configuration that ``name`` means: its name, a value in it, or the folder of one of its runs.

    The folder is typed with or without those above it.

    Raises ConfigError, which lists the names, where it is none of them or several.
    """
    for fits in (
        lambda c: c.name == name,
        lambda c: name in [setting.partition("=")[2] for setting in c.name.split(" ")],
        lambda c: any(run.directory.name == name for run in c.runs),
        lambda c: any(run.directory.resolve() == Path(name).resolve() for run in c.runs),
    ):
        found = [number for number, configuration in enumerate(of) if fits(configuration)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    names = "; ".join(repr(c.name) for c in of)
    raise ConfigError(f"baseline={name} is {'several' if found else 'none'} of {names}")


def against_baseline(
    of: Sequence[Configuration],
    baseline: int,
    columns: Sequence[Column],
    tests: Sequence[SignificanceTest],
    trials: int | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> tuple[list[Tested], list[str]]:
    """Paired tests of every other configuration in every column, and what could not be tested.

    Runs of the same seed are paired, because they saw the same batches.  Their texts are those that lie beside the
    scores, so that no model is loaded.  ``progress`` is called with the title of what is being tested.
    """
    found: list[Tested] = []
    notes: list[str] = []
    for number, column in enumerate(columns):
        if column.metric not in METRICS:
            notes.append(f"not tested: {column.metric} is no metric of this program")
            continue
        scored = [{run.seed: run for run in c.runs if score(run, column) is not None} for c in of]
        if not scored[baseline]:
            notes.append(f"not tested: {of[baseline].name} has no {titles(columns)[number]}")
            continue
        notes += [
            f"{c.name}: seeds {', '.join(map(str, alone))} are not paired, because it or the baseline lacks them"
            for c, runs in zip(of, scored, strict=True)
            if runs and (alone := sorted(runs.keys() ^ scored[baseline].keys()))
        ]
        p_values = seed_by_seed(scored, baseline, column, tests, trials, notes, progress)
        for place in range(len(of)):
            tested = {seed: p for (where, seed), p in p_values.items() if where == place}
            if tested:
                found.append(combined(place, number, tested, tests))
    return found, list(dict.fromkeys(notes))


def combined(
    place: int,
    column: int,
    tested: dict[int, dict[SignificanceTest, tuple[float, float]]],
    tests: Sequence[SignificanceTest],
) -> Tested:
    """One result of those of several seeds; ``tested`` has difference and p-value by seed and test."""
    seeds = sorted(tested)
    differences = [tested[seed][tests[0]][0] for seed in seeds]
    return Tested(
        place,
        column,
        seeds,
        sum(differences) / len(differences),
        {test: combined_p_value([tested[s][test][1] for s in seeds], differences) for test in tests},
    )


def seed_by_seed(
    scored: Sequence[dict[int, RunSummary]],
    baseline: int,
    column: Column,
    tests: Sequence[SignificanceTest],
    trials: int | None,
    notes: list[str],
    progress: Callable[[str], object],
) -> dict[tuple[int, int], dict[SignificanceTest, tuple[float, float]]]:
    """Difference and p-value of each test by place of the configuration and seed."""
    found: dict[tuple[int, int], dict[SignificanceTest, tuple[float, float]]] = {}
    for seed, base in scored[baseline].items():
        others = [p for p, runs in enumerate(scored) if p != baseline and seed in runs]
        try:
            references, systems, left = texts(base, [(p, scored[p][seed]) for p in others], column)
        except DataError as error:
            notes.append(f"not tested: {error}")
            continue
        notes += left
        if len(systems) < 2:
            continue
        progress(f"{column.metric} {column.key.name}, seed {seed}")
        # Earlier versions did not write the languages of a set.
        language = base.results[column.key].get("languages", ["", base.settings.get("data.target", "")])[1]
        for result in compare(systems, references, [column.metric], language, tests, trials):
            test = next(t for t in tests if result.test.startswith(TEST_NAMES[t]))
            for row in result.rows[1:]:
                difference = row.value - result.rows[0].value
                found.setdefault((int(row.system), seed), {})[test] = (difference, row.p_value or 0.0)
    return found


def texts(
    base: RunSummary, others: Sequence[tuple[int, RunSummary]], column: Column
) -> tuple[list[str], list[tuple[str, list[str]]], list[str]]:
    """References, the systems' names (places) and translations, the baseline first, and what was scored on others.

    Raises DataError where the baseline's sentences are not there.
    """
    folder = base.folders[column.key]
    source, references = sentences(folder / SOURCE), sentences(folder / REFERENCE)
    systems, notes = [("baseline", translations(folder, len(references)))], []
    for place, run in others:
        theirs = run.folders[column.key]
        try:
            same = sentences(theirs / REFERENCE) == references and sentences(theirs / SOURCE) == source
            if same:
                systems.append((str(place), translations(theirs, len(references))))
            else:
                notes.append(f"not tested: {theirs} has other sentences than {folder}")
        except DataError as error:
            notes.append(f"not tested: {error}")
    return references, systems, notes


def translations(folder: Path, count: int) -> list[str]:
    """The translations in a folder of scores; raises DataError unless there are as many as references."""
    found = sentences(folder / HYPOTHESES)
    if len(found) != count:
        raise DataError(f"{folder / HYPOTHESES} has {len(found)} lines for {count} references")
    return found


def sentences(path: Path) -> list[str]:
    """The lines of a file beside scores; raises DataError where it is not there or is not UTF-8."""
    try:
        return path.read_bytes().decode().split("\n")[:-1]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start + 1})") from None
