"""Several runs as one: what ``run=[A,B]`` is to nmt.translate, and ``run=[[A,B]]`` to nmt.eval."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nmt.data.tokenizer import Tokenizer
from nmt.errors import ConfigError
from nmt.runs.directory import Run, run_name, short_hash
from nmt.search import Average, Ensemble


class EnsembleRun:
    """Runs whose distributions over the next token are averaged (nmt.search.Ensemble has the formulas).

    To those who translate and score it is a ``Run``.  The models may differ in everything but the vocabularies: all
    read one source and vote on one next piece.  Raises ConfigError, naming both runs, where vocabularies differ.
    """

    def __init__(self, runs: Sequence[Run], average: Average) -> None:
        first = runs[0]
        for run in runs[1:]:
            for side in ("source", "target"):
                check_same_vocabulary(side, first, run)
        self.runs, self.average = runs, average
        self.tokenizers = first.tokenizers
        # The maps are means over the members, among which no head is the guided one.
        self.config = replace(first.config, trainer=replace(first.config.trainer, guided_alignment=0.0, agreement=0.0))

    @property
    def name(self) -> str:
        """What messages call it."""
        return " + ".join(run.name for run in self.runs)

    @property
    def scores(self) -> Path:
        """The folder of its results, inside that of its first run."""
        name = run_name(["with", *(run.name for run in self.runs[1:])])
        # Two runs in different folders, or a/b and a_b, would have one name.
        paths = "\n".join(str(run.directory.resolve()) for run in self.runs[1:])
        return self.runs[0].scores / f"{name}-{short_hash(paths)}"

    def weights(self, which: str) -> list[Path]:
        """The files of all runs; see ``Run.weights``."""
        return [path for run in self.runs for path in run.weights(which)]

    def load_model(self, which: str, device: torch.device) -> tuple[Ensemble, int]:
        """The ensemble in eval mode, and the latest step of any of its weights; see ``Run.load_model``."""
        models, steps = zip(*(run.load_model(which, device) for run in self.runs), strict=True)
        return Ensemble(models, self.average, [run.name for run in self.runs]).eval(), max(steps)


def check_same_vocabulary(side: str, one: Run, other: Run) -> None:
    """Raise ConfigError unless both runs have the same tokenizer on that side."""
    a, b = getattr(one.tokenizers, side), getattr(other.tokenizers, side)
    if vocabulary_of(a) != vocabulary_of(b):
        embedded = one.config.data.name == "phrases" and one.config.seed != other.config.seed
        drawn = "; data=phrases draws other text for each seed" if embedded else ""
        raise ConfigError(
            f"{one.name} ({a.size:,} {side} pieces, {a.kind.name}) and {other.name} ({b.size:,}, {b.kind.name}) have "
            f"different {side} vocabularies; an ensemble needs one, which runs on the same data with the same "
            f"data.tokenizer have{drawn}"
        )


def vocabulary_of(tokenizer: Tokenizer) -> tuple[Any, ...]:
    """Equal where two tokenizers give the same ids."""
    return tokenizer.kind, tokenizer.lowercase, tokenizer.to_bytes()


def open_run(where: str | Path | Sequence[str | Path], average: Average | None = None) -> Run | EnsembleRun:
    """The run in a directory, or the ensemble of those in several; ``average`` None: as the first's config says."""
    runs = [Run.open(directory) for directory in ([where] if isinstance(where, str | Path) else where)]
    return runs[0] if len(runs) == 1 else EnsembleRun(runs, average or runs[0].config.decode.ensemble)
