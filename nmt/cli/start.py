"""Where every command starts: what needs no torch is answered before anything is imported that takes seconds."""

import importlib
import signal
import sys
from types import ModuleType

from nmt.cli.first_page import asks_first_page, first_page

# What stands after python -m, and the module of nmt.cli that is the command.
COMMANDS = {
    "nmt.train": "train",
    "nmt.eval": "eval",
    "nmt.eval.align": "align",
    "nmt.eval.look": "look",
    "nmt.translate": "translate",
    "nmt.data": "data",
    "nmt.augment": "augment",
    "nmt.export": "export",
    "nmt.report": "report",
    "nmt.serve": "serve",
}


def start(module: str) -> None:
    """Run a command of COMMANDS as typed."""
    page = first_page(module, sys.argv[1:]) if asks_first_page(sys.argv[1:]) else None
    if page is None:
        imported(module).main()
    else:
        print(page)


def imported(module: str) -> ModuleType:
    """The module that is a command of COMMANDS; Ctrl-C while it is imported ends the program as it does later."""
    try:
        return importlib.import_module(f"nmt.cli.{COMMANDS[module]}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(128 + signal.SIGINT)


def train() -> None:
    """The command nmt-train."""
    start("nmt.train")


def evaluate() -> None:
    """The command nmt-eval."""
    start("nmt.eval")


def align() -> None:
    """The command nmt-align."""
    start("nmt.eval.align")


def look() -> None:
    """The command nmt-look."""
    start("nmt.eval.look")


def translate() -> None:
    """The command nmt-translate."""
    start("nmt.translate")


def data() -> None:
    """The command nmt-data."""
    start("nmt.data")


def augment() -> None:
    """The command nmt-augment."""
    start("nmt.augment")


def export() -> None:
    """The command nmt-export."""
    start("nmt.export")


def report() -> None:
    """The command nmt-report."""
    start("nmt.report")


def serve() -> None:
    """The command nmt-serve."""
    start("nmt.serve")
