"""Is one system better than another, or is it the choice of test sentences?  sacreBLEU's paired tests.

Both ask how often a difference d as large as the one seen, in either direction, would come by chance between two
systems that are equally good:

paired bootstrap resampling (Koehn 2004)
    draws n test sets of the same size with replacement and scores both systems on each; with the differences d_i,

        p = (1 + #{i: |d_i - mean d| >= |d|}) / (1 + n)   (Efron and Tibshirani 1993, section 16.4: the drawn
                                                           differences, moved to where none is true)

    sacreBLEU prints another number, ``SystemScore.one_sided``: #{i: |d_i| - mean |d| > |d|} for the count, which is
    about half where p is small and at most about 0.44: below 0.05 for some 13% of equally good systems.
paired approximate randomization (Riezler and Maxwell 2005)
    swaps the two systems' outputs sentence by sentence with a coin
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
from sacrebleu.significance import PairedTest, Result

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
    lines, reference_lines = [prepared.lines(hypotheses) for _, hypotheses in systems], prepared.lines(references)
    paired = PairedTest(
        [(name, text) for (name, _), text in zip(systems, lines, strict=True)],
        {metric: prepared.metric},
        [reference_lines],
        test_type=test.value,
        n_samples=trials,
    )
    signatures, scores = paired()
    ((title, signature),) = signatures.items()
    results = [result for result in scores[title] if isinstance(result, Result)]
    p_values, theirs = [result.p_value for result in results], [None] * len(results)
    if test is SignificanceTest.bs:
        own = bootstrap_p_values(prepared.metric, lines, reference_lines, trials, paired._seed)
        p_values, theirs = [None, *own], p_values
    # sacreBLEU calls it significant (1 / (trials + 1)) that equal outputs never differ.
    equal = [place > 0 and text == lines[0] for place, text in enumerate(lines)]
    return Comparison(
        test=f"{TEST_NAMES[test]} ({trials} trials, seed {os.environ.get('SACREBLEU_SEED', '12345')})",
        metric=prepared.title or title,
        signature=prepared.signature(signature),
        rows=[
            SystemScore(
                name,
                result.score,
                1.0 if same else p_value,
                # numpy's numbers, which JSON lacks
                mean=None if result.mean is None else float(result.mean),
                interval=None if result.ci is None else float(result.ci),
                one_sided=None if same else one_sided,
            )
            for (name, _), result, p_value, one_sided, same in zip(
                systems, results, p_values, theirs, equal, strict=True
            )
        ],
    )


def bootstrap_p_values(
    metric: Metric, systems: Sequence[Sequence[str]], references: Sequence[str], trials: int, seed: int | None
) -> list[float]:
    """The p-value at the top of this page for each system after the first, on the test sets that sacreBLEU draws."""
    drawn = np.random.default_rng(seed).choice(len(references), (trials, len(references)), replace=True)
    scores, whole = [], []
    for lines in systems:
        # Of each sentence, what a metric's score of a set is computed from, summed over the set.
        counts = np.array(metric._extract_corpus_statistics(lines, [references]), dtype="float32")
        scores.append(np.array([metric._compute_score_from_stats(counts[rows].sum(0)).score for rows in drawn]))
        whole.append(metric._compute_score_from_stats(counts.sum(0)).score)
    found = []
    for own, value in zip(scores[1:], whole[1:], strict=True):
        differences = own - scores[0]
        far = np.abs(differences - differences.mean()) >= abs(value - whole[0])
        found.append((1 + int(far.sum())) / (1 + trials))
    return found
