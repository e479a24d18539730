"""The files in scripts/ as modules, without running their command lines."""

import importlib.util
import sys
from types import ModuleType

from documented import ROOT


def load_script(name: str) -> ModuleType:
    """scripts/NAME.py as a new module, which sys.modules has by that name, which its dataclasses need."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
