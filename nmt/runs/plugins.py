"""The plug-ins of a run: copies in its directory, and what has to be there before the run can be read.

A plug-in is code.  Reading a run directory executes nothing that it holds, unless ``nmt.plugins.trusting`` says so.
"""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nmt.atomic import whole_file
from nmt.checksum import json_with_checksum, parse_json
from nmt.errors import RunError
from nmt.plugins import Plugin, load_copy, loaded_plugin, serves, trusted

FOLDER, RECORD = "plugins", "plugins.json"


class Copy(NamedTuple):
    """A plug-in of a run, as its record has it."""

    name: str  # of the module
    typed: str  # in training
    path: Path  # the copy in the run directory
    sha256: str


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

    Those that are not are executed from the run directory where that is trusted; else RunError says what to type.
    """
    record = directory / FOLDER / RECORD
    if not record.exists():
        return
    try:
        rows: list[dict[str, Any]] = parse_json(record.read_text(encoding="utf-8"))["plugins"]
        copies = [Copy(row["name"], row["typed"], directory / FOLDER / row["file"], row["sha256"]) for row in rows]
        if not trusted() and not all(serves(copy.name, copy.sha256) for copy in copies):
            raise RunError(what_to_type(directory, copies))
        for copy in copies:
            need_plugin(directory, copy)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{record}: {error}") from None


def what_to_type(directory: Path, copies: Sequence[Copy]) -> str:
    """That the plug-ins of a run are not loaded, or not all of them, and every way to have them all."""
    loaded = {
        copy.name: plugin.typed
        for copy in copies
        if (plugin := loaded_plugin(copy.name)) and serves(copy.name, copy.sha256)
    }
    needed = [copy for copy in copies if copy.name not in loaded]
    one = len(needed) == 1
    own = ",".join(loaded.get(copy.name, copy.typed) for copy in copies)
    kept = ",".join(loaded.get(copy.name, str(copy.path)) for copy in copies)
    return (
        f"{directory} was trained with the plug-in{'s' * (not one)} {', '.join(copy.typed for copy in needed)}, which "
        f"{'is' if one else 'are'} code: type plugins=[{own}] to use your file{'s' * (not one)}, or trust=true "
        f"(nmt.train: plugins=[{kept}]) to execute {'its copy' if one else 'their copies'}, "
        + ", ".join(f"{copy.path} (sha256 {copy.sha256[:12]})" for copy in needed)
    )


def need_plugin(directory: Path, copy: Copy) -> None:
    """Execute the copy of a plug-in that is not loaded, and say on standard error which one is used."""
    found, name, sha256 = loaded_plugin(copy.name), copy.name, copy.sha256
    if found is None or not serves(name, sha256):
        if not copy.path.is_file():
            raise RunError(
                f"{copy.path} is missing, so that trust=true cannot execute it: type plugins=[{copy.typed}] to use "
                "your file"
            )
        if hashlib.sha256(copy.path.read_bytes()).hexdigest() != sha256:
            raise RunError(f"{copy.path} is not the file that the run was trained with: its checksum is another")
        load_copy(copy.path)
        say(directory, f"plug-in {name} (sha256 {sha256[:12]}) was executed from the run directory")
    elif found.sha256 != sha256:
        say(directory, f"plug-in {name} differs from the one of training: {found.sha256[:12]}, then {sha256[:12]}")
    else:
        say(directory, f"plug-in {name} (sha256 {sha256[:12]}) is loaded, the same as in training")


def copy_plugins(directory: Path, folder: Path) -> str:
    """Give an export the plug-ins of its run, whose record then names no folder; a sentence on it, "" without any.

    Raises RunError where a copy is missing.
    """
    if not (directory / FOLDER / RECORD).exists():
        return ""
    rows = parse_json((directory / FOLDER / RECORD).read_text(encoding="utf-8"))["plugins"]
    (folder / FOLDER).mkdir(exist_ok=True)
    try:
        for row in rows:
            shutil.copyfile(directory / FOLDER / row["file"], folder / FOLDER / row["file"])
    except OSError as error:
        raise RunError(f"the plug-ins of {directory} cannot be exported: {error}") from None
    named = [{**row, "typed": row["typed"].rpartition("/")[2]} for row in rows]
    with whole_file(folder / FOLDER / RECORD) as file:
        file.write(json_with_checksum({"plugins": named}))
    files = ", ".join(row["file"] for row in rows)
    return f"{FOLDER}/ has {files}, which is code: who loads the folder has to trust it (trust=true)"


def no_copies(directory: Path) -> str:
    """What to add to an error of config.yaml where trust=true has nothing to execute; else ""."""
    folder = directory / FOLDER
    return "" if not trusted() or folder.is_dir() else f"; trust=true executes nothing, because there is no {folder}"


def say(directory: Path, message: str) -> None:
    """A note on standard error, once a run."""
    if (str(directory), message) not in _said:
        _said.add((str(directory), message))
        print(f"note: {directory}: {message}", file=sys.stderr, flush=True)
