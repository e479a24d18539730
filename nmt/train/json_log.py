"""log.jsonl: the events of a run, one JSON object a line."""

import contextlib
import json
import math
import re
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from nmt.atomic import whole_file
from nmt.errors import RunError
from nmt.train.logger import Logger

# json.dumps leaves these characters of a sample as they are, and str.splitlines would end a line there.
LINE_ENDS = re.compile("[\x85\u2028\u2029]")


FILE = "log.jsonl"


class JSONLog(Logger):
    """Appends events to log.jsonl; each is on disk when ``event`` returns."""

    def __init__(self, directory: Path, step: int) -> None:
        """``step``: that of the checkpoint from which a run is resumed, else 0; later events are removed."""
        self.path = path = directory / FILE
        if path.exists():
            remove_after(path, step)
        try:
            self.file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunError(f"{path} could not be written: {error.strerror}") from error

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """A line with ``event`` (the name), ``time`` (seconds since 1970) and the facts.

        Raises RunError where the disk refuses.
        """
        event = {"event": name, "time": round(time.time(), 3), **{k: json_value(v) for k, v in facts.items()}}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False)
        try:
            self.file.write(LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", line) + "\n")
            self.file.flush()
        except OSError as error:
            raise RunError(f"{self.path} could not be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; nothing may be written any more."""
        with contextlib.suppress(OSError):  # each line was flushed, and its error was raised
            self.file.close()


def remove_after(path: Path, step: int) -> None:
    """Remove from a log.jsonl the events of steps after ``step``, and a line that a crash cut short.

    Raises RunError where the disk refuses.
    """
    kept = []
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            if (json.loads(line).get("step") or 0) <= step:
                kept.append(line + b"\n")
    try:
        with whole_file(path, "wb") as file:
            file.writelines(kept)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from error


def json_value(value: Any) -> Any:
    """The nearest value that JSON has: names of Enums, paths as text, null for numbers that are not finite."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    return value if isinstance(value, str | int | float | None) else str(value)
