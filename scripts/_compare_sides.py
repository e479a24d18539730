"""Where scripts/compare_commits.py works: a worktree and a folder for each commit, and processes in them."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Side:
    """One of the two commits and where it works."""

    name: str  # old or new
    commit: str
    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def run(self, group: str, case: str) -> Path:
        """Where nmt.train -m +experiment=CASE,... sweep=GROUP puts a case."""
        return self.folder / "runs" / group / case

    def start(self, words: Sequence[object], log: str, **streams: Path) -> subprocess.Popen[bytes]:
        """Python with this commit's nmt; what it says goes to the file ``log``, or its output to ``out``."""
        environment = os.environ | {
            "PYTHONPATH": str(self.tree),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context((self.folder / log).open("wb"))
            out = stack.enter_context(streams["out"].open("wb")) if "out" in streams else errors
            source = stack.enter_context(streams["source"].open("rb")) if "source" in streams else subprocess.DEVNULL
            command = [sys.executable, *map(str, words)]
            return subprocess.Popen(command, cwd=self.tree, env=environment, stdin=source, stdout=out, stderr=errors)

    def said(self, log: str) -> str:
        return (self.folder / log).read_text(encoding="utf-8", errors="replace")


def git(*words: object) -> subprocess.CompletedProcess[str]:
    """A git command in this repository."""
    return subprocess.run(["git", "-C", str(ROOT), *map(str, words)], capture_output=True, text=True, check=False)


def resolve(name: str) -> str:
    """The commit's full name; leaves with a message where there is none."""
    found = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found.returncode:
        sys.exit(f"error: {name!r} is no commit of {ROOT}")
    return found.stdout.strip()


@contextlib.contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """The folder to work in: the one to keep, or a temporary one."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="compare-commits-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def worktrees(folder: Path, commits: Sequence[str], keep: bool) -> Iterator[list[Side]]:
    """A worktree for each side, taken over where it is there.  Each has a cache of its own, for encoding may differ."""
    sides = [Side(name, commit, folder / name) for name, commit in zip(("old", "new"), commits, strict=True)]
    try:
        for side in sides:
            for part in ("runs", "cache", "experiments"):
                shutil.rmtree(side.folder / part, ignore_errors=True)
            side.folder.mkdir(exist_ok=True)
            if side.tree.exists():
                made = subprocess.run(
                    ["git", "checkout", "--quiet", "--detach", side.commit],
                    cwd=side.tree, capture_output=True, text=True, check=False,
                )  # fmt: skip
            else:
                made = git("worktree", "add", "--detach", "--force", side.tree, side.commit)
            if made.returncode:
                sys.exit(f"error: no worktree of {side.commit[:9]} in {side.tree}: {last_line(made.stderr)}")
        yield sides
    finally:
        if not keep:
            for side in sides:
                git("worktree", "remove", "--force", side.tree)


def last_line(text: str) -> str:
    """The end of what a command said."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def wait(running: Sequence[subprocess.Popen[bytes]], progress: Callable[[], str]) -> None:
    """Until all have ended; says how far they are, on a terminal in one changing line.  Ends them if interrupted."""
    terminal, every, told = sys.stderr.isatty(), 1.0 if sys.stderr.isatty() else 20.0, time.monotonic()
    try:
        while any(process.poll() is None for process in running):
            time.sleep(0.2)
            if time.monotonic() - told >= every:
                told = time.monotonic()
                print(
                    f"\r{progress()}" if terminal else progress(),
                    end="" if terminal else "\n",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
