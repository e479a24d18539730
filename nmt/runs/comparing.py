"""Paired tests between runs that were scored on the same sentences: printed, and written beside the results."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nmt.data.text import ParallelText
from nmt.eval.evaluate import Evaluation
from nmt.eval.significance import Comparison, SeedComparison, compare
from nmt.runs.directory import run_name, write_json
from nmt.runs.results import comparison_file


class Scored(NamedTuple):
    """A run or ensemble on one set."""

    name: str  # of the run
    text: ParallelText
    evaluation: Evaluation
    folder: Path  # where its results were written


def compare_runs(found: Sequence[Scored], metrics: Sequence[str], target_language: str) -> list[Comparison]:
    """Print the tests of every run against the first, and write those of each beside its results."""
    baseline = found[0]
    references = [baseline.text.target[i] for i in baseline.evaluation.indices]
    systems = [(one.name, one.evaluation.hypotheses) for one in found]
    comparisons = compare(systems, references, metrics, target_language)
    for comparison in comparisons:
        print(comparison, flush=True)
    for place, one in enumerate(found[1:], 1):
        path = comparison_file(one.folder, baseline.folder)
        write_json(path, described(baseline, one) | {"tests": [c.to_dict(place) for c in comparisons]})
        print(f"  p-values written to {path}", flush=True)
    return comparisons


def compare_seeds(
    seeds: Sequence[int],
    baselines: Sequence[Scored],
    found: Sequence[Scored],
    metrics: Sequence[str],
    target_language: str,
) -> None:
    """Test each run against the baseline of its seed; print and write all p-values and what they say together."""
    by_seed = []
    for pair in zip(baselines, found, strict=True):
        print(f"\n{pair[1].name} against {pair[0].name}", flush=True)
        by_seed.append(compare_runs(pair, metrics, target_language))
    together = [SeedComparison(list(zip(seeds, tests, strict=True))) for tests in zip(*by_seed, strict=True)]
    print(f"\nall {len(seeds)} seeds together", flush=True)
    for comparison in together:
        print(comparison, flush=True)
    path = seeds_file(baselines, found)
    write_json(
        path,
        described(baselines[0], found[0])
        | shown_names(baselines, found)
        | {
            "seeds": list(seeds),
            "tests": [comparison.to_dict() for comparison in together],
        },
    )
    print(f"  p-values written to {path}", flush=True)


def described(baseline: Scored, one: Scored) -> dict[str, Any]:
    """What is compared."""
    evaluation = one.evaluation
    return {
        "set": one.text.name,
        "sentences": len(evaluation.indices),
        "set_sentences": evaluation.set_sentences,
        "run": one.name,
        "against": baseline.name,
        "results": str(one.folder),
        "results_against": str(baseline.folder),
    }


def shown_names(baselines: Sequence[Scored], found: Sequence[Scored]) -> dict[str, Any]:
    """The runs of both sides, with the folders of their results."""
    return {
        "run": [one.name for one in found],
        "against": [one.name for one in baselines],
        "results": [str(one.folder) for one in found],
        "results_against": [str(one.folder) for one in baselines],
    }


def seeds_file(baselines: Sequence[Scored], found: Sequence[Scored]) -> Path:
    """Where the tests of all seeds together are written: in the folder that holds the runs."""
    folder = Path(os.path.commonpath([Path(one.name).parent for one in found]))
    mine, theirs = (shared_beginning([one.name for one in side]) for side in (found, baselines))
    of_set = found[0].folder.relative_to(Path(found[0].name))
    return folder / f"{run_name(['seeds', Path(mine).name, 'against', theirs, str(of_set)])}.json"


def shared_beginning(names: Sequence[str]) -> str:
    """What all names begin with, without a sign at its end that would have gone on: runs/a/local_p-seed."""
    different = (place for place, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1)
    return names[0][: next(different, min(map(len, names)))].rstrip("/_-.")
