"""python -m nmt.eval run=DIR: score a run on test sets and write what it said; compare several runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from nmt import cli
from nmt.config import to_tree
from nmt.data import corpus
from nmt.data.prepare import load_tests
from nmt.data.text import DataConfig, ParallelText
from nmt.device import resolve_device, resolve_precision, set_up
from nmt.ensemble import EnsembleRun, open_run
from nmt.errors import ConfigError
from nmt.eval.evaluate import Evaluation, evaluate
from nmt.eval.metrics import EvalConfig
from nmt.eval.significance import compare
from nmt.help import Command
from nmt.runs import OnRun, Run, as_list, guided, run_name, write, write_json
from nmt.search import DecodeConfig


@dataclass
class EvalCommandConfig(OnRun):
    """What to score and how."""

    run: Any = field(
        default="???",
        metadata={
            "help": "run directory; [A,B,...] compares others with the first; a list inside, [[A,B]], is an ensemble"
        },
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


def languages(data: DataConfig) -> tuple[str, str]:
    """The languages of both sides without script and country: zh for zh_Hant_TW."""
    return re.split("[_-]", data.source)[0], re.split("[_-]", data.target)[0]


class Scorer:
    """The model of a run or ensemble, with which sets are scored; what comes of it is kept in ``run.scores``."""

    def __init__(
        self,
        run: Run | EnsembleRun,
        data: DataConfig,
        decode: DecodeConfig,
        device: torch.device,
        which: str = "best",
        measure: EvalConfig | None = None,
    ) -> None:
        self.run, self.data, self.decode, self.device, self.which = run, data, decode, device, which
        self.measure = measure or EvalConfig()
        self.weights = [path.name for path in run.weights(which)]
        self.model, self.step = run.load_model(which, device)

    def validation(self) -> ParallelText:
        """The run's validation set."""
        return corpus.validation_text(self.data)

    def score(self, text: ParallelText) -> Evaluation:
        """Evaluate, and write scores/SET/."""
        total = len(text) if self.measure.limit is None else min(len(text), self.measure.limit)
        with tqdm(total=total, desc=text.name, unit=" sentences", leave=False, disable=None) as bar:
            found = evaluate(
                self.model,
                self.run.tokenizers,
                text,
                self.decode,
                device=self.device,
                precision=self.decode.precision,
                metrics=self.measure.metrics,
                languages=languages(self.data),
                limit=self.measure.limit,
                alignment=guided(self.run.config),
                progress=bar.update,
            )
        self.write(text, found)
        return found

    def write(self, text: ParallelText, found: Evaluation) -> None:
        """results.json, and the sentences that were scored: `sacrebleu reference.txt -i hypotheses.txt` agrees."""
        folder = self.run.scores / run_name([text.name])
        lines = {
            "source.txt": [text.source[i] for i in found.indices],
            "reference.txt": [text.target[i] for i in found.indices],
            "hypotheses.txt": found.hypotheses,
        }
        for name, rows in lines.items():
            write(folder / name, "".join(f"{row}\n" for row in rows))
        how = {
            "run": self.run.name,
            "checkpoint": self.which,
            "weights": self.weights,
            "step": self.step,
            "decode": to_tree(self.decode),
            "precision": resolve_precision(self.decode.precision, self.device).name,
            "device": str(self.device),
        }
        write_json(folder / "results.json", {**found.to_dict(), **how})


def score(configs: Sequence[EvalCommandConfig]) -> None:
    """Score each run on its test sets; compare them where there are several."""
    set_up(configs[0].threads, deterministic=False)
    device = resolve_device(configs[0].device)
    texts = [load_tests(config.data) for config in configs]
    check_same(configs, texts)
    found: list[list[Evaluation]] = []
    for config, sets in zip(configs, texts, strict=True):
        run = open_run(as_list(config.run), config.decode.ensemble)
        scorer = Scorer(run, config.data, config.decode, device, config.checkpoint, config.eval)
        print(f"{run.name}, checkpoint={scorer.which} ({', '.join(scorer.weights)}), step {scorer.step:,}", flush=True)
        found.append([])
        for text in sets:
            found[-1].append(scorer.score(text))
            print(f"{found[-1][-1]}\n", flush=True)
        print(f"written to {run.scores}", flush=True)
    if len(configs) > 1:
        for number, text in enumerate(texts[0]):
            compare_on(text, configs, [evaluations[number] for evaluations in found])


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
    cli.run(COMMAND, score)
