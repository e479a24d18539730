"""Load test of nmt.serve: many clients at the same time, with batching and without.

    python benchmarks/serve.py runs/NAME --clients 50 --requests 10 --rounds 3

Each client has a connection of its own and asks for one sentence after another, the next as soon as it has the answer.
Every answer is compared with what nmt.load translates in fp32.  A further client asks for /health all the time.  The
server is the command, in a process of its own; each setting gets a new one, and some requests to warm up.  The report
goes to benchmarks/results/serve.md (--out).
"""

import argparse
import http.client
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from common import RESULTS, commit, markdown, processor

import nmt
from nmt.data.prepare import load_tests
from nmt.device import Precision
from nmt.runs.directory import Run

SETTINGS = {
    "batches of up to 64": ["serve.max_batch=64"],
    "one text at a time": ["serve.max_batch=1"],
}
COLUMNS = (
    "setting",
    "requests",
    "lost",
    "wrong",
    "requests/s",
    "median ms",
    "95th percentile",
    "99th",
    "longest",
    "/health, median ms",
    "longest",
)


@dataclass
class Samples:
    """What was seen of one setting; appending is safe from many threads."""

    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # why there was no answer
    wrong: list[str] = field(default_factory=list)  # sentences with another translation
    health: list[float] = field(default_factory=list)
    wall: float = 0.0


def main() -> None:
    args = arguments()
    run = Run.open(args.run)
    text = load_tests(run.config.data, None if args.test is None else [args.test])[0]
    sources = text.source[: args.sentences]
    torch.set_num_threads(args.threads)
    model = nmt.load(args.run, device="cpu")
    model.decode.precision, model.decode.beam_size, model.decode.n_best = Precision.fp32, args.beam, 1
    wanted = dict(zip(sources, model.translate(sources), strict=True))
    samples = {name: Samples() for name in SETTINGS}
    for _ in range(args.rounds):
        for name, words in SETTINGS.items():
            measure(args, words, sources, wanted, samples[name])
            print(markdown(COLUMNS, [row(name, samples[name])]), flush=True)
    for name, found in samples.items():
        for why in sorted(set(found.lost)):
            print(f"{name}: lost {found.lost.count(why)}: {why}")
        for source in found.wrong[:5]:
            print(f"{name}: wrong: {source}")
    rows = [row(name, found) for name, found in samples.items()]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "serve.md").write_text(report(args, text.name, len(sources), rows), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--test", help="name of a test set of the run's data (default: the first)")
    parser.add_argument("--sentences", type=int, default=500, help="so many different ones")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10, help="of each client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(
    args: argparse.Namespace, words: list[str], sources: list[str], wanted: dict[str, str], found: Samples
) -> None:
    """A round: all requests of all clients to a new server."""
    search = ["decode.method=beam", f"decode.beam_size={args.beam}", "decode.n_best=1", "decode.precision=fp32"]
    command = [sys.executable, "-m", "nmt.serve", f"run={args.run}", "device=cpu", f"threads={args.threads}", *search]
    command += ["serve.port=0", "serve.per_minute=null", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done, sentences = threading.Event(), itertools.cycle(sources)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        address = re.search(r"127\.0\.0\.1:\d+", said)
        if address is None:
            sys.exit(f"the server did not start: {said}{server.stderr.read()}")
        client(address[0], sources[:20], wanted, Samples())  # the first calls choose kernels and allocate
        work = [[next(sentences) for _ in range(args.requests)] for _ in range(args.clients)]
        threads = [threading.Thread(target=client, args=(address[0], mine, wanted, found)) for mine in work]
        watching = threading.Thread(target=watch, args=(address[0], found, done))
        start = time.perf_counter()
        for thread in [watching, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        found.wall += time.perf_counter() - start
        done.set()
        watching.join()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    if server.returncode:
        found.lost.append(f"the server ended with status {server.returncode}")


def client(address: str, texts: list[str], wanted: dict[str, str], found: Samples) -> None:
    """Ask for one text after another, on one connection."""
    connection = http.client.HTTPConnection(address, timeout=300)
    for text in texts:
        start = time.perf_counter()
        try:
            body = json.dumps({"text": text})
            connection.request("POST", "/translate", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            tree = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            found.lost.append(type(error).__name__)
            connection.close()
            continue
        found.seconds.append(time.perf_counter() - start)
        if response.status != 200:
            found.lost.append(f"{response.status}: {tree.get('error')}")
        elif tree["translation"] != wanted[text]:
            found.wrong.append(text)
    connection.close()


def watch(address: str, found: Samples, done: threading.Event) -> None:
    """Ask for /health twenty times a second."""
    while not done.wait(0.05):
        start = time.perf_counter()
        connection = http.client.HTTPConnection(address, timeout=300)
        connection.request("GET", "/health")
        if connection.getresponse().status != 200:
            found.lost.append("/health")
        connection.close()
        found.health.append(time.perf_counter() - start)


def row(name: str, found: Samples) -> list[str]:
    """The cells of one setting."""
    times = sorted(1000 * seconds for seconds in found.seconds) or [0.0]
    health = [1000 * seconds for seconds in found.health] or [0.0]
    at = [times[min(len(times) - 1, round(share * (len(times) - 1)))] for share in (0.5, 0.95, 0.99, 1.0)]
    counts = [f"{len(found.seconds):,}", str(len(found.lost)), str(len(found.wrong))]
    waits = [statistics.median(health), max(health)]
    return [name, *counts, f"{len(times) / found.wall:.1f}", *(f"{t:,.0f}" for t in at), *(f"{t:,.0f}" for t in waits)]


def report(args: argparse.Namespace, name: str, count: int, rows: list[list[str]]) -> str:
    """benchmarks/results/serve.md."""
    typed = [
        f"runs/{Path(args.run).resolve().name}",
        f"--clients {args.clients}",
        f"--requests {args.requests}",
        f"--rounds {args.rounds}",
    ]
    typed += [f"--beam {args.beam}", f"--threads {args.threads}", f"--sentences {args.sentences}"]
    machine = f"{time.strftime('%Y-%m-%d')}, {processor()}, torch {torch.__version__}, commit {commit()}."
    load = (
        f"{args.clients} clients, each with a connection of its own, ask for one sentence after another, "
        f"{args.requests} each, out of {count} of the set {name}; beam of {args.beam}, fp32, {args.threads} thread(s) "
        f"for the model. The settings take turns in {args.rounds} rounds, whose samples are put together. Server and "
        "clients are on one computer.\n\nLost: no answer, or one that is no translation. Wrong: another translation "
        "than that of `nmt.load`. One more client asks for /health twenty times a second."
    )
    lines = [
        "# Load test of nmt.serve",
        "",
        f"    python benchmarks/serve.py {' '.join(typed)}",
        "",
        f"{machine} {load}",
        "",
    ]
    return "\n".join([*lines, markdown(COLUMNS, rows), ""])


if __name__ == "__main__":
    main()
