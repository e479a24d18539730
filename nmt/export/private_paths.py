"""What of a configuration names folders of this machine, and an export therefore does not have."""

import re
from pathlib import Path
from typing import Any

from nmt.config import flat

# In a command (trainer.validate_command): the folders of a path that is absolute or leads upwards, after white space,
# a quote or an equals sign.
FOLDERS = re.compile(r"""(?<![^\s'"=])(?:/|~|\.\./)(?:[^\s'"]*/)?""")


def without_folders(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration whose paths that are absolute or lead upwards are file names alone, and the keys of these."""
    named = names_alone(tree)
    command = named.get("trainer", {}).get("validate_command")
    if command is not None:
        named["trainer"]["validate_command"] = FOLDERS.sub("", tree["trainer"]["validate_command"])
    before, after = flat(tree), flat(named)
    return named, [key for key, value in before.items() if value != after[key]]


def names_alone(value: Any) -> Any:
    """``file_name`` of every text in a tree."""
    if isinstance(value, dict):
        return {key: names_alone(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [names_alone(inner) for inner in value]
    return file_name(value)


def file_name(value: Any) -> Any:
    """A path that is absolute or leads upwards without its folders; anything else as it is."""
    if isinstance(value, str) and (value.startswith(("/", "~")) or ".." in value.split("/")):
        return Path(value).name
    return value
