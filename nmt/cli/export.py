"""python -m nmt.export run=DIR to=FORM: the trained model as a folder for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.cli import app
from nmt.cli.on_run import as_list, directories
from nmt.cli.options import Command
from nmt.config import PLUGINS_HELP, TRUST_HELP
from nmt.device import set_up
from nmt.errors import ConfigError
from nmt.export import EXPORTS, ExportRequest, Quantization, export
from nmt.runs.directory import Run, check_checkpoint
from nmt.settings import check_ranges, setting


@dataclass
class ExportConfig:
    """What to export and how."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = setting("???", "run directory", path=True)
    checkpoint: str = setting("best", "weights: best, last, avg:K or best:K, as for nmt.translate")
    threads: int | None = setting(None, "CPU threads; null: as many as torch finds", least=1, most=1024)
    plugins: list[str] = setting([], PLUGINS_HELP)
    trust: bool = setting(False, TRUST_HELP)
    to: str = setting("???", "what to make", choices=lambda: tuple(EXPORTS))
    output: str | None = setting(
        None, "folder to write; null: DIR/exports/FORM; an earlier export there is replaced", path=True
    )
    quantization: Quantization | None = setting(
        None, "type of the weights: fp32, fp16, bf16, int8, int16, as the form has them; null: fp32"
    )
    license: str | None = setting(
        None, "to=huggingface: the licence that the model card names, as mit or cc-by-4.0; null: unknown"
    )

    def named_runs(self) -> list[list[Path]]:
        """Every run that is opened."""
        return directories(self.run)

    def __post_init__(self) -> None:
        check_ranges(self, "")
        check_checkpoint(self.checkpoint)


COMMAND = Command(
    module="nmt.export",
    root="export",
    schema=ExportConfig,
    summary="Write the trained model as a folder for other programs, checked against the translations of this one.",
    examples=(
        "run=runs/transformer to=ctranslate2",
        "run=runs/transformer to=ctranslate2 quantization=int8 output=deploy",
        "run=runs/local_p to=onnx",
        "run=runs/local_p to=safetensors output=local_p",
        "run=runs/local_p to=huggingface license=mit",
    ),
    of_runs=True,
)


def export_run(configs: Sequence[ExportConfig]) -> None:
    """Export, and say where it is and what the check found."""
    config = configs[0]
    directories = [directory for each in configs for directory in as_list(each.run)]
    if len(directories) > 1:
        raise ConfigError(f"run=[{','.join(directories)}]: nmt.export writes one model; name one run")
    set_up(config.threads, deterministic=False)
    output = None if config.output is None else Path(config.output)
    run = Run.open(directories[0])
    request = ExportRequest(run, config.to, config.checkpoint, config.quantization, output, config.license)
    folder, message = export(request)
    print(f"{message}\nwritten to {folder}")


def main() -> None:
    """The command nmt-export."""
    app.run(COMMAND, export_run)
