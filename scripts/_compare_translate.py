"""Run by scripts/compare_commits.py with a commit's own nmt: translates with many runs in one process.

    python scripts/_compare_translate.py texts SOURCES OUT RUN...     hypotheses and scores as JSON lines
    python scripts/_compare_translate.py speed SOURCES OUT RUN        pieces a second at batch 1 and 32

Of nmt it uses ``nmt.load(...).hypotheses`` and ``.decode`` alone, the same in every commit.
"""

import json
import sys
import time
from pathlib import Path

import torch

import nmt

BATCHES = (1, 32)


def texts(sources: list[str], out: Path, runs: list[str]) -> None:
    """A line for each run and sentence: text, score, log-probability and ended of each hypothesis."""
    with out.open("w", encoding="utf-8") as file:
        for run in runs:
            found = nmt.load(run, device="cpu", checkpoint="last").hypotheses(sources)
            for number, hypotheses in enumerate(found, 1):
                values = [[h.text, h.score, h.log_prob, h.finished] for h in hypotheses]
                line = {"run": Path(run).name, "sentence": number, "hypotheses": values}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()


def speed(sources: list[str], out: Path, runs: list[str]) -> None:
    """Target pieces a second by size of batch, after a warm-up."""
    (run,) = runs
    translator, rates = nmt.load(run, device="cpu", checkpoint="last"), {}
    translator.decode.n_best = 1
    for size in BATCHES:
        translator.decode.batch_size = size
        translator.hypotheses(sources[:size])
        began = time.perf_counter()
        found = translator.hypotheses(sources)
        rates[f"batch {size}"] = sum(len(row[0].tokens) for row in found if row) / (time.perf_counter() - began)
    out.write_text(json.dumps(rates), encoding="utf-8")


if __name__ == "__main__":
    job, source_file, out_file, *directories = sys.argv[1:]
    if not Path(nmt.__file__).is_relative_to(Path.cwd()):  # an installed one would be equal to itself
        sys.exit(f"nmt is {nmt.__file__}, not that of {Path.cwd()}")
    torch.set_num_threads(1)
    lines = Path(source_file).read_text(encoding="utf-8").splitlines()
    {"texts": texts, "speed": speed}[job](lines, Path(out_file), directories)
