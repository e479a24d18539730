"""python -m nmt.eval run=DIR: score a run on test sets and write what it said; compare several runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list
from nmt.cli.options import Command
from nmt.data.prepare import load_tests
from nmt.data.text import DataConfig, ParallelText
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError
from nmt.eval.evaluate import Evaluation
from nmt.eval.metrics import EvalConfig
from nmt.eval.significance import compare
from nmt.runs.ensemble import open_run
from nmt.runs.scoring import Scorer, languages, last_line
from nmt.settings import setting


@dataclass
class EvalCommandConfig(SearchOnRun):
    """What to score and how."""

    run: Any = setting(
        "???", "run directory; [A,B,...] compares others with the first; a list inside, [[A,B]], is an ensemble"
    )
    eval: EvalConfig = field(default_factory=EvalConfig)
    # OmegaConf's sign for a value that must be given: the group data fills it.
    data: DataConfig = field(default="???")  # type: ignore[assignment]


COMMAND = Command(
    module="nmt.eval",
    root="eval",
    schema=EvalCommandConfig,
    summary="Score a run on its test sets, or compare several runs; results and hypotheses go to DIR/scores.",
    examples=(
        "run=runs/local_p",
        "run=runs/local_p 'data.test=[test_2016_flickr]' decode=greedy",
        "run=[runs/global,runs/local_p]",
        "run=[[runs/a,runs/b,runs/c]]",
        "run=[runs/a,[runs/a,runs/b]] checkpoint=avg:5",
        "run=runs/local_p '+data.tests.mine={source: my.en, target: my.de}' 'data.test=[mine]'",
        "run=runs/local_p 'eval.metrics=[bleu,bleu_lc_moses]'",
    ),
    groups=("data", "decode"),
    of_runs=True,
)


def score_runs(configs: Sequence[EvalCommandConfig]) -> None:
    """Score each run on its test sets; compare them where there are several."""
    set_up(configs[0].threads, deterministic=False)
    device = resolve_device(configs[0].device)
    texts = [load_tests(config.data) for config in configs]
    check_same(configs, texts)
    found: list[list[Evaluation]] = []
    scored: list[tuple[Evaluation, Path]] = []
    for config, sets in zip(configs, texts, strict=True):
        run = open_run(as_list(config.run), config.decode.ensemble)
        scorer = Scorer(run, config.data, config.decode, device, config.checkpoint, config.eval)
        print(f"{run.name}, checkpoint={scorer.which} ({', '.join(scorer.weights)}), step {scorer.step:,}", flush=True)
        found.append([])
        for text in sets:
            found[-1].append(scorer.score(text))
            scored.append((found[-1][-1], scorer.folder(text)))
            print(f"{found[-1][-1]}\n  written to {scorer.folder(text)}\n", flush=True)
    if len(configs) > 1:
        for number, text in enumerate(texts[0]):
            compare_on(text, configs, [evaluations[number] for evaluations in found])
        print()
    systems = [name(config) for config, sets in zip(configs, texts, strict=True) for _ in sets]
    print(last_line(scored, systems if len(configs) > 1 else ()), flush=True)


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


def compare_on(text: ParallelText, configs: Sequence[EvalCommandConfig], found: Sequence[Evaluation]) -> None:
    """Print the paired tests of all runs against the first, on one set."""
    print(f"\n{text.name}: is the difference more than chance?", flush=True)
    names = [name(config) for config in configs]
    references = [text.target[i] for i in found[0].indices]
    systems = [(name, evaluation.hypotheses) for name, evaluation in zip(names, found, strict=True)]
    for comparison in compare(systems, references, configs[0].eval.metrics, languages(configs[0].data)[1]):
        print(comparison, flush=True)


def main() -> None:
    """The command nmt-eval."""
    app.run(COMMAND, score_runs)
