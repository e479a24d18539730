"""Where tests look for real corpora: data/, or the folder that the environment variable NMT_TEST_DATA names.

Its layout is that of data.root (data/README.md).  Tests that need a corpus which is not there are skipped.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("NMT_TEST_DATA") or Path(__file__).parents[2] / "data")


def real_file(name: str) -> Path:
    """A file below the root; the test is skipped where there is none."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"needs {name} in data/ or in NMT_TEST_DATA")
    return path
