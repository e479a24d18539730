"""Checksums inside small text files: a bit that flipped on a disk is noticed when the file is read back.

A file without a checksum, as earlier versions wrote it, passes.
"""

import hashlib
import json
import re
from typing import Any

from nmt.errors import RunError

KEY = "sha256"
FIRST_LINE = "# The last line is a checksum of this file.\n"
LAST_LINE = re.compile(r"# sha256 of the lines above: (\w*)\n?\Z")


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def with_checksum(text: str) -> str:
    """A text whose comments begin with ``#``, such as YAML, with its checksum in one more line at the end.

    One more line at the beginning says that it is there: without it a text that lost its end would pass for one that
    an earlier version wrote.
    """
    return f"{FIRST_LINE}{text}# sha256 of the lines above: {sha256((FIRST_LINE + text).encode())}\n"


def check_text(text: str) -> None:
    """Raise RunError where the checksum that ``with_checksum`` wrote is missing or not that of the lines above it."""
    written = LAST_LINE.search(text)
    if written is None and not text.startswith(FIRST_LINE):
        return
    if written is None or written[1] != sha256(text[: written.start()].encode()):
        raise RunError(
            "damaged, or changed by hand: it does not fit the checksum in its last line "
            "(after a change of your own delete the first line and the last, which begin with #)"
        )


def json_with_checksum(tree: dict[str, Any]) -> str:
    """JSON that a person can read, with the checksum of all keys under one more, "sha256"."""
    return json.dumps({**tree, KEY: checksum_of(tree)}, indent=2, ensure_ascii=False) + "\n"


def parse_json(text: str) -> Any:
    """What ``json_with_checksum`` was given; any JSON without a checksum, too.

    Raises RunError where the values are not those of the checksum, ValueError where the text is no JSON.
    """
    tree = json.loads(text)
    if not isinstance(tree, dict) or KEY not in tree:
        return tree
    written = tree.pop(KEY)
    if written != checksum_of(tree):
        raise RunError(
            f"damaged, or changed by hand: it does not fit its checksum (after a change of your own delete {KEY})"
        )
    return tree


def checksum_of(tree: dict[str, Any]) -> str:
    """The checksum of values, however JSON lays them out."""
    return sha256(json.dumps(json.loads(json.dumps(tree)), sort_keys=True).encode())
