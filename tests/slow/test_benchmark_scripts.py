"""The measurements of benchmarks/ run, at tiny sizes."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FILES = {
    "attention.py": {"attention.json", "attention.md", "attention.png", "attention.svg"},
    "lengths.py": {"lengths.md"},
    "self_attention.py": {f"self_attention.{kind}" for kind in ("json", "md", "png", "svg")},
}


@pytest.mark.parametrize("script", FILES)
def test_a_quick_run_writes_its_report(tmp_path, script):
    words = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", f"--out={tmp_path / 'made'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "| global | 5 |" in out
    assert {p.name for p in (tmp_path / "made").iterdir()} == FILES[script]


def test_a_monotonic_walk_is_timed(tmp_path):
    words = [sys.executable, str(ROOT / "benchmarks" / "monotonic.py"), "--quick"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "| chunk=4, 20 |" in out


def test_centres_are_watched_while_a_model_learns(tmp_path):
    """Before the first update, local_p's centres lie in the middle, those of the diagonal nearer to the gold links."""
    words = [sys.executable, str(ROOT / "benchmarks" / "centres.py"), "--updates=2", "--every=1", "--aside=2"]
    words += ["--variants=half_width=3,half_width=3+centre=diagonal", "model.hidden_size=8", "data.train_size=200"]
    words += [f"data.cache={tmp_path}", "data.tokenizer.vocab_size=400", "device=cpu", "threads=1", "--plot=a.svg"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|") for line in out.splitlines() if line.startswith("| half_width")]
    assert len(rows) == 2 * 4
    assert float(rows[1][2]) < float(rows[0][2])
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_peak_is_what_is_held_at_once(monkeypatch):
    """Two of three arrays of 4 MB, whatever was there before."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    peak, before = importlib.import_module("common").peak, [torch.zeros(1_000_000)]

    def run():
        before.clear()
        first = torch.zeros(1_000_000)
        second = first + 1
        del first
        return second + 1

    assert 8 <= peak(run) < 8.1


METER = """
class Meter:
    info, seen = {}, 0
    def batch(self, tgt, tgt_cells, src, src_cells, sents): self.seen += tgt
    def step(self): pass
    def done(self): return self.seen > 0
    def write(self): print("seen", self.seen, self.info)
class Timer:
    def __enter__(self): return self
    def __exit__(self, *error): pass
def write_decode(timer): print("decoded")
"""


def test_the_adapter_for_other_frameworks_trains_and_decodes(tmp_path):
    """By the command line that their driver calls, with a meter that has seen enough after one update."""
    (tmp_path / "meter.py").write_text(METER)
    for name in ("train", "val", "test"):
        for language in ("en", "de"):
            lines = [f"{name} {language} {i}\n" for i in range(128)]
            (tmp_path / f"{name}.sp.{language}").write_text("".join(lines))

    def adapter(action, *words):
        command = [sys.executable, ROOT / "benchmarks" / "peers.py", "--meter", tmp_path, action, "--config", "A"]
        command += ["--data", tmp_path, "--model", tmp_path / "work" / "nmt.A", *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout

    assert "seen 256 " in adapter("train")  # 64 sentences of three words and end-of-sentence
    out = tmp_path / "out"
    assert "decoded" in adapter("decode", "--src", tmp_path / "test.sp.en", "--out", out, "--maxlen", "3")
    lines = out.read_text().splitlines()
    assert len(lines) == 128
    assert all(len(line.split()) <= 3 for line in lines)
