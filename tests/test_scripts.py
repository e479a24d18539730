"""scripts/compare_runs.py as a user starts it; nmt.runs.table, whose tests are in tests/runs, makes the table."""

import os
import subprocess
import sys
from pathlib import Path

from written_runs import write_run

ROOT = Path(__file__).parents[1]
SCRIPT, ENV = ROOT / "scripts" / "compare_runs.py", {**os.environ, "PYTHONPATH": str(ROOT)}


def test_the_script_runs_by_itself(tmp_path):
    write_run(tmp_path / "a", {"name": "global"}, 1, 30.0)
    out = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True, env=ENV)
    assert "| all | 1 | 30.00 | 60.00 | 2.0 | 200 |" in out.stdout
