"""A trained model in the form of other programs: a folder that needs nothing of this project to be used.

``EXPORTS`` is the table of forms: the command line, --help and ``export`` read it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.export.exports import EXPORTS, ExportRequest, export, export_request
    from nmt.export.quantization import Quantization

__all__ = ["EXPORTS", "ExportRequest", "Quantization", "export", "export_request"]


def __getattr__(name: str) -> Any:
    """The names above, imported when they are used: `python -m nmt.export --help` runs this file and needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("nmt.export.quantization" if name == "Quantization" else "nmt.export.exports"), name)
