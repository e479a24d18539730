"""No release with a hole that concerns this program is admitted by pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

# The last release with the hole, and what it was.
HOLES = {
    "torch": ("2.9.1", "CVE-2026-24747: torch.load(weights_only=True) can be made to execute code"),
    "sentencepiece": ("0.2.0", "CVE-2026-1260: a crafted model file writes beyond its memory"),
    "pyarrow": ("23.0.0", "CVE-2026-25087: a crafted Arrow file is read after its memory was freed"),
    "hydra-core": ("1.3.3", "instantiate() has no list of targets that it refuses"),
    "tensorboard": ("2.20.0", "imports pkg_resources, which setuptools 82 no longer has"),
}


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {found.name: found for found in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", HOLES)
def test_the_release_with_the_hole_is_refused(name):
    release, _ = HOLES[name]
    assert not requirements()[name].specifier.contains(release)


def test_what_is_tested_is_admitted():
    """Every version of constraints.txt that pyproject.toml names lies in its range."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(name): version for name, version in (x.split("==") for x in lines if "==" in x)}
    for name, requirement in requirements().items():
        assert requirement.specifier.contains(pinned[canonicalize_name(name)]), requirement
