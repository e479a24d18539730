"""Whether an exported model is the model: sentences are translated and scored by torch and by the other runtime."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from nmt.batch import EOS
from nmt.config import restore, to_tree
from nmt.data.corpus import validation_text
from nmt.data.directions import toward
from nmt.device import Precision
from nmt.errors import RunError, UserError
from nmt.runs.directory import Run, read_data
from nmt.search import DecodeConfig
from nmt.search.engine import Engine

SENTENCES = 50
TOLERANCE = 1e-4  # of a score (decode.length_penalty=average: a log-probability a token)


class Checked(NamedTuple):
    """What came of a check that was passed."""

    text: str  # where the sentences are from
    sentences: int
    same: int  # whose best translation is the same
    largest: float  # difference of the scores of one translation

    def __str__(self) -> str:
        return (
            f"{self.same} of {self.sentences} sentences ({self.text}) are translated the same, scores to "
            f"{self.largest:.1e}"
        )


def check_export(run: Run, ours: Engine, theirs: Engine, name: str) -> Checked:
    """Translate SENTENCES of the run's own with both, in float32.

    Both have to give each translation of ``ours`` the same score to TOLERANCE, and ``theirs`` has to find it, or one
    that ``ours`` scores as high; where it finds none, search has to have come to its length limit.  Raises RunError,
    beginning with ``name``, where not.
    """
    text, sources = sample_sources(run, ours.longest_source)
    config = check_config(run)
    expected = ours.translate_ids(sources, config)
    best = [hypotheses[0] for hypotheses in expected]
    scores = theirs.score_ids(sources, [[h.ids] for h in best], config)
    largest = 0.0
    for number, (own, [other]) in enumerate(zip(best, scores, strict=True), 1):
        difference = abs(own.score - other.score)
        largest = max(largest, difference)
        if not difference <= TOLERANCE:
            raise RunError(
                f"{name}: the exported model scores the translation of sentence {number} ({text}) {other.score:.5f}, "
                f"and this one {own.score:.5f}: nothing was exported"
            )
    found = [hypotheses[:1] for hypotheses in theirs.translate_ids(sources, config)]
    again = ours.score_ids(sources, [[h.ids for h in hypotheses] for hypotheses in found], config)
    for number, (beam, given) in enumerate(zip(expected, again, strict=True), 1):
        missing = not given and all(h.finished for h in beam)
        if missing or any(score.score < beam[0].score - TOLERANCE for score in given):
            what = "as another" if given else "to no end"
            raise RunError(
                f"{name}: the exported model translates sentence {number} ({text}) {what}, with scores "
                f"{[round(score.score, 5) for score in given]} and not {beam[0].score:.5f}: nothing was exported"
            )
    same = sum(not other or other[0].ids == own.ids for own, other in zip(best, found, strict=True))
    return Checked(text, len(sources), same, largest)


def agreement(run: Run, ours: Engine, theirs: Engine) -> str:
    """How many of the same sentences a model of less precision translates the same."""
    text, sources = sample_sources(run, ours.longest_source)
    config = check_config(run)
    expected, found = (engine.translate_ids(sources, config) for engine in (ours, theirs))
    same = sum(not b or a[0].ids == b[0].ids for a, b in zip(expected, found, strict=True))
    return f"{same} of {len(sources)} sentences ({text}) are translated the same"


def check_config(run: Run) -> DecodeConfig:
    """The search with which models are compared: a beam of 5, to the run's own length limit."""
    own = run.config.decode
    return DecodeConfig(n_best=5, precision=Precision.fp32, max_length=own.max_length, allow_unk=own.allow_unk)


def sample_sources(run: Run, longest: int | None) -> tuple[str, list[list[int]]]:
    """SENTENCES sources of a run as ids, and where they are from.

    They are of the sets that it was scored on, else of its validation text, else, where that is gone, random pieces.
    """
    where, lines = own_text(run)
    if not lines:
        rng = np.random.default_rng(1)
        sizes = rng.integers(3, 30, SENTENCES)
        vocabulary = run.tokenizers.source.size
        rows = [rng.integers(EOS + 1, max(vocabulary, EOS + 2), size).tolist() for size in sizes]
        return "random pieces, because the run has no text", rows
    places = np.unique(np.linspace(0, len(lines) - 1, SENTENCES).round().astype(int))
    sides, _, _ = toward(run.tokenizers, run.config.data, None, "")  # with a tag where the run has some
    rows = sides.source.encode([lines[i] for i in places])
    return where, [row[: longest - 1] if longest is not None else row for row in rows]


def own_text(run: Run) -> tuple[str, list[str]]:
    """Source sentences that the run has, without blank ones, and what they are called; none where it has none."""
    for path in sorted(run.scores.glob("*/source.txt")):
        return path.parent.name, real_lines(path.read_text(encoding="utf-8").split("\n"))
    with suppress(UserError, OSError):
        text = validation_text(restore({**to_tree(run.config), "data": read_data(run.directory)}).data)
        return text.name, real_lines(text.source)
    return "", []


def real_lines(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.strip()]
