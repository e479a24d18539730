"""The one place that talks to Hydra: compose, check, explain mistakes, call the job, once or for a whole sweep."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from nmt import config as configuration
from nmt.cli.help import Command, below, explain_key, groups, help_text, hint, known_keys, label
from nmt.cli.on_run import directories
from nmt.config import CONFIG_DIR, PLUGS, Config
from nmt.errors import DISK, ConfigError, UserError
from nmt.runs.directory import read_config, read_data, run_name, time_stamp

# Keys that say where and how long, not what: a run has the same name whatever they are.
NAMELESS = (
    *("name", "runs", "sweep", "resume", "device", "threads", "logger", "hydra"),
    *("data.root", "data.cache", "data.test", "data.tests", "data.gold"),
    *("trainer.max_steps", "trainer.max_minutes", "trainer.max_epochs", "trainer.keep_last", "trainer.keep_best"),
)
# What a run was built with, and later commands therefore cannot change.
BUILT_IN = ("model", "data.tokenizer")


def run(command: Command, job: Callable[[Any], Any]) -> None:
    """Hand ``job`` a checked, typed config made of configs/ and the command line; leave with 1 if that cannot be.

    A mistake of the user is one message on standard error; a crash inside the job shows its whole traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shortens tracebacks unless told not to
    args = get_args_parser().parse_args()
    try:
        register(command)
        if command.of_runs:
            register_run(first_run(args, command))
        if asks_hydra(args):
            if args.multirun and not args.help:
                raise ConfigError("-m runs jobs: it does not go with --cfg, --info or --shell-completion")
            hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=command.root)(lambda _: None)()
            return
        overrides = list(args.overrides)
        if args.config_dir is not None:
            overrides.append(f"hydra.searchpath=['file://{Path(args.config_dir).resolve()}']")
        if args.multirun:
            sweep(command, job, overrides)
        else:
            job(configs(command, overrides))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + 2)  # as by SIGINT
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        sys.exit(128 + 13)  # as by SIGPIPE
    except Exception as error:
        if not for_user(error):
            raise
        sys.exit(f"error: {explain(error, command)}")


def asks_hydra(args: Any) -> bool:
    """Whether a flag asks Hydra to show something (--help, --cfg job, --info, ...) instead of running the job."""
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)


def register(command: Command) -> None:
    """Tell Hydra what may be typed after this command."""
    configuration.register()
    store = ConfigStore.instance().store
    store(name=f"{command.root}_schema", node=command.schema)
    page = {"app_name": command.module, "header": "", "footer": "", "template": help_text(command)}
    store(group="hydra/help", name="nmt", node=page)


def configs(command: Command, overrides: list[str]) -> Any:
    """The job's config, with a name if it is a training run; a list of them for a command on finished runs."""
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose(command.root, overrides)
        config = typed(cfg)
        if command.of_runs:
            return [config_for(together, command, overrides) for together in directories(config.run)]
        if isinstance(config, Config) and config.name is None:
            config.name = run_name([label(key, value) for key, value in differing(command, cfg, overrides)])
    return config


def typed(cfg: DictConfig) -> Any:
    """Dataclasses instead of DictConfig, with every range check run and `+key=value` extras refused."""
    try:
        config = OmegaConf.to_object(cfg)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} is missing: type {error.full_key}=...") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from None
    refuse_extras(config, type(config))
    return config


def refuse_extras(node: Any, schema: type, prefix: str = "") -> None:
    """Raise ConfigError for a key that no dataclass declares, or a choice whose name was typed over."""
    if not is_dataclass(node):
        return
    declared = {f.name for f in fields(node)}
    for name, value in vars(node).items():
        if name not in declared:
            raise ConfigError(f"unknown key {prefix + name!r}" + hint(prefix + name, known_keys(schema)))
        refuse_extras(value, schema, f"{prefix}{name}.")
    group = prefix[:-1]
    if group in PLUGS and cast(Any, node).name != type(node).name:  # type: ignore[attr-defined]
        raise ConfigError(f"{group}.name cannot be set; choose with {group}=NAME")


