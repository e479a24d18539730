"""Who may import whom: read from the source, so that a forbidden import fails even where no test runs it."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "nmt"
FILES = sorted(ROOT.rglob("*.py"))

# From the bottom to the top; what stands in one row knows nothing of its neighbours.
LAYERS = (
    ("nmt.errors",),
    ("nmt.atomic", "nmt.batch", "nmt.checksum", "nmt.device", "nmt.languages", "nmt.libraries", "nmt.settings"),
    ("nmt.models",),
    ("nmt.data", "nmt.testing"),
    ("nmt.search",),
    ("nmt.eval",),
    ("nmt.train",),
    ("nmt.config",),
    ("nmt.config_checks", "nmt.plugin_tables"),
    ("nmt.plugins",),
    ("nmt.runs",),
    ("nmt.export",),
    ("nmt.report", "nmt.translate"),
    ("nmt.augment", "nmt.serve"),
    ("nmt.cli",),
    ("nmt",),  # nmt.load
)
ROWS = {folder: row for row, folders in enumerate(LAYERS) for folder in folders}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str) -> str:
    """The package directly below nmt, or the file there: nmt.models for nmt.models.attention.base."""
    return ".".join(module.split(".")[:2])


@cache
def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules a file imports; those inside functions and TYPE_CHECKING too if ``everywhere``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {n if n in MODULES else node.module for n in names}
    return found


MODULES = {module_of(path) for path in FILES}


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__main__.py"], ids=module_of)
def test_imports_go_down(path):
    """A module imports from its own folder and from those below it; a ``__main__`` alone points up, at its command."""
    here = folder_of(module_of(path))
    others = {m for m in imports(path) if m.split(".")[0] == "nmt" and folder_of(m) != here}
    above = {m for m in others if ROWS[folder_of(m)] >= ROWS[here]}
    assert not above, f"{module_of(path)} imports {above}"


def test_models_import_neither_data_nor_what_is_above():
    """A model knows batches of ids and nothing of text."""
    for path in (ROOT / "models").rglob("*.py"):
        assert not any(m.startswith("nmt.data") for m in imports(path)), path


def test_hydra_stays_in_cli_and_config():
    """Only cli/ and config.py know Hydra and OmegaConf."""
    users = {folder_of(module_of(p)) for p in FILES if {"hydra", "omegaconf"} & {m.split(".")[0] for m in imports(p)}}
    assert users <= {"nmt.config", "nmt.cli"}


def test_no_cycles():
    """Modules can be put in an order in which each imports only earlier ones."""
    waiting = {module_of(p): imports(p, everywhere=False) & MODULES - {module_of(p)} for p in FILES}
    while waiting:
        ready = [m for m, needed in waiting.items() if not needed & waiting.keys()]
        assert ready, f"a cycle among {sorted(waiting)}"
        for m in ready:
            del waiting[m]
