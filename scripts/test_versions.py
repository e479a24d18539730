"""The fast tests with the oldest or the newest releases of every dependency that pyproject.toml admits.

    python scripts/test_versions.py oldest
    python scripts/test_versions.py newest [--python python3.13] [--pre] [--only tests/cli]

A virtual environment is made in a temporary folder and removed at the end: of several GB, because the oldest and the
newest torch of PyPI are CUDA builds.  ``oldest`` takes the floors of pyproject.toml, those of its extras included, and
of what they need the newest; it needs uv, which it installs beside them.  ``newest`` takes the newest releases, with
--pre the release candidates, too.  What was installed and how the tests ended is printed as Markdown, for
benchmarks/results/versions.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = "dev,sweep,export,paragraphs,serve"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("which", choices=("oldest", "newest"))
    parser.add_argument("--python", default=sys.executable, help="which Python; default: this one")
    parser.add_argument("--pre", action="store_true", help="release candidates, too")
    parser.add_argument("--extras", default=EXTRAS, help=f"of pyproject.toml; default: {EXTRAS}")
    parser.add_argument("--only", default="tests", help="which tests; default: all fast ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nmt-versions-") as name:
        subprocess.run([options.python, "-m", "venv", name], check=True)
        python = Path(name) / "bin" / "python"
        install(python, options.which, options.pre, options.extras)
        versions, ending = installed(python), run_tests(python, options.only)
    print(report(options, versions, ending))
    sys.exit(0 if " failed" not in ending and " error" not in ending and "passed" in ending else 1)


def install(python: Path, which: str, pre: bool, extras: str) -> None:
    """Install this source tree with its dependencies."""
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    tree = ["-e", f"{ROOT}[{extras}]"]
    if which == "oldest":
        subprocess.run([*pip, "uv"], check=True)
        uv = [str(python), "-m", "uv", "pip", "install", "-q", "--python", str(python)]
        subprocess.run([*uv, "--resolution", "lowest-direct", *["--prerelease=allow"] * pre, *tree], check=True)
    else:
        subprocess.run([*pip, "--upgrade", *["--pre"] * pre, *tree], check=True)


def installed(python: Path) -> dict[str, str]:
    """The versions of what pyproject.toml names."""
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    versions = {canonicalize_name(p["name"]): p["version"] for p in json.loads(listed.stdout)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    names = dict.fromkeys(canonicalize_name(Requirement(r).name) for r in wanted)
    program = "import platform; print(platform.python_version())"
    found = subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    return {"python": found} | {name: versions[name] for name in names if name in versions}


def run_tests(python: Path, only: str) -> str:
    """The last line of pytest; its output goes to standard error."""
    command = [str(python), "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-p", "no:cacheprovider", only]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        last = ""
        for line in running.stdout:
            sys.stderr.write(line)
            last = line.strip() or last
    return last


def report(options: argparse.Namespace, versions: dict[str, str], ending: str) -> str:
    """A section of benchmarks/results/versions.md."""
    words = " ".join(word for word in sys.argv[1:])
    return "\n".join(
        [
            f"## {options.which}{' with release candidates' * options.pre}, Python {versions['python']}",
            "",
            f"`python scripts/test_versions.py {words}`, {date.today().isoformat()}, {platform.machine()}: {ending}.",
            "",
            ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python"),
            "",
        ]
    )


if __name__ == "__main__":
    main()
