"""Checksums inside small text files: a bit that flipped on a disk is noticed when the file is read back.

A file without a checksum, as earlier versions wrote it, passes.
"""

import hashlib
import json
import re
from typing import Any

from nmt.errors import RunError

KEY = "sha256"
LAST_LINE = re.compile(r"# sha256 of the lines above: (\w*)\n?\Z")


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def with_last_line(text: str) -> str:
    """A text whose comments begin with ``#``, such as YAML, with its checksum in one more line."""
    return f"{text}# sha256 of the lines above: {sha256(text.encode())}\n"


def check_last_line(text: str) -> None:
    """Raise RunError where the checksum that ``with_last_line`` wrote is not that of the lines above it."""
    written = LAST_LINE.search(text)
    if written and written[1] != sha256(text[: written.start()].encode()):
        raise RunError(
            "damaged, or changed by hand: it does not fit the checksum in its last line "
            "(after a change of your own delete that line)"
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
