"""Sweeps (-m): one training for every combination of the values typed, each checked before the first one starts."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from nmt.cli.compose import default_hydra, name_part, typed, without_hydra
from nmt.cli.hydra_keys import refuse_composed, refuse_typed
from nmt.cli.mistakes import explain, for_user, hint
from nmt.cli.options import Command, config_groups
from nmt.config import CONFIG_DIR, Config
from nmt.errors import ConfigError, RunError, UserError
from nmt.runs.directory import run_name, time_stamp
from nmt.runs.summary import read_runs
from nmt.runs.table import markdown, newest_of_each_seed, remarks, table
from nmt.train.console import unread_output_ignored


@dataclass(frozen=True)
class Task:
    """What a launcher runs for each job; it travels to other processes, so it holds no open things."""

    job: Callable[[Any], Any]
    total: int

    @unread_output_ignored()
    def __call__(self, cfg: DictConfig) -> Any:
        config = typed(cfg)
        print(f"\n== job {HydraConfig.get().job.num + 1} of {self.total}: {config.sweep}/{config.name}", flush=True)
        try:
            return self.job(config)
        except Exception as error:
            if for_user(error):
                failure = str(error)
                print(f"error: {failure}", file=sys.stderr, flush=True)
            else:
                failure = f"{type(error).__name__}: {error}"
                traceback.print_exc()
        raise JobError(failure)


class JobError(RuntimeError):
    """A job of a sweep failed; its own message, as plain text that any process can unpickle."""


@unread_output_ignored()
def sweep(command: Command, job: Callable[[Any], Any], overrides: list[str]) -> None:
    """Check every job, then run all of them through Hydra's launcher; those that fail are named at the end.

    A failing job does not stop the others.  Raises UserError before the first job if any of them cannot be composed or
    cannot succeed, and after the last if one failed.
    """
    if command.schema is not Config:
        raise ConfigError(f"-m belongs to nmt.train; {command.module} takes one configuration")
    with hydra.initialize_config_dir(str(CONFIG_DIR), job_name="train", version_base="1.3"):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        loader = composer.config_loader
        parser = OverridesParser.create(loader)
        refuse_typed(parser.parse_overrides(overrides), sweep=True)
        cfg = composer.compose_config(command.root, overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        refuse_composed(cfg.hydra, default_hydra(command), sweep=True)
        jobs, names, folder = combinations(parser.parse_overrides(swept_words(cfg)), command)
        for number, (words, name) in enumerate(zip(jobs, names, strict=True), 1):
            try:
                check(loader.load_sweep_config(cfg, words))
            except (HydraException, UserError) as error:
                raise ConfigError(f"job {number} ({name}): {explain(error, command)}") from None
        print(f"{len(jobs)} job{'s' * (len(jobs) > 1)}: {', '.join(names)}", flush=True)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(cfg))
        task = Task(job, len(jobs))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
        results = launcher.launch(jobs, initial_job_idx=0)
    show_table(Path(cfg.runs, folder))
    failed = [(n, r._return_value) for n, r in zip(names, results, strict=True) if r.status is not JobStatus.COMPLETED]
    if failed:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in failed)
        raise UserError(f"{len(failed)} of {len(jobs)} job{'s' * (len(jobs) > 1)} failed{lines}")


def swept_words(cfg: DictConfig) -> list[str]:
    """What is typed, after those of hydra.sweeper.params whose keys are not typed."""
    words = list(cfg.hydra.overrides.task)
    typed_keys = {word.partition("=")[0] for word in words}
    params = cfg.hydra.sweeper.params or {}
    return [f"{key}={value}" for key, value in params.items() if key not in typed_keys] + words


def show_table(folder: Path) -> None:
    """Print what the runs of a sweep have scored: a row for each configuration."""
    try:
        runs, left_out = newest_of_each_seed(read_runs([folder]))
    except RunError as error:  # no job came far enough to have a run, say
        print(f"\nno table: {error}", flush=True)
        return
    print(f"\n{folder}\n\n{markdown(table(runs))}", *remarks(runs, left_out), sep="\n", flush=True)


def combinations(overrides: list[Override], command: Command) -> tuple[list[list[str]], list[str], str]:
    """The overrides of each job, run name and sweep folder included; the names; and the folder."""
    groups = config_groups(command.config_dirs)
    for o in overrides:
        if o.is_discrete_sweep() and not list(o.sweep_string_iterator()):
            raise ConfigError(f"{o.input_line} matches nothing" + hint("", groups.get(o.key_or_group, {})))
    swept = {o.get_key_element() for o in overrides if o.is_sweep_override()}
    jobs = [list(words) for words in BasicSweeper.split_arguments(overrides, None)[0]]
    given = {o.key_or_group: str(o.value()) for o in overrides if not o.is_sweep_override() and o.value()}
    folder = given.get("sweep", time_stamp())
    names = []
    for words in jobs:
        chosen = [w.partition("=") for w in words if w.partition("=")[0] in swept]
        parts = [name_part(key.lstrip("+"), value) for key, _, value in chosen]
        names.append(run_name([given["name"], *parts] if "name" in given else parts))
        words += [f"name='{names[-1]}'", f"sweep='{folder}'"]
    return jobs, names, folder


def check(cfg: DictConfig) -> None:
    """Raise what a job would raise for its config."""
    typed(without_hydra(cfg))
