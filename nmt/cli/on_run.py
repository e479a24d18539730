"""What commands on finished runs take: run=DIR, checkpoint, device, threads and, where they translate, decode.*."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.errors import ConfigError
from nmt.eval.metrics import check_utility
from nmt.runs.directory import check_checkpoint
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


def directories(value: Any) -> list[list[Path]]:
    """run=DIR, run=[A,B] or run=[A,[B,C]] as paths; those of an inner list belong together.

    A model on the hub (hf://OWNER/NAME) is downloaded.
    """
    found = [[local_directory(str(v)) for v in as_list(inner)] for inner in as_list(value)] if value else []
    outer = [[path.expanduser() for path in inner] for inner in found]
    if not outer or not all(outer):
        raise ConfigError("run=DIR names no run directory")
    return outer


def as_list(value: Any) -> list[Any]:
    """A single value as a list of one."""
    return value if isinstance(value, list) else [value]
