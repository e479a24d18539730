"""What every command does: read the command line, compose the configuration, call the job, explain mistakes."""

import contextlib
import os
import platform
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import torch

from nmt.cli import resume
from nmt.cli.completion import completion_script
from nmt.cli.compose import configs, first_run, help_page, register, register_run, with_config
from nmt.cli.first_page import choice_files, first_page
from nmt.cli.mistakes import FLAGS, explain, for_user
from nmt.cli.options import Command
from nmt.cli.plugins import plugins_loaded
from nmt.cli.streams import drop_output, flush_output, open_closed_streams
from nmt.cli.sweep import sweep
from nmt.cli.words import parse, words_for_hydra
from nmt.config import CONFIG_DIR, VERSION_BASE, Config
from nmt.errors import ConfigError, Stopped
from nmt.runs.directory import CONFIG_FILE
from nmt.runs.origin import nmt_version


def run(command: Command, job: Callable[..., Any]) -> None:
    """Call ``job`` with a checked, typed config made of configs/ and the command line; leave with 1 if that cannot be.

    A sweep (-m) calls it once for each combination.  A mistake of the user is one message on standard error; a crash
    inside the job shows its whole traceback.
    """
    open_closed_streams()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shortens tracebacks unless told not to
    if "--version" in sys.argv[1:]:  # Hydra's parser would print Hydra's
        print(versions())
        return
    with mistakes_explained(command):
        args = parse(sys.argv[1:], command)
        command = replace(command, config_dirs=tuple(args.config_dir))
        if args.help and (page := first_page(command.module, sys.argv[1:])):
            print(page)
            return
        if args.shell_completion:
            print(completion_script(args.shell_completion, args.config_dir, FLAGS))
            return
        with choices_decoded(args.config_dir), plugins_loaded(args.overrides, command) as args.overrides:
            register(command)
            if command.of_runs:
                register_run(with_config(named_run(command, args), command))
            directory = resume.named_run(args.overrides) if command.schema is Config else None
            if directory and (args.multirun or args.cfg):
                other = "-m makes several" if args.multirun else f"--cfg shows none: see {directory / CONFIG_FILE}"
                raise ConfigError(f"resume={directory} goes on with one run, and {other}")
            if args.help or args.help_all:
                print(help_page(command, args.overrides, args.resolve))
            elif asks_hydra(args):
                show(command, args)
            elif directory:
                job(resume.config_on_top(command, directory, args.overrides), directory)
            elif args.multirun:
                sweep(command, job, args.overrides)
            else:
                job(configs(command, args.overrides))


def versions() -> str:
    """What --version prints."""
    return f"nmt {nmt_version()}, torch {torch.__version__}, Python {platform.python_version()}"


def asks_hydra(args: Namespace) -> bool:
    """Whether a flag asks Hydra to show something (--help, --cfg job, --info, ...) instead of running the job."""
    return bool(args.help or args.help_all or args.cfg or args.info)


def show(command: Command, args: Namespace) -> None:
    """Let Hydra show what was asked for; it reads sys.argv."""
    sys.argv[1:] = words_for_hydra(args)
    hydra.main(config_path=str(CONFIG_DIR), config_name=command.root, **VERSION_BASE)(lambda _: None)()


def named_run(command: Command, args: Namespace) -> Path | None:
    """The run directory to start from; None if only help is asked for."""
    found = first_run(command, args.overrides)
    if found is None and not asks_hydra(args):
        raise ConfigError(f"which run?  python -m {command.module} run=DIR")
    return found


@contextmanager
def choices_decoded(folders: Sequence[Path]) -> Iterator[None]:
    """Raise ConfigError, with the file, where Hydra meets a choice in the user's own folders that is not UTF-8."""
    try:
        yield
    except UnicodeDecodeError as error:
        for path in (path for folder in folders for path in choice_files(folder)):
            if error.object in path.read_bytes():
                raise ConfigError(f"{path} is not UTF-8 ({error.reason} 0x{error.object[error.start]:02x})") from None
        raise


@contextmanager
def mistakes_explained(command: Command) -> Iterator[None]:
    """Turn what a user can mend into one message and exit status 1, and an interruption into the status of a signal."""
    try:
        yield
        if refused := flush_output():
            raise refused  # what was printed is part of the result
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # the terminal may be gone, too
            print("interrupted", file=sys.stderr, flush=True)
        sys.exit(128 + (error.number if isinstance(error, Stopped) else signal.SIGINT))  # as shells tell of a signal
    except BrokenPipeError:  # whoever reads has seen enough
        drop_output()
        sys.exit(128 + 13)  # as by SIGPIPE
    except Exception as error:
        if not for_user(error):
            raise
        flush_output()  # or Python would try at its end, and add a message of its own where the disk is full
        sys.exit(f"error: {explain(error, command)}")
