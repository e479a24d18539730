"""python -m nmt.serve run=DIR: translate for those who ask over HTTP, and a page to try the model with."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list
from nmt.cli.options import Command
from nmt.device import resolve_device, set_up
from nmt.export import Quantization
from nmt.export.engines import EngineKind, check_quantization, open_engine
from nmt.libraries import needed
from nmt.runs.ensemble import open_run
from nmt.serve.config import ServeOptions
from nmt.settings import setting
from nmt.translate.translator import Translator


@dataclass
class ServeConfig(SearchOnRun):
    """What to serve and how."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = setting("???", "run directory, or [A,B,...]: an ensemble, decoding as A does", path=True)
    engine: EngineKind = setting(
        EngineKind.torch, "what runs the model: torch; ctranslate2 or onnx, to which it is exported once, into the run"
    )
    quantization: Quantization | None = setting(
        None, "engine=ctranslate2 or onnx: type of the weights; null: as decode.precision says"
    )
    serve: ServeOptions = field(default_factory=ServeOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_quantization(self.engine, self.quantization)


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
    translator = Translator(run, config.decode, device, config.checkpoint, engine=engine)
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
