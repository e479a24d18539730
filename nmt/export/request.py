"""What is to be exported, and the record of it that lies in the folder."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt.errors import RunError
from nmt.export.quantization import Quantization
from nmt.runs.directory import Run, read_json
from nmt.runs.origin import nmt_version

RECORD = "export.json"  # in an exported folder: what it is and what it was made of
FORMAT = 1  # raised when what is exported changes, so that what runs keep for an engine is made anew


@dataclass(frozen=True)
class ExportRequest:
    """A run, and what to make of it."""

    run: Run
    to: str  # a row of EXPORTS
    checkpoint: str = "best"  # which weights, as ``Run.weights`` takes them
    quantization: Quantization | None = None  # None: float32
    output: Path | None = None
    license: str | None = None  # of a model card, by its short name on the hub (mit, cc-by-4.0)

    @property
    def folder(self) -> Path:
        """Where the export goes: ``output``, or DIR/exports/FORM."""
        kind = [self.to] if self.quantization is None else [self.to, self.quantization.name]
        return self.output or self.run.directory / "exports" / "-".join(kind)

    @cached_property
    def weights(self) -> str:
        """A digest of the files of weights: another one where training has gone on."""
        digest = hashlib.sha256()
        for path in self.run.weights(self.checkpoint):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def record(self, **more: Any) -> dict[str, Any]:
        """The content of RECORD."""
        return {
            "format": FORMAT,
            "to": self.to,
            "quantization": None if self.quantization is None else self.quantization.name,
            "run": self.run.directory.resolve().name,
            "checkpoint": self.checkpoint,
            "weights": self.weights,
            "nmt": nmt_version(),
            **more,
        }


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an exported folder; empty where there is none that can be read."""
    try:
        found = read_json(folder / RECORD)
    except RunError:
        return {}
    return found if isinstance(found, dict) else {}
