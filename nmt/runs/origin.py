"""Where and by what a run was made: the origin.json of its directory."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nmt.train.distributed import Ranks


def origin(device: torch.device, ranks: Ranks) -> dict[str, Any]:
    """Where and by what the run was made."""
    return {
        "command": [readable(word) for word in sys.argv],
        "folder": readable(Path.cwd()),
        "nmt": nmt_version(),
        **source_state(Path(__file__).parent),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "processes": ranks.size,
    }


def readable(name: str | Path) -> str:
    """A word or path as text, even where the locale does not have its characters."""
    return os.fsencode(name).decode(errors="replace")


def source_state(folder: Path) -> dict[str, Any]:
    """The git ``commit`` of the source tree below which ``folder`` is, and whether it has ``uncommitted`` changes.

    Nothing for an installed package, which is in no git repository, and where there is no git.
    """
    try:
        listed = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "."]
        subprocess.run(listed, capture_output=True, check=True, timeout=10)
        commit, changes = (
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, text=True, timeout=10)
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit.stdout.strip(), "uncommitted": bool(changes.stdout.strip())}


def nmt_version() -> str:
    """The version of the installed package; a source tree need not be installed."""
    try:
        return version("nmt")
    except PackageNotFoundError:
        return "not installed"


def device_name(device: torch.device) -> str:
    """cpu with its threads, or the accelerator's name."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    return f"cpu ({threads} thread{'s' * (threads > 1)} of {cores} core{'s' * (cores > 1)})"
