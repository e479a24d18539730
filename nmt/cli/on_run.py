"""What every command on finished runs takes: run=DIR, checkpoint=..., device=..., threads=..., decode.*."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.errors import ConfigError
from nmt.eval.metrics import check_utility
from nmt.runs.directory import check_checkpoint
from nmt.search import DecodeConfig


@dataclass
class OnRun:
    """What every command on a finished run takes."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = field(default="???", metadata={"help": "run directory"})
    checkpoint: str = field(
        default="best",
        metadata={
            "help": "weights: best, last, or the mean of K kept ones: avg:K the latest (trainer.keep_last), "
            "best:K the best (trainer.keep_best)"
        },
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    threads: int | None = field(default=None, metadata={"help": "CPU threads; null: as many as torch finds"})
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        if self.decode.reranks:
            check_utility(self.decode.mbr)


def directories(value: Any) -> list[list[Path]]:
    """run=DIR, run=[A,B] or run=[A,[B,C]] as paths; those of an inner list belong together."""
    outer = [[Path(str(v)) for v in as_list(inner)] for inner in as_list(value)] if value else []
    if not outer or not all(outer):
        raise ConfigError("run=DIR names no run directory")
    return outer


def as_list(value: Any) -> list[Any]:
    """A single value as a list of one."""
    return value if isinstance(value, list) else [value]
