"""origin.json says which source a run was made with."""

import subprocess

from nmt.runs.origin import source_state


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_and_uncommitted_changes_are_recorded(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1\n")
    assert source_state(package) == {}
    git(tmp_path, "init", "-q")
    (tmp_path / "other").touch()
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-qm", "without the package")
    assert source_state(package) == {}, "an installed package in somebody else's repository"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source_state(package) == {"commit": commit, "uncommitted": False}
    (package / "a.py").write_text("2\n")
    assert source_state(package) == {"commit": commit, "uncommitted": True}
