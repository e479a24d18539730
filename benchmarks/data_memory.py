"""Memory and time of preparing and batching a corpus, small and large: memory must not grow with it.

    python benchmarks/data_memory.py 30000 3000000

For each number of pairs a process of its own writes synthetic text (sentences of Zipf-distributed words), prepares it
with data=files and the default tokenizer, and takes batches across the end of an epoch.  RssAnon, read every 5 ms, is
the memory that the process holds itself; mapped files, which the system may drop at any time, are not in it.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np


def rss_anon() -> float:
    """Anonymous memory of this process in MB (2^20 bytes)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


class Peak:
    """The most anonymous memory since ``reset``."""

    def __init__(self) -> None:
        self.value = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.value = max(self.value, rss_anon())
            time.sleep(0.005)

    def reset(self) -> float:
        """The peak so far; starts anew."""
        value, self.value = max(self.value, rss_anon()), 0.0
        return value


def write_corpus(folder: Path, pairs: int) -> None:
    """train.src and train.tgt: 3 to 12 words of 20,000, a thousand pairs at a time."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnoprstuvwz"), rng.integers(2, 10))) for _ in range(20000)])
    cumulative = np.cumsum(1 / np.arange(1, len(words) + 1))
    for name in ("train.src", "train.tgt"):
        with (folder / name).open("w", encoding="utf-8") as file:
            for start in range(0, pairs, 1000):
                ends = np.cumsum(rng.integers(3, 13, min(1000, pairs - start)))
                drawn = words[np.searchsorted(cumulative, rng.random(ends[-1]) * cumulative[-1])]
                file.writelines(" ".join(sentence) + "\n" for sentence in np.split(drawn, ends[:-1]))
    for name in ("valid.src", "valid.tgt"):
        (folder / name).write_text("a sentence\n" * 10, encoding="utf-8")


def measure(pairs: int) -> dict[str, Any]:
    """Peak memory in MB and seconds of each stage, in this process."""
    from nmt.data.batching import TrainBatches
    from nmt.data.files import FilesConfig
    from nmt.data.prepare import prepare
    from nmt.data.text import TextFiles

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder, pairs)
        files = [
            TextFiles(*(str(folder / f"{split}.{side}") for side in ("src", "tgt"))) for split in ("train", "valid")
        ]
        config = FilesConfig(train=files[0], validation=files[1], cache=str(folder / "cache"))
        peak, found = Peak(), {"pairs": pairs, "start_mb": round(rss_anon())}
        began = time.perf_counter()
        prepared = prepare(config, seed=1)
        found |= {"prepare_s": round(time.perf_counter() - began, 1), "prepare_peak_mb": round(peak.reset())}
        began = time.perf_counter()
        prepared = prepare(config, seed=1)
        found["prepare_again_s"] = round(time.perf_counter() - began, 2)
        found |= read_batches(TrainBatches(prepared.train, config.batching, seed=1))
        found |= {"batches_peak_mb": round(peak.reset()), "end_mb": round(rss_anon())}
        chosen = np.random.default_rng(0).integers(0, len(prepared.train), (200, 64))
        began = time.perf_counter()
        for some in chosen:
            prepared.train.read(some)
        found["read_64_pairs_ms"] = round((time.perf_counter() - began) / len(chosen) * 1000, 2)
    return found


def read_batches(batches: Any) -> dict[str, Any]:
    """Take batches across the end of an epoch."""
    began = time.perf_counter()
    number = batches.batches_per_epoch
    found = {"batches": number, "plan_s": round(time.perf_counter() - began, 2)}
    batches.longest()
    batches.load_state_dict(batches.state_dict() | {"batch": max(0, number - 100)})
    iterator = iter(batches)
    began = time.perf_counter()
    taken = sum(1 for _ in islice(iterator, 90))
    found["batch_ms"] = round((time.perf_counter() - began) / taken * 1000, 2)
    for _ in islice(iterator, 110):
        pass
    return found


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
        return
    results = []
    for pairs in sys.argv[1:] or ["30000", "3000000"]:
        command = [sys.executable, __file__, "--one", pairs]
        results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    for key in results[0]:
        print(f"{key:18}" + "".join(f"{result[key]:>14,}" for result in results))


if __name__ == "__main__":
    main()
