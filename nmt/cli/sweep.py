"""Sweeps (-m): one training for every combination of the values typed, each checked before the first one starts.

A sweep that is typed again goes on where it stopped (nmt/runs/repeat.py): finished jobs are skipped.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from nmt.cli.compose import default_hydra, name_part, take_tokenizer, typed, without_hydra
from nmt.cli.hydra_keys import is_optimizing, refuse_composed, refuse_typed
from nmt.cli.job_output import marked_lines
from nmt.cli.mistakes import explain, for_user, hint
from nmt.cli.optimizing import check_optimizer, example_words, optimize, refuse_old_hydra
from nmt.cli.options import Command, config_groups
from nmt.cli.sweep_signals import Interrupted, SweepSignals, run_in_worker
from nmt.config import CONFIG_DIR, VERSION_BASE, Config
from nmt.errors import ConfigError, RunError, Stopped, UserError
from nmt.plugins import load_plugins
from nmt.runs.directory import run_name, time_stamp
from nmt.runs.repeat import Progress, State, earlier_sweep, find_runs, progress_of, what_is_trained
from nmt.runs.start import check_start
from nmt.runs.summary import read_runs
from nmt.runs.table import markdown, newest_of_each_seed, remarks, table
from nmt.train.console import unread_output_ignored

ONE_AFTER_THE_OTHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
AT_THE_SAME_TIME = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
LAUNCHERS_HERE = (
    ONE_AFTER_THE_OTHER,
    AT_THE_SAME_TIME,
)  # whose jobs run on this machine, so that its devices are theirs


@dataclass(frozen=True)
class Naming:
    """How the jobs of a sweep and their folder are called; it travels to other processes."""

    swept: frozenset[str]  # keys that have several values
    base: str | None  # name=
    folder: str  # sweep=, or the time

    def name(self, words: Sequence[str]) -> str:
        """The name of a job, from those of its words that other jobs have otherwise."""
        chosen = [w.partition("=") for w in words if w.partition("=")[0] in self.swept]
        parts = [name_part(key.lstrip("+"), value) for key, _, value in chosen]
        return run_name(parts if self.base is None else [self.base, *parts])


@dataclass(frozen=True)
class Task:
    """What a launcher runs for each job; it travels to other processes, so it holds no open things."""

    job: Callable[..., Any]
    total: int
    naming: Naming
    marked: bool  # whether jobs print at the same time
    starter: int | None = None  # the process that starts others for the jobs and passes signals on to them, if any
    runs: dict[str, Path] = field(default_factory=dict)  # the run directories of jobs that have one, by name

    def __call__(self, cfg: DictConfig) -> Any:
        if self.starter in (None, os.getpid()):
            return self.checked(cfg)
        return run_in_worker(lambda: self.checked(cfg))

    @unread_output_ignored()
    def checked(self, cfg: DictConfig) -> Any:
        """Run the job; raises JobError, after its message was printed, where it fails."""
        load_plugins(cfg.plugins)  # a launcher's process may be a new one
        hydra_config = HydraConfig.get()
        take_tokenizer(cfg, hydra_config.overrides.task)
        config = typed(cfg)
        config.name, config.sweep = self.naming.name(hydra_config.overrides.task), self.naming.folder
        with marked_lines(config.name) if self.marked else nullcontext():
            print(f"\n== job {hydra_config.job.num + 1} of {self.total}: {config.sweep}/{config.name}", flush=True)
            try:
                return self.run(config)
            except Exception as error:
                if for_user(error):
                    failure = str(error)
                    print(f"error: {failure}", file=sys.stderr, flush=True)
                else:
                    failure = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
            raise JobError(failure)

    def run(self, config: Config) -> Any:
        """Train what is not finished; returns the objective."""
        directory = self.runs.get(str(config.name)) or find_runs([config])[0]
        progress = progress_of(directory, config)
        if directory is None:
            return self.job(config)
        if progress.state is State.finished:
            print(f"{directory} is finished", flush=True)
            return progress.objective
        return self.job(replace(config, resume=True), directory)


class JobError(RuntimeError):
    """A job of a sweep failed; its own message, as plain text that any process can unpickle."""


@dataclass
class Job:
    """One combination of a sweep."""

    words: list[str]
    name: str
    config: Config
    directory: Path | None = None  # the run that it has, if any
    before: Progress = field(default_factory=lambda: Progress(State.new))
    failure: str | None = None
    interrupted: Interrupted | None = None


@unread_output_ignored()
def sweep(command: Command, job: Callable[..., Any], overrides: list[str]) -> None:
    """Check every job, then run all of them through Hydra's launcher; those that fail are named at the end.

    Jobs that an earlier sweep of the same words finished are not run again.  A failing job does not stop the others.
    Raises UserError before the first job if any of them cannot be composed or cannot succeed, and after the last if one
    failed.
    """
    if command.schema is not Config:
        raise ConfigError(f"-m belongs to nmt.train; {command.module} takes one configuration")
    with hydra.initialize_config_dir(str(CONFIG_DIR), job_name="train", **VERSION_BASE):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        loader = composer.config_loader
        parser = OverridesParser.create(loader)
        typed_words = parser.parse_overrides(overrides)
        refuse_typed(typed_words, sweep=True)
        refuse_old_hydra(typed_words)
        cfg = composer.compose_config(command.root, overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        refuse_composed(cfg.hydra, default_hydra(command.root, sweep=True), sweep=True)
        parsed = parser.parse_overrides(swept_words(cfg))
        naming = naming_of(parsed, parser.parse_overrides(params(cfg)))
        context = HydraContext(config_loader=loader, callbacks=Callbacks(cfg))
        if is_optimizing(cfg.hydra):
            (example,) = checked_jobs([example_words(parsed)], naming, command, loader, cfg)
            check_optimizer(cfg, example.config)
            folder = sweep_folder(cfg, example.config.runs, naming)
            optimize(cfg, context, Task(job, cfg.hydra.sweeper.n_trials, naming, marks_lines(cfg)), folder)
            return
        jobs = checked_jobs(combinations(parsed, command), naming, command, loader, cfg)
        refuse_twice(jobs, by_name="name" in naming.swept)
        if "sweep" not in fixed_values(parsed):
            naming = replace(naming, folder=earlier_folder(jobs) or naming.folder)
        launch_all(jobs, naming, job, context, cfg)
    show_table(Path(cfg.runs, naming.folder))
    failed = [f"\n  {one.name}: {one.failure}" for one in jobs if one.failure is not None]
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} job{'s' * (len(jobs) > 1)} failed{''.join(failed)}")


def launch_all(
    jobs: list[Job], naming: Naming, job: Callable[..., Any], context: HydraContext, cfg: DictConfig
) -> None:
    """Run the jobs that are not finished, and print the states of all of them before and after."""
    for one in jobs:
        one.config.sweep = naming.folder
    for one, directory in zip(jobs, find_runs([one.config for one in jobs]), strict=True):
        one.directory, one.before = directory, progress_of(directory, one.config)
    print(f"{len(jobs)} job{'s' * (len(jobs) > 1)}: {', '.join(one.name for one in jobs)}", flush=True)
    if any(one.before.state is not State.new for one in jobs):
        print(f"\n{sweep_folder(cfg, jobs[0].config.runs, naming)} was begun before (sweep=NAME begins another):")
        print(states(jobs), flush=True)
    waiting = [one for one in jobs if one.before.state is not State.finished]
    if not waiting:
        return
    known = {one.name: one.directory for one in waiting if one.directory is not None}
    sweep_folder(cfg, jobs[0].config.runs, naming)
    starter = os.getpid() if cfg.hydra.launcher["_target_"] == AT_THE_SAME_TIME else None
    task = Task(job, len(waiting), naming, marks_lines(cfg), starter, known)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
    with nullcontext() if starter is None else SweepSignals():
        returned = launcher.launch([one.words for one in waiting], initial_job_idx=0)
    for one, result in zip(waiting, returned, strict=True):
        if result.status is not JobStatus.COMPLETED:
            one.failure = str(result._return_value)
        elif isinstance(result._return_value, Interrupted):
            one.interrupted = result._return_value
    print(f"\n{states(jobs, after=True)}", flush=True)
    for one in waiting:
        if one.interrupted is not None:
            print("the same command goes on with what is not finished", flush=True)
            raise Stopped(one.interrupted.number)


def states(jobs: Sequence[Job], after: bool = False) -> str:
    """A line for each job: how far it was and, if ``after``, how far it is now and its best validation."""
    rows: list[tuple[str, ...]] = [("job", "before", *("after", "best validation") * after)]
    directories = find_runs([one.config for one in jobs]) if after else []
    for number, one in enumerate(jobs):
        cells: list[str] = [one.name, str(one.before)]
        if after:
            now = progress_of(directories[number], one.config)
            if one.failure is not None:
                now = Progress(State.failed)
            elif now.state is State.new and one.interrupted is None:  # the job was no training
                now = Progress(State.finished)
            value = "" if now.objective is None else f"{one.config.trainer.metric} {now.objective:.4f}"
            cells += [now.state.value, value]
        rows.append(tuple(cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in padded)


def show_table(folder: Path) -> None:
    """Print what the runs of a sweep have scored: a row for each configuration."""
    try:
        runs, left_out = newest_of_each_seed(read_runs([folder]))
    except RunError as error:  # no job came far enough to have a run, say
        print(f"\nno table: {error}", flush=True)
        return
    print(f"\n{folder}\n\n{markdown(table(runs))}", *remarks(runs, left_out), sep="\n", flush=True)


# The jobs of a sweep.


def swept_words(cfg: DictConfig) -> list[str]:
    """What is typed, and hydra.sweeper.params; a key that is typed takes the place that it has among these.

    An experiment stands before them: of several choices that say which attention, say, Hydra takes the last.
    """
    words = list(cfg.hydra.overrides.task)
    experiments = [word for word in words if word.startswith("+experiment=")]
    given = {word.partition("=")[0]: word for word in words if word not in experiments}
    placed = [given.get(word.partition("=")[0], word) for word in params(cfg)]
    return experiments + placed + [word for word in words if word not in experiments + placed]


def params(cfg: DictConfig) -> list[str]:
    """hydra.sweeper.params as words."""
    return [f"{key}={value}" for key, value in (OmegaConf.select(cfg, "hydra.sweeper.params") or {}).items()]


def naming_of(overrides: list[Override], usual: list[Override]) -> Naming:
    """How jobs are called: after the choices that differ, and those that differ in ``usual``, whatever is typed."""
    swept = frozenset(o.get_key_element() for o in [*overrides, *usual] if o.is_sweep_override())
    given = fixed_values(overrides)
    return Naming(swept, given.get("name"), given.get("sweep", time_stamp()))


def fixed_values(overrides: list[Override]) -> dict[str, str]:
    """What is typed with one value that is not null, by key."""
    return {o.key_or_group: str(o.value()) for o in overrides if not o.is_sweep_override() and o.value()}


def combinations(overrides: list[Override], command: Command) -> list[list[str]]:
    """The overrides of each job."""
    groups = config_groups(command.config_dirs)
    for o in overrides:
        if o.is_discrete_sweep() and not list(o.sweep_string_iterator()):
            raise ConfigError(f"{o.input_line} matches nothing" + hint("", groups.get(o.key_or_group, {})))
    return [list(words) for words in BasicSweeper.split_arguments(overrides, None)[0]]


def checked_jobs(
    combined: list[list[str]], naming: Naming, command: Command, loader: ConfigLoader, cfg: DictConfig
) -> list[Job]:
    """The jobs with their configurations; raises ConfigError for one that cannot be composed or cannot succeed."""
    jobs = []
    for number, words in enumerate(combined, 1):
        name = naming.name(words)
        try:
            composed = without_hydra(loader.load_sweep_config(cfg, words))
            take_tokenizer(composed, words)
            config = typed(composed)
            check_start(config, here=cfg.hydra.launcher["_target_"] in LAUNCHERS_HERE)
        except (HydraException, UserError) as error:
            raise ConfigError(f"job {number} ({name}): {explain(error, command)}") from None
        config.name, config.sweep = name, naming.folder
        jobs.append(Job(words, name, config))
    return jobs


def refuse_twice(jobs: list[Job], by_name: bool) -> None:
    """Raise ConfigError where two jobs would train the same; ``by_name``: under names that were typed for each."""
    known: dict[str, tuple[int, Job]] = {}
    for number, one in enumerate(jobs, 1):
        what = repr((sorted(what_is_trained(one.config).items()), one.name * by_name))
        if what in known:
            first, other = known[what]
            raise ConfigError(f"jobs {first} ({other.name}) and {number} ({one.name}) would train the same")
        known[what] = number, one


def earlier_folder(jobs: list[Job]) -> str | None:
    """The folder of a sweep without sweep= that had one of these jobs."""
    return earlier_sweep(jobs[0].config.runs, [one.config for one in jobs])


def marks_lines(cfg: DictConfig) -> bool:
    """Whether jobs run at the same time, so that their lines have to say whose they are."""
    return cfg.hydra.launcher["_target_"] != ONE_AFTER_THE_OTHER


def sweep_folder(cfg: DictConfig, runs: str, naming: Naming) -> Path:
    """The folder of the sweep, which launchers and sweepers that write files of their own are told."""
    folder = Path(runs, naming.folder)
    if marks_lines(cfg) or is_optimizing(cfg.hydra):
        cfg.hydra.sweep.dir = str(folder)
    return folder
