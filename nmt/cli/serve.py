"""python -m nmt.serve run=DIR: translate for those who ask over HTTP, and a page to try the model with."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nmt.cli import app
from nmt.cli.on_run import EngineOnRun, as_list
from nmt.cli.options import Command
from nmt.data.directions import said_of_default, toward
from nmt.device import resolve_device, set_up
from nmt.export.engines import open_engine
from nmt.libraries import needed
from nmt.runs.ensemble import open_run
from nmt.serve.config import ServeOptions
from nmt.translate.options import TranslateOptions
from nmt.translate.translator import Translator


@dataclass
class ServeConfig(EngineOnRun):
    """What to serve and how."""

    serve: ServeOptions = field(default_factory=ServeOptions)


COMMAND = Command(
    module="nmt.serve",
    root="serve",
    schema=ServeConfig,
    summary="Translate over HTTP: JSON in and out, and a page where one types a sentence and sees its attention.",
    examples=(
        "run=runs/local_p",
        "run=runs/local_p serve.port=9000 serve.max_batch=32 decode=greedy",
        "run=runs/transformer engine=ctranslate2 serve.host=0.0.0.0 serve.per_minute=60",
    ),
    groups=("decode",),
    of_runs=True,
)


def serve(configs: Sequence[ServeConfig]) -> None:
    """Serve the runs of all ``configs`` together, as the first says, until SIGTERM or Ctrl-C."""
    config = configs[0]
    for library in ("starlette", "uvicorn"):
        needed(library, COMMAND.module, extra="serve")
    from nmt.serve.server import serve  # here, because it imports them

    set_up(config.threads, deterministic=False)
    directories = [directory for one in configs for directory in as_list(one.run)]
    run = open_run(directories, config.decode.ensemble)
    device = resolve_device(config.device)
    engine = open_engine(config.engine, run, config.checkpoint, device, config.decode, config.quantization, print_line)
    if note := said_of_default(run.config.data, config.serve.into, "serve.into"):
        print(note, file=sys.stderr)
    toward(run.tokenizers, run.config.data, config.serve.into, "serve.into")  # refuses what the run was not trained for
    options = TranslateOptions(into=config.serve.into)
    translator = Translator(run, config.decode, device, config.checkpoint, options, engine=engine)
    # Strangers read it, and need not know where on this computer the run lies.
    folders = [Path(directory).resolve().name for directory in directories]
    translator.name = config.serve.title or " + ".join(folders)
    serve(translator, config.serve, print_line)


def print_line(message: str) -> None:
    """A line on standard error, at once."""
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """The command nmt-serve."""
    app.run(COMMAND, serve)
