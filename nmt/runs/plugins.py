"""The plug-ins of a run: copies in its directory, and what has to be there before the run can be read.

A plug-in is code.  Reading a run directory executes nothing that it holds, unless ``nmt.plugins.trusting`` says so.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmt.atomic import whole_file
from nmt.checksum import json_with_checksum, parse_json
from nmt.errors import RunError
from nmt.plugins import Plugin, load_file, loaded_plugin, trusted

FOLDER, RECORD = "plugins", "plugins.json"
_said: set[tuple[str, str]] = set()  # (run directory, message): a command reads config.yaml several times


def store_plugins(directory: Path, plugins: Sequence[Plugin]) -> None:
    """Copy the files of plug-ins into DIR/plugins, with a record of names and checksums; nothing where there are none.

    Raises RunError where the disk refuses.
    """
    if not plugins:
        return
    folder = directory / FOLDER
    rows = [
        {
            "name": p.name,
            "typed": p.typed,
            "file": f"{p.name.rpartition('.')[2]}.py",
            "sha256": p.sha256,
            "adds": p.adds,
        }
        for p in plugins
    ]
    try:
        folder.mkdir(exist_ok=True)
        for row, plugin in zip(rows, plugins, strict=True):
            with whole_file(folder / str(row["file"]), "wb") as file:
                file.write(plugin.source)
        with whole_file(folder / RECORD) as file:
            file.write(json_with_checksum({"plugins": rows}))
    except OSError as error:
        raise RunError(f"{folder} could not be written: {error}") from None


def need_plugins(directory: Path) -> None:
    """See to it that the plug-ins of a run are loaded, before its configuration is made.

    One that is not is executed from the run directory where that is trusted; else RunError says what to type.
    """
    record = directory / FOLDER / RECORD
    if not record.exists():
        return
    try:
        rows: list[dict[str, Any]] = parse_json(record.read_text(encoding="utf-8"))["plugins"]
        for row in rows:
            need_plugin(directory, row["name"], row["typed"], directory / FOLDER / row["file"], row["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{record}: {error}") from None


def need_plugin(directory: Path, name: str, typed: str, copy: Path, sha256: str) -> None:
    """The same for one plug-in, of which ``copy`` is the file in the run directory."""
    found = loaded_plugin(name)
    if found is None:
        if not trusted():
            raise RunError(
                f"{directory} was trained with the plug-in {typed}, which is code: type plugins=[{typed}] to use your "
                f"file, or trust=true (nmt.train: plugins=[{copy}]) to execute its copy, {copy} (sha256 {sha256[:12]})"
            )
        if hashlib.sha256(copy.read_bytes()).hexdigest() != sha256:
            raise RunError(f"{copy} is not the file that the run was trained with: its checksum is another")
        load_file(copy, str(copy))
        say(directory, f"plug-in {name} (sha256 {sha256[:12]}) was executed from the run directory")
    elif found.sha256 != sha256:
        say(directory, f"plug-in {name} differs from the one of training: {found.sha256[:12]}, then {sha256[:12]}")
    else:
        say(directory, f"plug-in {name} (sha256 {sha256[:12]}) is loaded, the same as in training")


def say(directory: Path, message: str) -> None:
    """A note on standard error, once a run."""
    if (str(directory), message) not in _said:
        _said.add((str(directory), message))
        print(f"note: {directory}: {message}", file=sys.stderr, flush=True)
