"""How fast a trained run translates, and where the time goes.

    python benchmarks/search.py runs/NAME --test test_2016_flickr --batches 1,32,128 --beams 1,5,12

Prints one Markdown row for each batch size, beam and precision: sentences and target tokens (end-of-sentence
included) a second without loading, decoder steps a second, the share of the time in matrix products, and the peak
of the process's memory (on CUDA: of the device's).  Each row is a process of its own, so that peaks are its own.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from nmt.data.prepare import load_tests
from nmt.device import Precision, resolve_device, resolve_precision
from nmt.runs.directory import Run
from nmt.search import DecodeConfig, Hypothesis, translate_ids

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "lstm", "attention")
COLUMNS = ("batch", "beam", "precision", "sentences/s", "tokens/s", "sentences", "products", "peak MB")


def main() -> None:
    args = arguments()
    if args.row is not None:
        print(json.dumps(row(args, **json.loads(args.row))))
        return
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for batch, beam, precision in itertools.product(args.batches, args.beams, args.precisions):
        what = json.dumps({"batch": int(batch), "beam": int(beam), "precision": precision})
        done = subprocess.run([sys.executable, *sys.argv, "--row", what], check=True, capture_output=True, text=True)
        cells = json.loads(done.stdout.splitlines()[-1])
        print("| " + " | ".join(str(cells[c]) for c in COLUMNS) + " |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--test", help="name of a test set of the run's data (default: the first)")
    parser.add_argument("--sentences", type=int, default=1000, help="at most so many; a tenth of it with batch 1")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, default in (("batches", "1,32,128"), ("beams", "1,5,12"), ("precisions", "fp32,bf16")):
        parser.add_argument(f"--{name}", default=default.split(","), type=lambda text: text.split(","))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser.parse_args()


def row(args: argparse.Namespace, batch: int, beam: int, precision: str) -> dict[str, Any]:
    """Measure one setting."""
    torch.set_num_threads(args.threads)
    run, device = Run.open(args.run), resolve_device(args.device)
    model, _ = run.load_model("best", device)
    text = load_tests(run.config.data, None if args.test is None else [args.test])[0]
    count = args.sentences if batch > 1 else max(args.sentences // 10, 1)
    sources = run.tokenizers.source.encode(text.source[:count])
    config = DecodeConfig(beam_size=beam, batch_size=batch, max_length=100, max_ratio=None)
    resolved = resolve_precision(Precision[precision], device)

    def translate(some: list[list[int]]) -> list[list[Hypothesis]]:
        return translate_ids(model, some, config, device, resolved)

    translate(sources[: 2 * batch])  # first calls choose kernels and allocate
    start = time.perf_counter()
    found = translate(sources)
    seconds = time.perf_counter() - start
    with torch.profiler.profile() as profile:  # of one batch: several would run in threads that it does not see
        translate(sources[: batch if batch > 1 else 10])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {
        "batch": batch,
        "beam": beam,
        "precision": resolved.name,
        "sentences/s": round(len(sources) / seconds, 1),
        "tokens/s": round(sum(len(h[0].ids) + 1 for h in found) / seconds),
        "sentences": len(sources),
        "products": f"{share_of_products(profile, device):.0%}",
        "peak MB": round(peak),
    }


def share_of_products(profile: Any, device: torch.device) -> float:
    """Share of the operators' own time that is spent in matrix products."""
    field = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = {event.key: getattr(event, field) for event in profile.key_averages()}
    products = sum(t for name, t in times.items() if any(p in name for p in PRODUCTS))
    return products / max(sum(times.values()), 1e-9)


if __name__ == "__main__":
    main()
