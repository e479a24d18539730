"""Checkpoint files: written whole or not at all, read without executing anything."""

import contextlib
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from nmt.atomic import link_whole, whole_file
from nmt.errors import RunError

BLOCK = 1 << 20  # bytes read at once
FORMAT = 1  # raised when old files can no longer be read
# Inside a run directory; PREVIOUS is the last.pt before the present one.
LAST, PREVIOUS, BEST = "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt"


class Recorder:
    """A file to write to that remembers why the disk refused: torch.save loses the reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.refusal: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write; an OSError is remembered and raised."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        """Flush; likewise."""
        try:
            self.file.flush()
        except OSError as error:
            self.refusal = error
            raise


def save(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write tensors and plain Python values; a crash at any moment leaves either the old file or the new one.

    The old file is kept as ``previous`` where that is given, but on a file system without links.  Raises RunError where
    the disk refuses.
    """
    recorder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, "wb") as file:
            recorder = Recorder(file)
            torch.save({"format": FORMAT, **state}, cast(BinaryIO, recorder))
            recorder.flush()
            if previous is not None:
                with contextlib.suppress(OSError):
                    link_whole(path, previous)
    except (OSError, RuntimeError) as error:
        refusal = recorder.refusal if recorder is not None and recorder.refusal is not None else error
        reason = refusal.strerror if isinstance(refusal, OSError) else refusal
        raise RunError(f"{path} could not be written: {reason}") from error


def load(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read what ``save`` wrote, tensors on the CPU; with ``mmap`` they are read only when used.

    All checksums are compared, with ``mmap`` that of everything but the tensors.  Raises RunError for a file that is
    missing, damaged, or not a checkpoint of this program.
    """
    if not path.is_file():
        raise RunError(f"{path}: there is no such checkpoint")
    check_records(path, tensors=not mmap)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:  # whose message advises to execute what the file holds
        raise RunError(f"{path} holds more than tensors and plain values, or is no checkpoint of nmt") from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"{path} is damaged or no checkpoint of nmt: {reason}") from error
    if not isinstance(state, dict) or "model" not in state or "format" not in state:
        raise RunError(f"{path} is no checkpoint of nmt: it holds no model")
    if state["format"] != FORMAT:
        raise RunError(f"{path} has format {state['format']}; this version of nmt reads {FORMAT}")
    return state


def check_records(path: Path, tensors: bool) -> None:
    """Raise RunError where a record of a file of torch.save is not what its checksum says; torch.load compares none.

    torch.save makes a zip archive, with a CRC-32 of each record: one of everything but the tensors, one of each tensor.
    What is no zip archive is left for torch.load to refuse.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                # torch.load would take what has attributes for a folder, and leave the tensor's memory as it was.
                if record.external_attr or record.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(f"{record.filename} is no record of torch.save")
                if tensors or record.filename.endswith("/data.pkl"):
                    with archive.open(record) as content:
                        while content.read(BLOCK):
                            pass
    # Damage can make zipfile believe in encryption, in text that is none, or in an end of the file.
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError, struct.error) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def saved_step(path: Path) -> int:
    """How many updates the checkpoint has seen; reads none of its tensors."""
    return load(path, mmap=True)["step"]
