"""Typing a command line in a test."""

import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from nmt.cli import app
from nmt.cli.options import Command
from nmt.cli.train import COMMAND


def typed(*words: str, command: Command = COMMAND, job: Callable[[Any], object] = lambda config: None) -> list[Any]:
    """The configurations that jobs get for these words; they do nothing, unless ``job`` is given."""
    got: list[Any] = []
    with patch.object(sys, "argv", ["nmt", *words]), patch.dict("os.environ"):
        app.run(command, lambda config: (got.append(config), job(config)))
    return got


def refused(*words: str, command: Command = COMMAND, job: Callable[[Any], object] = lambda config: None) -> str:
    """The message with which these words, or the job that gets them, are refused."""
    with pytest.raises(SystemExit) as caught:
        typed(*words, command=command, job=job)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("error: ")
    return caught.value.code
