"""What commands on finished runs take: run=DIR, checkpoint, device, threads and, where they translate, decode.*."""

import glob
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.config import PLUGINS_HELP, TRUST_HELP
from nmt.data.textfile import home_expanded
from nmt.errors import ConfigError
from nmt.eval.metrics import check_utility
from nmt.export import Quantization
from nmt.export.engines import EngineKind, check_quantization
from nmt.runs.directory import CONFIG_FILE, check_checkpoint
from nmt.runs.hub import local_directory
from nmt.search import DecodeConfig
from nmt.settings import check_ranges, setting


@dataclass
class OnRun:
    """What every command on a finished run takes."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = setting("???", "run directory", path=True)
    checkpoint: str = setting(
        "best",
        "weights: best, last, or the mean of K retained ones: avg:K the latest (trainer.keep_last), "
        "best:K the best (trainer.keep_best)",
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    threads: int | None = setting(None, "CPU threads; null: as many as torch finds", least=1, most=1024)
    plugins: list[str] = setting([], PLUGINS_HELP)
    trust: bool = setting(False, TRUST_HELP)

    def named_runs(self) -> list[list[Path]]:
        """Every run that is opened; those of an inner list belong together."""
        return directories(self.run)

    def __post_init__(self) -> None:
        check_ranges(self, "")
        check_checkpoint(self.checkpoint)


@dataclass
class SearchOnRun(OnRun):
    """What every command takes that translates with a finished run."""

    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decode.reranks:
            check_utility(self.decode.mbr)
        self.decode.check_candidates()


@dataclass
class EngineOnRun(SearchOnRun):
    """What commands take that translate with a run, or an ensemble of several, by any engine."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = setting("???", "run directory, or [A,B,...]: an ensemble, decoding as A does", path=True)
    engine: EngineKind = setting(
        EngineKind.torch, "what runs the model: torch; ctranslate2 or onnx, to which it is exported once, into the run"
    )
    quantization: Quantization | None = setting(
        None, "engine=ctranslate2 or onnx: type of the weights; null: as decode.precision says"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_quantization(self.engine, self.quantization)


def directories(value: Any, key: str = "run") -> list[list[Path]]:
    """run=DIR, run=[A,B] or run=[A,[B,C]] as paths; those of an inner list belong together.

    A pattern (runs/sweep/*) stands for all runs that it matches, ~ for the home folder; a model on the hub
    (hf://OWNER/NAME) is downloaded.  Raises ConfigError, naming ``key``, where there are none.
    """
    outer: list[list[Path]] = []
    for item in as_list(value) if value else []:
        if isinstance(item, list):
            outer.append([path for part in item for path in matching(str(part), key)])
        else:
            outer += [[path] for path in matching(str(item), key)]
    if not outer or not all(outer):
        raise ConfigError(f"{key}=DIR names no run directory")
    return outer


def matching(pattern: str, key: str) -> list[Path]:
    """The run directory of that name, or all that match a pattern, numbers in the order of their values."""
    if pattern.startswith("hf:/"):
        return [local_directory(pattern)]
    pattern = str(home_expanded(pattern, key))
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [Path(pattern)]
    root = Path(Path(pattern).anchor)
    found = [path for path in root.glob(str(Path(pattern).relative_to(root))) if (path / CONFIG_FILE).is_file()]
    if not found:
        raise ConfigError(f"{key}={pattern} matches no run directory (looked for from {Path.cwd()})")
    return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", str(path))])


def as_list(value: Any) -> list[Any]:
    """A single value as a list of one."""
    return value if isinstance(value, list) else [value]
