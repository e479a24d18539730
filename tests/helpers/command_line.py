"""Typing a command line in a test."""

import sys
from typing import Any
from unittest.mock import patch

import pytest

from nmt.cli import app
from nmt.cli.options import Command
from nmt.cli.train import COMMAND


def typed(*words: str, command: Command = COMMAND) -> list[Any]:
    """The configurations that jobs would get for these words."""
    got: list[Any] = []
    with patch.object(sys, "argv", ["nmt", *words]), patch.dict("os.environ"):
        app.run(command, got.append)
    return got


def refused(*words: str, command: Command = COMMAND) -> str:
    """The message with which these words are refused."""
    with pytest.raises(SystemExit) as caught:
        typed(*words, command=command)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("error: ")
    return caught.value.code