def differing(command: Command, cfg: DictConfig, overrides: list[str]) -> list[tuple[str, str]]:
    """(key, value) of the overrides without which the config would be another."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    telling = [o for o in parsed if not below(o.key_or_group, NAMELESS)]
    if not telling:
        return []
    choices = [o.input_line or "" for o in parsed if o.key_or_group in groups() or o.is_hydra_override()]
    base, found = hydra.compose(command.root, choices), []
    for override in telling:
        key = override.key_or_group
        if override.input_line not in choices:
            same = OmegaConf.select(base, key) == OmegaConf.select(cfg, key)
        else:
            try:
                same = hydra.compose(command.root, [c for c in choices if c != override.input_line]) == base
            except HydraException:  # another choice needs this one
                same = False
        if not same:
            found.append((key, override.get_value_element_as_str()))
    return found


# Sweeps.


@dataclass(frozen=True)
class Task:
    """What a launcher runs for each job; it travels to other processes, so it holds no open things."""

    job: Callable[[Any], Any]
    total: int

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


def sweep(command: Command, job: Callable[[Any], Any], overrides: list[str]) -> None:
    """Check every job, then run all of them through Hydra's launcher; those that fail are named at the end.

    A failing job does not stop the others.  Raises UserError before the first job if any of them cannot be composed,
    and after the last if one failed.
    """
    if command.schema is not Config:
        raise ConfigError(f"-m belongs to nmt.train; {command.module} takes one configuration")
    with hydra.initialize_config_dir(str(CONFIG_DIR), job_name="train", version_base="1.3"):
        machine = GlobalHydra.instance().hydra
        assert machine is not None
        loader = machine.config_loader
        cfg = machine.compose_config(command.root, overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        if cfg.hydra.runtime.choices["hydra/sweeper"] != "basic":
            raise ConfigError("hydra/sweeper: sweeps here are all combinations, Hydra's basic sweeper")
        jobs, names = plan(OverridesParser.create(loader).parse_overrides(list(cfg.hydra.overrides.task)))
        for number, (words, name) in enumerate(zip(jobs, names, strict=True), 1):
            try:
                check(loader.load_sweep_config(cfg, words))
            except (HydraException, UserError) as error:
                raise ConfigError(f"job {number} ({name}): {explain(error, command)}") from None
        print(f"{len(jobs)} jobs: {', '.join(names)}", flush=True)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(cfg))
        task = Task(job, len(jobs))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
        results = launcher.launch(jobs, initial_job_idx=0)
    failed = [(n, r._return_value) for n, r in zip(names, results, strict=True) if r.status is not JobStatus.COMPLETED]
    if failed:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in failed)
        raise UserError(f"{len(failed)} of {len(jobs)} jobs failed{lines}")


def plan(overrides: list[Override]) -> tuple[list[list[str]], list[str]]:
    """The overrides of each job, run name and sweep folder included, and the names."""
    for o in overrides:
        if o.is_discrete_sweep() and not list(o.sweep_string_iterator()):
            raise ConfigError(f"{o.input_line} matches nothing" + hint("", groups().get(o.key_or_group, {})))
    swept = {o.get_key_element() for o in overrides if o.is_sweep_override()}
    jobs = [list(words) for words in BasicSweeper.split_arguments(overrides, None)[0]]
    given = {o.key_or_group: str(o.value()) for o in overrides if not o.is_sweep_override() and o.value()}
    folder = given.get("sweep", time_stamp())
    names = []
    for words in jobs:
        chosen = [w.partition("=") for w in words if w.partition("=")[0] in swept]
        parts = [label(key.lstrip("+"), value) for key, _, value in chosen]
        names.append(run_name([given["name"], *parts] if "name" in given else parts))
        words += [f"name='{names[-1]}'", f"sweep='{folder}'"]
    return jobs, names


def check(cfg: DictConfig) -> None:
    """Raise what a job would raise for its config."""
    with open_dict(cfg):
        del cfg["hydra"]
    typed(cfg)


# Commands on finished runs.


def first_run(args: Any, command: Command) -> Path | None:
    """The directory that run= names on the command line; None if only help is asked for."""
    found = None
    for override in OverridesParser.create().parse_overrides(args.overrides):
        key = override.key_or_group.replace("/", ".")
        if below(key, BUILT_IN):
            raise ConfigError(f"{key} is built into the run and cannot be changed by {command.module}")
        if key == "run" and not override.is_sweep_override():
            found = directories(override.value())[0][0]
    if found is None and not asks_hydra(args):
        raise ConfigError(f"which run?  python -m {command.module} run=DIR")
    return found


def register_run(directory: Path | None) -> None:
    """Make the data and decode sections of a run's config.yaml the choice ``as_trained`` of these groups."""
    store = ConfigStore.instance().store
    if directory is None:  # only help is asked for
        data, decode = {"name": PLUGS["data"].default}, {}
    else:
        data, decode = read_data(directory), configuration.to_tree(read_config(directory).decode)
    for group, base, values in (("data", [{"/schema/data@_here_": data["name"]}], data), ("decode", [], decode)):
        node = {"defaults": [*base, "_self_"], **configuration.literal(values)}
        store(group=group, name="as_trained", node=node)


def config_for(together: Sequence[Path], command: Command, overrides: Sequence[str]) -> Any:
    """The command's config for a run, or for several together: what the first was trained with, and what is typed."""
    register_run(together[0])
    config = typed(hydra.compose(command.root, list(overrides)))
    config.run = str(together[0]) if len(together) == 1 else [str(directory) for directory in together]
    return config


# Mistakes.


def for_user(error: Exception) -> bool:
    """Whether the user can mend it; what nobody but a programmer can mend shows its traceback."""
    return isinstance(error, HydraException | UserError) or (isinstance(error, OSError) and error.errno in DISK)


def explain(error: Exception, command: Command) -> str:
    """Say what is wrong in a line or three, and what was probably meant."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        offered = [o for o in error.options if o != "as_trained"]
        if (group, name) == ("hydra/launcher", "joblib"):
            return "hydra/launcher=joblib needs the package hydra-joblib-launcher: pip install hydra-joblib-launcher"
        return f"{group} has no choice {name!r}; choose one of: {', '.join(offered)}" + hint(name, offered)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: expected KEY=VALUE ({''.join(str(error).splitlines()[1:2])})"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        absent = "Could not override" in str(error)
        return explain_key(cause.full_key, command) if absent else f"{cause.full_key}: {str(cause.msg).splitlines()[0]}"
    unused = re.match(r"(In '[^']+': )?Could not override '([^'@]+)'\. No match in the defaults list", str(error))
    return (unused[1] or "") + explain_key(unused[2], command) if unused else str(error)
