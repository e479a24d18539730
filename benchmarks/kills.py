"""Trainings that are killed by SIGKILL again and again, compared with undisturbed ones: nothing may differ.

    python benchmarks/kills.py            20 kills in each of three trainings (some 10 minutes on two quiet cores)
    python benchmarks/kills.py --quick    3 kills in shorter ones

A process is killed at a moment drawn at random: at any time since its start, or within milliseconds after it has opened
a checkpoint to write, or in a validation; what it was doing is read from what it left behind. Then the same command
goes on with resume=true. The processes that are killed are forked from one that has imported everything, which saves
the time; the undisturbed training, and the last part of the killed one, are started as users do, by python -m nmt.train
and torchrun. At the end all checkpoints but previous.pt, every figure in log.jsonl that does not tell of time, speed or
memory, TensorBoard's curves and the scores have to be those of the undisturbed training, to the last bit.
The table goes to benchmarks/results/kills.md; the exit status is 1 if anything differs.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _kills_compare import differences, records
from common import RESULTS, markdown, settings

from nmt.cli import train
from nmt.models.seq2seq import Seq2Seq
from nmt.runs import checkpoint
from nmt.runs.training import Validator
from nmt.train.log import Validation

ROOT = Path(__file__).parents[1]
PATIENCE = 600  # seconds that a process may take to end
AFTER_ANOTHER = 20  # and those that are left after a process was killed, which torchrun would end at once
COMMON = (
    *("data.train_size=500", "data.validation_size=10", "data.test_size=5", "data.max_words=8", "decode=greedy"),
    *("data.tokenizer.vocab_size=400", "data.batching.tokens=200", "threads=1", "device=cpu", "logger.every=1"),
    *("logger.heatmaps=0", "logger.samples=1", "trainer.keep_last=2", "trainer.keep_best=2", "model.dropout=0.2"),
)  # fmt: skip
LSTM = ("model.hidden_size=32", "model.attention=local_p", "model.input_feeding=true", "trainer.precision=bf16")
TRANSFORMER = (
    *("model=transformer", "model.hidden_size=32", "model.ffn_size=64", "model.heads=4", "model.num_layers=2"),
    *("trainer.ema=0.99", "trainer.r_drop=5", "data.tokenizer.kind=bpe", "data.tokenizer.sampling=0.1"),
    *("optim=adamw", "optim.warmup=50", "trainer.precision=fp32", "model.activation_dropout=0.1"),
)  # fmt: skip
TWO_RANKS = ("model.hidden_size=32", "model.attention=global", "trainer.accumulate=2", "trainer.precision=fp32")


@dataclass(frozen=True)
class Case:
    """A training to be killed: what the table calls it, how it is typed, and by how many processes it is made."""

    name: str
    words: tuple[str, ...]
    processes: int = 1


CASES = {
    "lstm": Case("LSTM, local_p, input feeding, bf16", LSTM),
    "transformer": Case("Transformer, EMA, BPE sampling, R-Drop", TRANSFORMER),
    "ranks": Case("two processes, accumulation, global attention", TWO_RANKS, processes=2),
}


@dataclass(frozen=True)
class Moment:
    """When to kill: ``delay`` seconds after the start, or after a checkpoint or validation, ``number`` of its kind."""

    kind: str  # any, checkpoint or validation
    number: int
    delay: float
    victims: tuple[int, ...]  # ranks; the first kills itself, but for kind "any"


@dataclass
class Killed:
    """What killing one training came to."""

    at: Counter[str] = field(default_factory=Counter)  # what the processes were doing
    lost: list[int] = field(default_factory=list)  # updates that had to be made again after each kill
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """A run of a case in its folder, undisturbed or killed."""

    case: Case
    folder: Path
    name: str
    limits: tuple[str, ...]

    @property
    def run(self) -> Path:
        return self.folder / "runs" / self.name

    @property
    def words(self) -> tuple[str, ...]:
        return (*COMMON, *self.case.words, *self.limits, f"name={self.name}", "resume=true")

    @property
    def validate_every(self) -> int:
        return next(int(w.partition("=")[2]) for w in self.limits if w.startswith("trainer.validate_every"))

    def finish(self) -> None:
        """Train to the end, as users start it; leaves with what was said if it fails."""
        elastic = ("--standalone", f"--nproc-per-node={self.case.processes}", "--max-restarts=0")
        torchrun = ("-m", "torch.distributed.run", *elastic) if self.case.processes > 1 else ()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *torchrun, "-m", "nmt.train", *self.words]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout[-1000:] + done.stderr[-3000:])

    def killed_at(self, moment: Moment) -> bool:
        """Train until ``moment``; whether it came before the end.  Nothing of it runs any more afterwards."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pids = [self.fork(rank, port, moment) for rank in range(self.case.processes)]
        if moment.kind == "any":
            time.sleep(moment.delay)
            for rank in moment.victims:
                os.kill(pids[rank], signal.SIGKILL)
        statuses = {moment.victims[0]: ended(pids[moment.victims[0]])}
        for rank in moment.victims[1:]:
            os.kill(pids[rank], signal.SIGKILL)
        for rank, pid in enumerate(pids):
            if rank not in statuses:
                ended(pid, AFTER_ANOTHER)  # one that waits for the dead one to connect would wait for minutes
        return statuses[moment.victims[0]] == -signal.SIGKILL

    def fork(self, rank: int, port: int, moment: Moment) -> int:
        """A process of the training, with what torchrun would tell it."""
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.chdir(self.folder)
            said = os.open(f"{self.name}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(said, stream)
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(self.case.processes)}
            if rank == moment.victims[0]:
                arm(moment)
            sys.argv = ["nmt.train", *self.words]
            train.main()
            status = 0
        except SystemExit as error:
            print(error, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def drafts(self) -> set[str]:
        """Drafts of checkpoints that killed processes left."""
        folder = self.run / "checkpoints"
        return {p.name for p in folder.glob(".*.tmp")} if folder.is_dir() else set()

    def saved(self) -> int:
        """The step of last.pt; 0 without one."""
        path = self.run / checkpoint.LAST
        return checkpoint.saved_step(path) if path.exists() else 0

    def starts(self) -> int:
        """How often a training has built its model there."""
        return sum(event["event"] == "built" for event in records(self.run))


def ended(pid: int, patience: float = PATIENCE) -> int:
    """The exit status of a child, or minus the signal that killed it: one that does not end in time is killed."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    if patience == PATIENCE:
        sys.exit(f"a process did not end within {PATIENCE} s")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def arm(moment: Moment) -> None:
    """Let this process kill itself ``moment.delay`` seconds after it has opened a checkpoint or begun a validation."""
    seen = 0

    def saw() -> None:
        nonlocal seen
        seen += 1
        if seen == moment.number:
            threading.Timer(moment.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    if moment.kind == "checkpoint":

        def audit(event: str, args: tuple[Any, ...]) -> None:
            if event == "open" and "/checkpoints/." in str(args[0]) and str(args[1]).startswith("w"):
                saw()

        sys.addaudithook(audit)
    if moment.kind == "validation":
        plain = Validator.__call__

        def called(self: Validator, model: Seq2Seq, step: int) -> Validation:
            saw()
            return plain(self, model, step)

        Validator.__call__ = called


def moments(case: Case, kills: int, seconds: float, draw: random.Random) -> list[Moment]:
    """A third of each kind, mixed; ``seconds`` is how long a process lives at most that is killed at any time."""
    found = []
    for number in range(kills):
        kind = ("any", "checkpoint", "validation")[number % 3]
        delay = draw.uniform(0, {"any": seconds, "checkpoint": 0.004, "validation": 0.1}[kind])
        both = tuple(range(case.processes))
        victims = both if kind != "any" or draw.random() < 0.5 else (draw.choice(both),)
        if kind != "any" and draw.random() < 0.5:
            victims = (0,)  # the first rank alone writes and validates
        found.append(Moment(kind, draw.randint(1, 5 if kind == "checkpoint" else 2), delay, victims))
    draw.shuffle(found)
    return found


def doing(training: Training, starts: int, drafts: set[str]) -> str:
    """What a killed process was doing, from what it left; ``starts`` and ``drafts`` are those from before it began."""
    events = records(training.run)
    for draft in training.drafts() - drafts:
        name = draft.split(".")[1]
        return f"writing {'step-N' if name.startswith('step') else name}.pt"
    last: dict[str, Any] = events[-1] if events else {"event": None}
    if training.starts() == starts or last["event"] not in ("train", "validation", "end", "scored"):
        return "starting"
    if any(e["event"] == "end" for e in events):
        return "scoring at the end"
    if last["event"] == "train" and last["step"] % training.validate_every == 0:
        return "validating"
    if last["event"] == "validation" and training.saved() < last["step"]:
        return "between a validation and its last.pt"
    return "training"


def kill_often(training: Training, kills: int, seconds: float, seed: int) -> Killed:
    """Kill a training so many times, and let it end."""
    draw, found = random.Random(f"{training.case.name} {seed}"), Killed()
    for moment in moments(training.case, kills, seconds, draw):
        starts, drafts = training.starts(), training.drafts()
        if not training.killed_at(moment):
            found.differences.append(f"ended before kill number {len(found.lost) + 1}")
            break
        was = doing(training, starts, drafts)
        found.at[was] += 1
        reached = max((e.get("step") or 0 for e in records(training.run)), default=0)
        found.lost.append(reached - training.saved())
        print(f"  {moment.kind:10} {was:40} step {reached}, last.pt {training.saved()}", flush=True)
    training.finish()
    return found


def measure(case: Case, folder: Path, options: argparse.Namespace) -> list[str]:
    """A row of the table, and what differs, printed."""
    limits = (f"trainer.max_steps={options.steps}", f"trainer.validate_every={options.every}")
    whole, killed = (Training(case, folder, name, limits) for name in ("whole", "killed"))
    began = time.monotonic()
    whole.finish()
    times = [event["time"] for event in records(whole.run) if event["event"] in ("built", "validation")]
    print(f"{case.name}: {time.monotonic() - began:.0f} s undisturbed", flush=True)
    began = time.monotonic()
    found = kill_often(killed, options.kills, 2 + times[3] - times[0], options.seed)
    found.differences += differences(whole.run, killed.run)
    print("\n".join(found.differences) or "  nothing differs", flush=True)
    at = ", ".join(f"{count} {what}" for what, count in found.at.most_common())
    again = f"{sum(found.lost)} ({max(found.lost, default=0)})"
    minutes = f"{(time.monotonic() - began) / 60:.1f}"
    equal = "; ".join(found.differences[:3]) or "nothing"
    return [case.name, str(len(found.lost)), at, again, minutes, equal]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="which trainings, of %(default)s")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300, help="updates of each training")
    parser.add_argument("--every", type=int, default=5, help="updates from one validation to the next")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="3 kills in trainings of 60 updates")
    options = parser.parse_args()
    options.clock = "wall"
    if options.quick:
        options.kills, options.steps = 3, 60
    rows = []
    for name in options.cases.split(","):
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            rows.append(measure(CASES[name], Path(folder), options))
    head = ["training", "kills", "what the killed process was doing", "updates made again (most)", "minutes", "differs"]
    facts = "".join(f"- {key}: {value}\n" for key, value in settings(options, "kills", "steps", "every").items())
    options.out.mkdir(parents=True, exist_ok=True)
    text = f"# Trainings that are killed\n\n{EXPLAINED}\n{facts}\n{markdown(head, rows)}\n"
    (options.out / "kills.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(any(row[-1] != "nothing" for row in rows))


EXPLAINED = """What is compared with an undisturbed training, bit by bit: all checkpoints but previous.pt
(weights, optimizer, average of the weights, schedule, position in the data, random number generators), every figure of
log.jsonl but those of time, speed and memory, TensorBoard's curves (steps and values), and the translations and scores
at the end. Of two processes either all are killed or one of them. "Updates made again" were logged and lay beyond the
checkpoint: the sum over all kills, and the most after one.
"""


if __name__ == "__main__":
    main()
