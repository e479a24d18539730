"""Is one system better than another, or is it the choice of test sentences?  Two paired tests, on sacreBLEU's counts.

Both ask how often a difference at least as large as the one seen, d, in either direction, would come by chance between
two systems that are equally good.  With the differences d_i of n trials:

paired bootstrap resampling (Koehn 2004)
    draws test sets of the same size with replacement and scores both systems on each

        p = (1 + #{i: |d_i - mean d| >= |d|}) / (1 + n)   (Efron and Tibshirani 1993, section 16.4: the drawn
                                                           differences, moved to where none is true)

    sacreBLEU prints another number, ``SystemScore.one_sided``: #{i: |d_i| - mean |d| > |d|} for the count, which is
    about half where p is small and at most about 0.44: below 0.05 for some 13% of equally good systems.
paired approximate randomization (Riezler and Maxwell 2005)
    swaps the two systems' outputs sentence by sentence with a coin

        p = (1 + #{i: |d_i| >= |d|}) / (1 + n)

    sacreBLEU counts |d_i| > |d|, which is the same unless two systems differ in a few sentences: where they differ in
    one, every trial has the difference that was seen, p is 1 and sacreBLEU's 1 / (1 + n).

The draws are those of sacreBLEU, so that all its numbers are those that its command prints.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from statistics import NormalDist
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import estimate_ci

from nmt.errors import DataError
from nmt.eval.metrics import PreparedMetric, check_counts, check_names


class SignificanceTest(Enum):
    """A paired test, by the short name that sacreBLEU's signature gives it."""

    bs = "bs"
    ar = "ar"


TEST_NAMES = {
    SignificanceTest.bs: "paired bootstrap resampling",
    SignificanceTest.ar: "paired approximate randomization",
}
TRIALS = {SignificanceTest.bs: 1000, SignificanceTest.ar: 10000}  # sacreBLEU's defaults


@dataclass(frozen=True)
class SystemScore:
    """One system in a comparison."""

    system: str
    value: float
    p_value: float | None  # of a difference in either direction; None for the baseline
    mean: float | None = None  # over the resampled sets, with half the width of the 95% interval; bootstrap only
    interval: float | None = None
    one_sided: float | None = None  # what sacreBLEU gives as the bootstrap's p-value


@dataclass(frozen=True)
class Comparison:
    """Systems against the first of them, by one metric and one test."""

    test: str  # its full name, number of trials and seed
    metric: str
    signature: str
    rows: list[SystemScore]  # the baseline first

    def __str__(self) -> str:
        width = max(len(row.system) for row in self.rows)
        lines = [f"{self.metric}, {self.test}, against {self.rows[0].system}"]
        for row in self.rows:
            spread = "" if row.mean is None else f"  (mean {row.mean:.2f} ± {row.interval:.2f})"
            p_value = "" if row.p_value is None else f"  p = {row.p_value:.4f}"
            theirs = "" if row.one_sided is None else f"  (one-sided, as sacreBLEU prints it: {row.one_sided:.4f})"
            lines.append(f"  {row.system:<{width}}  {row.value:6.2f}{spread}{p_value}{theirs}")
        return "\n".join([*lines, f"  {self.signature}"])

    def to_dict(self, place: int) -> dict[str, Any]:
        """The system in row ``place`` against the baseline, as JSON."""
        what = {"metric": self.metric, "test": self.test, "signature": self.signature}
        return what | {"against": asdict(self.rows[0]), "run": asdict(self.rows[place])}


