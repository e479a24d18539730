"""python -m nmt.report FOLDER ...: tables, tests, curves and alignments of the runs of a sweep."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmt.cli import app
from nmt.cli.on_run import as_list
from nmt.cli.options import Command
from nmt.cli.words import quoted
from nmt.data.textfile import home_expanded
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError
from nmt.eval.metrics import METRICS
from nmt.eval.significance import SignificanceTest
from nmt.report.report import ReportOptions, make_report, refuse_other_files
from nmt.settings import check_ranges, setting


@dataclass
class ReportConfig:
    """What to report."""

    of: Any = setting([], "folders of runs, such as a sweep's; typed without of=, one after the other")
    baseline: str | None = setting(
        None, "what the others are tested against: a configuration, a value in it such as global, or a run's folder"
    )
    metrics: list[str] | None = setting(
        None, "scores to show and test; null: all that the runs have", choices=lambda: tuple(METRICS)
    )
    sets: list[str] | None = setting(None, "sets to show; null: all but the validation set")
    tests: list[SignificanceTest] = setting(
        list(SignificanceTest), "paired tests: bs, the bootstrap, and ar, approximate randomization"
    )
    trials: int | None = setting(
        None, "of each test; null: 1,000 of the bootstrap and 10,000 of randomization", least=1
    )
    alignments: int = setting(2, "sentences whose attention is drawn, for which models are loaded", least=0)
    output: str | None = setting(None, "folder of report.md, .csv, .tex and .html; null: the first folder of runs")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    threads: int | None = setting(None, "CPU threads; null: as many as torch finds", least=1, most=1024)

    def __post_init__(self) -> None:
        check_ranges(self, "")


COMMAND = Command(
    module="nmt.report",
    root="report",
    schema=ReportConfig,
    summary="Compare the runs of a sweep: tables with mean and spread over seeds, paired tests, curves, alignments.",
    examples=(
        "runs/SWEEP",
        "runs/SWEEP baseline=none",
        "runs/SWEEP runs/OTHER baseline=global 'metrics=[bleu,chrf]' 'sets=[test_2016_flickr]' output=report",
    ),
)


def report(config: ReportConfig) -> None:
    """Make the report, print its tables, and write it."""
    folders = [home_expanded(str(folder), "of") for folder in as_list(config.of or [])]
    if not folders:
        raise ConfigError("which runs?  python -m nmt.report runs/SWEEP")
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise ConfigError(f"there is no folder {missing} (looked for from {Path.cwd()})")
    options = ReportOptions(
        config.baseline,
        config.metrics,
        config.sets,
        config.tests,
        config.trials,
        config.alignments,
        resolve_device(config.device),
    )
    set_up(config.threads, deterministic=False)
    output = home_expanded(config.output, "output") if config.output else folders[0]
    refuse_other_files(output)
    with tqdm(bar_format="{desc}", leave=False, disable=None) as bar:
        made = make_report(folders, options, bar.set_description_str)
    print(made.markdown)
    for path in made.write(output):
        print(f"written to {path}")


def with_key(words: Sequence[str]) -> list[str]:
    """What is typed, with the words that are neither KEY=VALUE nor flags as of=[...]."""
    folders = [w for i, w in enumerate(words) if is_folder(w, words[i - 1] if i else "")]
    others = [w for i, w in enumerate(words) if not is_folder(w, words[i - 1] if i else "")]
    return [f"of=[{','.join(quoted(folder) for folder in folders)}]", *others] if folders else others


def is_folder(word: str, before: str) -> bool:
    """Whether a word names a folder: it is no flag, no value of one, and has no equals sign or is there."""
    takes_value = before in ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--info", "-i")
    return not word.startswith("-") and not takes_value and ("=" not in word or Path(word).is_dir())


def main() -> None:
    """The command nmt-report."""
    sys.argv[1:] = with_key(sys.argv[1:])
    app.run(COMMAND, report)
