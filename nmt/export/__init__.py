"""A trained model in the form of other programs: a folder that needs nothing of this project to be used.

``EXPORTS`` is the table of forms: the command line, --help and ``export`` read it.
"""

from nmt.export.exports import EXPORTS, ExportRequest, export
from nmt.export.quantization import Quantization

__all__ = ["EXPORTS", "ExportRequest", "Quantization", "export"]