@dataclass(frozen=True)
class SeedComparison:
    """Two configurations, each trained with several seeds, by one metric and one test of each pair of equal seeds.

    The p-values p_i of n pairs, with differences d_i between the scores, are combined in two ways:

    stouffer  Z = n^(-1/2) sum_i sign(d_i) Phi^-1(1 - p_i / 2), p = 2 (1 - Phi(|Z|))   (Stouffer et al. 1949)
        for pairs that are independent of one another.  Runs of different seeds are, but for the sentences that
        they share, so that it is somewhat too small where the sentences are few.
    twice_mean  that of ``combined_p_value``   (twice the mean of p-values: Vovk and Wang 2020)
        valid whatever the dependence, so that more pairs of one p-value do not make it smaller.

    A difference in the other direction speaks against the rest in both.
    """

    pairs: list[tuple[int, Comparison]]  # the seed, and the comparison of its two runs: baseline first

    @property
    def differences(self) -> list[float]:
        """Score of the run less that of the baseline, for each pair."""
        return [comparison.rows[1].value - comparison.rows[0].value for _, comparison in self.pairs]

    @property
    def p_values(self) -> list[float]:
        """The p-value of each pair."""
        return [comparison.rows[1].p_value or 0.0 for _, comparison in self.pairs]

    @property
    def stouffer(self) -> float:
        """The combined p-value for independent pairs."""
        normal = NormalDist()
        scores = [
            math.copysign(normal.inv_cdf(1 - p / 2), d) for d, p in zip(self.differences, self.p_values, strict=True)
        ]
        return 2 * normal.cdf(-abs(sum(scores)) / math.sqrt(len(scores)))

    @property
    def twice_mean(self) -> float:
        """The combined p-value for pairs that may depend on one another."""
        return combined_p_value(self.p_values, self.differences)

    def __str__(self) -> str:
        first = self.pairs[0][1]
        mean = math.fsum(self.differences) / len(self.pairs)
        lines = [f"{first.metric}, {first.test}, pairs of equal seeds"]
        for (seed, comparison), difference in zip(self.pairs, self.differences, strict=True):
            baseline, row = comparison.rows
            lines.append(
                f"  seed {seed}: {row.system} {row.value:.2f}, {baseline.system} {baseline.value:.2f}, "
                f"difference {difference:+.2f}  p = {row.p_value:.4f}"
            )
        lines.append(
            f"  all {len(self.pairs)}: mean difference {mean:+.2f}, Stouffer's method p = {self.stouffer:.4f} "
            f"(if the pairs were independent), twice the mean p = {self.twice_mean:.4f}"
        )
        return "\n".join([*lines, f"  {first.signature}"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "metric": self.pairs[0][1].metric,
            "test": self.pairs[0][1].test,
            "signature": self.pairs[0][1].signature,
            "pairs": [
                {"seed": seed, "against": asdict(comparison.rows[0]), "run": asdict(comparison.rows[1])}
                for seed, comparison in self.pairs
            ],
            "p_value_stouffer": self.stouffer,
            "p_value_twice_mean": self.twice_mean,
        }


def compare(
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[str],
    metrics: Sequence[str],
    target_language: str = "",
    tests: Sequence[SignificanceTest] = tuple(SignificanceTest),
    trials: int | None = None,
) -> list[Comparison]:
    """Test each system (name, its hypotheses) after the first against the first, by each metric.

    ``trials=None`` takes sacreBLEU's number for each test.  The random seed is sacreBLEU's: 12345, or SACREBLEU_SEED
    of the environment.  Equal outputs have p = 1.  Raises ConfigError for an unknown metric, DataError for fewer than
    two systems or unequal counts.
    """
    if len(systems) < 2:
        raise DataError("a comparison needs two systems")
    check_names(metrics, "metrics")
    for name, hypotheses in systems:
        try:
            check_counts(hypotheses, references)
        except DataError as e:
            raise DataError(f"{name}: {e}") from None
    return [
        _paired(test, metric, systems, references, target_language, trials or TRIALS[test])
        for metric in metrics
        for test in tests
    ]


COMBINATION = "twice the mean of one-sided p-values (Vovk and Wang 2020)"


def combined_p_value(p_values: Sequence[float], differences: Sequence[float]) -> float:
    """One two-sided p-value for those of several seeds, p_k with difference d_k; that of one seed is itself.

    For each direction  q_k = p_k / 2 if d_k lies in it, else 1 - p_k / 2,  q = 2 mean_k q_k,  and  p = min(1, 2 min q).

    Twice a mean of p-values is a p-value whatever their dependence (Vovk and Wang 2020, Combining p-values via
    averaging, Biometrika 107(4)); methods that multiply, as Fisher's, need independent ones, which those of one test
    set are not.  p is small only if the seeds agree in the direction and nearly all are significant.  Raises ValueError
    for no p-values.
    """
    if not p_values:
        raise ValueError("there are no p-values to combine")
    if len(p_values) == 1:
        return p_values[0]
    pairs = list(zip(p_values, differences, strict=True))
    upward = sum(p / 2 if d > 0 else 1 - p / 2 for p, d in pairs) / len(pairs)
    downward = sum(p / 2 if d < 0 else 1 - p / 2 for p, d in pairs) / len(pairs)
    return min(1.0, 4 * min(upward, downward))


def _paired(
    test: SignificanceTest,
    metric: str,
    systems: Sequence[tuple[str, Sequence[str]]],
    references: Sequence[str],
    target_language: str,
    trials: int,
) -> Comparison:
    prepared = PreparedMetric(metric, target_language)
    reference_lines = prepared.lines(references)
    lines = [prepared.lines(hypotheses) for _, hypotheses in systems]
    counts = [sentence_counts(prepared.metric, of_system, reference_lines) for of_system in lines]
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    rng = np.random.default_rng(None if seed.lower() == "none" else int(seed))
    rows = TESTS[test]([name for name, _ in systems], counts, prepared.metric, trials, rng)
    signature = prepared.metric.get_signature()
    signature.update("seed", seed.lower())
    signature.update(test.value, trials)
    return Comparison(
        test=f"{TEST_NAMES[test]} ({trials} trials, seed {seed})",
        metric=prepared.title or prepared.metric._compute_score_from_stats(counts[0].sum(0)).name,
        signature=prepared.signature(signature),
        rows=rows,
    )


def sentence_counts(metric: Metric, lines: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What the metric's score of a set is computed from, summed over its sentences: one row for each, as float64."""
    return np.array(metric._extract_corpus_statistics(lines, [references]), dtype=np.float64)


def score_of(metric: Metric, counts: np.ndarray) -> float:
    """The score of a set whose sentences' counts have this sum."""
    return float(metric._compute_score_from_stats(counts.tolist()).score)


def at_least(differences: np.ndarray, seen: float) -> int:
    """How many differences are as large as the one seen, whatever the order in which their parts were summed."""
    return int((np.abs(differences) >= abs(seen) - 1e-9).sum())


def bootstrap(
    names: Sequence[str], counts: Sequence[np.ndarray], metric: Metric, trials: int, rng: np.random.Generator
) -> list[SystemScore]:
    """Each system after the first against the first by paired bootstrap resampling; see the top of this page."""
    sentences = len(counts[0])
    sets = rng.choice(sentences, (trials, sentences), replace=True)
    scores = [np.array([score_of(metric, own[rows].sum(0)) for rows in sets]) for own in counts]
    found = []
    for name, own, drawn in zip(names, counts, scores, strict=True):
        value, (mean, interval) = score_of(metric, own.sum(0)), estimate_ci(drawn)
        spread = {"mean": float(mean), "interval": float(interval)}  # numpy's numbers, which JSON lacks
        if not found:
            found.append(SystemScore(name, value, None, **spread))
            continue
        seen, differences = value - found[0].value, drawn - scores[0]
        p_value = (1 + at_least(differences - differences.mean(), seen)) / (1 + trials)
        distances = np.abs(differences)
        same = np.array_equal(own, counts[0])  # sacreBLEU calls that significant
        one_sided = None if same else (1 + int((distances - distances.mean() > abs(seen)).sum())) / (1 + trials)
        found.append(SystemScore(name, value, p_value, **spread, one_sided=one_sided))
    return found


def randomization(
    names: Sequence[str], counts: Sequence[np.ndarray], metric: Metric, trials: int, rng: np.random.Generator
) -> list[SystemScore]:
    """Each system after the first against the first by approximate randomization; see the top of this page."""
    base = counts[0]
    kept = rng.integers(2, size=(trials, len(base)), dtype=bool).astype(np.float64)
    found = [SystemScore(names[0], score_of(metric, base.sum(0)), None)]
    for name, own in zip(names[1:], counts[1:], strict=True):
        value = score_of(metric, own.sum(0))
        sums = kept @ base + (1 - kept) @ own, (1 - kept) @ base + kept @ own
        scores = [np.array([score_of(metric, trial) for trial in of_all]) for of_all in sums]
        p_value = (1 + at_least(scores[0] - scores[1], value - found[0].value)) / (1 + trials)
        found.append(SystemScore(name, value, p_value))
    return found


TESTS = {SignificanceTest.bs: bootstrap, SignificanceTest.ar: randomization}
