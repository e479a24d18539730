"""python -m nmt.eval run=DIR: score a run on test sets and write what it said; compare several runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list, directories
from nmt.cli.options import Command
from nmt.data.prepare import load_tests
from nmt.data.text import DataConfig, ParallelText
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError
from nmt.eval.evaluate import languages_of
from nmt.eval.metrics import EvalConfig
from nmt.runs.comparing import Scored, compare_runs, compare_seeds
from nmt.runs.directory import read_config
from nmt.runs.ensemble import open_run
from nmt.runs.scoring import Scorer, languages, last_line
from nmt.settings import setting


@dataclass
class EvalCommandConfig(SearchOnRun):
    """What to score and how."""

    run: Any = setting(
        "???",
        "run directory or pattern (runs/sweep/*); [A,B,...] compares others with the first; a list inside, "
        "[[A,B]], is an ensemble",
    )
    against: Any = setting(
        None,
        "directories or pattern: compares each run with the one of these that has its seed, and combines the p-values",
    )
    eval: EvalConfig = field(default_factory=EvalConfig)
    # OmegaConf's sign for a value that must be given: the group data fills it.
    data: DataConfig = field(default="???")  # type: ignore[assignment]

    def named_runs(self) -> list[list[Path]]:
        return [*(directories(self.against, "against") if self.against else []), *super().named_runs()]


COMMAND = Command(
    module="nmt.eval",
    root="eval",
    schema=EvalCommandConfig,
    summary="Score a run on its test sets, or compare several runs; results and hypotheses go to DIR/scores.",
    examples=(
        "run=runs/local_p",
        "run=runs/local_p 'data.test=[test_2016_flickr]' decode=greedy",
        "'run=[runs/global,runs/local_p]'",
        "'run=runs/sweep/*' eval.limit=100",
        "'run=runs/sweep/local_p*' 'against=runs/sweep/global*'",
        "'run=[[runs/a,runs/b,runs/c]]'",
        "'run=[runs/a,[runs/a,runs/b]]' checkpoint=avg:5",
        "run=runs/local_p data.tests.mine.source=my.en data.tests.mine.target=my.de data.test=mine",
        "run=runs/local_p data.test=validation",
        "run=runs/local_p 'eval.metrics=[bleu,bleu_lc_moses]'",
    ),
    groups=("data", "decode"),
    of_runs=True,
)


def score_runs(configs: Sequence[EvalCommandConfig]) -> None:
    """Score each run on its test sets; compare them where there are several."""
    pairs = seed_pairs(configs) if configs[0].against else []
    if pairs:
        configs = [config for pair in pairs for config in (pair.against, pair.run)]
    set_up(configs[0].threads, deterministic=False)
    device = resolve_device(configs[0].device)
    texts = [sets_to_score(config) for config in configs]
    check_same(configs, texts)
    found = [score_run(config, sets, device) for config, sets in zip(configs, texts, strict=True)]
    for of_set in zip(*found, strict=True) if len(configs) > 1 else ():
        print(f"\n{of_set[0].text.name}: is the difference more than chance?", flush=True)
        how = configs[0].eval.metrics, languages_of(of_set[0].text, languages(configs[0].data))[1]
        if pairs:
            compare_seeds([pair.seed for pair in pairs], of_set[::2], of_set[1::2], *how)
        else:
            compare_runs(of_set, *how)
    scored = [(one.evaluation, one.folder) for of_run in found for one in of_run]
    systems = [name(config) for config, sets in zip(configs, texts, strict=True) for _ in sets]
    print()
    print(last_line(scored, systems if len(configs) > 1 else ()), flush=True)


def sets_to_score(config: EvalCommandConfig) -> list[ParallelText]:
    """The chosen test sets; raises ConfigError where there is none, with what to type."""
    found = load_tests(config.data)
    if not found and config.data.test is None:
        raise ConfigError(
            f"{name(config)}: data={config.data.name} has no test set; type data.tests.NAME.source=FILE "
            "data.tests.NAME.target=FILE, or data.test=validation for the validation set"
        )
    if not found:
        raise ConfigError(
            f"{name(config)}: data.test=[] chooses nothing to score; type data.test=null for every test set, "
            "data.test=NAME for one, or data.test=validation"
        )
    left_out = config.data.tests.keys() - {text.name for text in found}
    if left_out:
        print(f"note: not scored, because data.test does not name it: {', '.join(sorted(left_out))}", flush=True)
    return found


def score_run(config: EvalCommandConfig, sets: Sequence[ParallelText], device: torch.device) -> list[Scored]:
    """Score a run or ensemble on each set."""
    run = open_run(as_list(config.run), config.decode.ensemble)
    scorer = Scorer(run, config.data, config.decode, device, config.checkpoint, config.eval)
    print(f"{run.name}, checkpoint={scorer.which} ({', '.join(scorer.weights)}), step {scorer.step:,}", flush=True)
    found = []
    for text in sets:
        evaluation = scorer.score(text)
        found.append(Scored(run.name, text, evaluation, scorer.folder(text)))
        print(f"{evaluation}\n  written to {found[-1].folder}\n", flush=True)
    return found


def name(config: EvalCommandConfig) -> str:
    """What messages call a run or ensemble; see ``EnsembleRun.name``."""
    return " + ".join(as_list(config.run))


def check_same(configs: Sequence[EvalCommandConfig], texts: Sequence[Sequence[ParallelText]]) -> None:
    """Raise ConfigError unless all runs are scored on the same sentences."""
    for config, sets in zip(configs, texts, strict=True):
        same = [(a.name, a.source, a.target) for a in texts[0]] == [(b.name, b.source, b.target) for b in sets]
        if not same:
            names = [", ".join(t.name for t in s) for s in (texts[0], sets)]
            raise ConfigError(
                f"{name(configs[0])} (test sets {names[0]}) and {name(config)} ({names[1]}) have other test sentences; "
                "choose what both can be scored on with data=... and data.test=[...]"
            )


class SeedPair(NamedTuple):
    """Two runs of one seed."""

    seed: int
    against: EvalCommandConfig
    run: EvalCommandConfig


def seed_pairs(configs: Sequence[EvalCommandConfig]) -> list[SeedPair]:
    """The runs of ``run``, each with that of ``against`` that was trained with its seed.

    Those without a partner are left out, which is said.  Raises ConfigError where none has one, for two runs of one
    seed on one side, and for ensembles.
    """
    count = len(directories(configs[0].against, "against"))
    others, runs = by_seed(configs[:count], "against"), by_seed(configs[count:], "run")
    seeds = sorted(others.keys() & runs.keys())
    if not seeds:
        raise ConfigError(
            f"no run has the seed of one of against: seeds {', '.join(map(str, sorted(runs)))} and "
            f"{', '.join(map(str, sorted(others)))}; run=[A,B] compares two runs whatever their seeds"
        )
    alone = [name(side[seed]) for side in (others, runs) for seed in sorted(side) if seed not in seeds]
    if alone:
        print(f"note: left out, because no run of its seed is on the other side: {', '.join(alone)}", flush=True)
    return [SeedPair(seed, others[seed], runs[seed]) for seed in seeds]


def by_seed(configs: Sequence[EvalCommandConfig], key: str) -> dict[int, EvalCommandConfig]:
    """The runs that ``key`` names by their seeds."""
    found: dict[int, EvalCommandConfig] = {}
    for config in configs:
        if isinstance(config.run, list):
            raise ConfigError(f"{key}: {name(config)} is an ensemble; against pairs single runs by their seeds")
        seed = read_config(Path(config.run)).seed
        if seed in found:
            raise ConfigError(
                f"{key}: {name(found[seed])} and {name(config)} have the same seed, {seed}; name the runs of one "
                f"configuration, as in {key}=runs/SWEEP/NAME*"
            )
        found[seed] = config
    return found


def main() -> None:
    """The command nmt-eval."""
    app.run(COMMAND, score_runs)
