"""Who may import whom: read from the source, so that a forbidden import fails even where no test runs it."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "nmt"
FILES = sorted(ROOT.rglob("*.py"))

# The longest prefix decides.
FLOORS = {
    "nmt": 5,  # nmt.load
    "nmt.errors": 0,
    "nmt.batch": 0,
    "nmt.device": 0,
    "nmt.data": 1,
    "nmt.models": 1,
    "nmt.search": 2,
    "nmt.eval": 3,
    "nmt.train": 3,
    "nmt.config": 4,
    "nmt.help": 5,
    "nmt.cli": 5,
    "nmt.runs": 5,
    "nmt.translate": 5,
    "nmt.data.__main__": 5,
    "nmt.eval.__main__": 5,
    "nmt.eval.align": 5,
    "nmt.eval.run": 5,
    "nmt.train.__main__": 5,
    "nmt.train.rehearsal": 5,
    "nmt.train.run": 5,
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


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


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down_or_sideways(path):
    """A module imports nothing from a floor above its own."""
    here = module_of(path)
    above = {m for m in imports(path) if m.split(".")[0] == "nmt" and floor(m) > floor(here)}
    assert not above, f"{here} (floor {floor(here)}) imports {above}"


def test_models_never_import_data():
    """A model knows batches of ids and nothing of text."""
    for path in (ROOT / "models").rglob("*.py"):
        assert not any(m.startswith("nmt.data") for m in imports(path)), path


def test_hydra_stays_in_two_files():
    """Only config.py and cli.py know Hydra and OmegaConf."""
    users = {module_of(p) for p in FILES if any(m.split(".")[0] in ("hydra", "omegaconf") for m in imports(p))}
    assert users <= {"nmt.config", "nmt.cli"}


def test_no_cycles():
    """Modules can be put in an order in which each imports only earlier ones."""
    waiting = {module_of(p): imports(p, everywhere=False) & MODULES - {module_of(p)} for p in FILES}
    while waiting:
        ready = [m for m, needed in waiting.items() if not needed & waiting.keys()]
        assert ready, f"a cycle among {sorted(waiting)}"
        for m in ready:
            del waiting[m]
