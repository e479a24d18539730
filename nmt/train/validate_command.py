"""trainer.validate_command: a program of the user's own that judges translations, files in and a number out.

It may live in an environment of its own, as COMET has to.
"""

import contextlib
import math
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nmt.atomic import whole_file
from nmt.errors import ConfigError, refusal, shortened, shown
from nmt.eval.metrics import one_line

KEY = "trainer.validate_command"
# What torchrun tells its processes: a program that uses torch, too, would take it for its own.
OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
OF_TORCHRUN += ("GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE")


class Files(NamedTuple):
    """Where the texts lie, a line a sentence; the names are those of the placeholders."""

    source: Path
    hypotheses: Path
    reference: Path


def command_words(command: str) -> list[str]:
    """The words of a command, as a shell would cut it; raises ConfigError where it has none or a quote is open."""
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"{KEY}={command}: {str(error).lower()}") from None
    if not found:
        raise ConfigError(f"{KEY} is empty: type a command, or leave it out")
    return found


@dataclass(frozen=True)
class ValidateCommand:
    """Calls the command on translations.

    {source}, {hypotheses} and {reference} in it become the names of three files; where it has none of these, they are
    appended in this order.  No shell is between: whoever wants one types ``sh -c '...'``.  The last word of the last
    line that it prints is the number.
    """

    command: str
    minutes: float | None  # until it is stopped; None: never
    folder: Path  # where the files go: the layout of mt-metrics-eval
    languages: tuple[str, str]
    system: str  # what mt-metrics-eval calls what made the translations

    def __call__(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> float:
        """The number; raises ConfigError, naming the key, where there is none for whatever reason."""
        files = self.write(sources, hypotheses, references)
        words = command_words(self.command)
        if not any(f"{{{name}}}" in word for word in words for name in Files._fields):
            words += [f"{{{name}}}" for name in Files._fields]
        for name, path in files._asdict().items():
            words = [word.replace(f"{{{name}}}", str(path)) for word in words]
        return number_of(self.output(words))

    def write(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> Files:
        """Write the texts as plain lines, under the names that mt-metrics-eval looks for."""
        pair = "-".join(self.languages)
        outputs = self.folder / "system-outputs" / pair
        for folder in (self.folder / "sources", self.folder / "references", self.folder / "documents", outputs):
            folder.mkdir(parents=True, exist_ok=True)
        files = Files(
            source=self.folder / "sources" / f"{pair}.txt",
            hypotheses=outputs / f"{self.system}.txt",
            reference=self.folder / "references" / f"{pair}.refA.txt",
        )
        documents = self.folder / "documents" / f"{pair}.docs", ["validation\tvalidation"] * len(sources)
        for path, lines in (*zip(files, (sources, hypotheses, references), strict=True), documents):
            with whole_file(path) as file:
                file.writelines(f"{one_line(line)}\n" for line in lines)
        return Files(*(path.resolve() for path in files))

    def output(self, words: list[str]) -> str:
        """What the command prints; it ends with this process, and with every signal that ends the training."""
        environment = {k: v for k, v in os.environ.items() if k not in OF_TORCHRUN}
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
        except (OSError, ValueError) as error:
            reason = refusal(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{KEY}: {shortened(words[0])}: {reason}") from None
        try:
            out, err = process.communicate(timeout=None if self.minutes is None else 60 * self.minutes)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                limit = f"{KEY}_minutes={self.minutes:g}"
                raise ConfigError(f"{KEY} was stopped after {limit}; type a larger one, or null") from None
            raise
        if process.returncode:
            last = last_line(err) or last_line(out) or "nothing was printed"
            raise ConfigError(f"{KEY} ended with exit code {process.returncode}: {shortened(last, 300)}")
        return out.decode(errors="replace")


def last_line(printed: bytes) -> str:
    """The last line that is not blank, or ""."""
    return next((line.strip() for line in reversed(printed.decode(errors="replace").splitlines()) if line.strip()), "")


def number_of(printed: str) -> float:
    """The last word of the last line as a number; raises ConfigError where it is none, or not finite."""
    last = last_line(printed.encode())
    try:
        word = last.rpartition(" ")[2].rpartition("\t")[2]
        value = math.nan if "_" in word else float(word)  # Python reads 1_000, which is no number of a score
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        said = f"printed {shown(last)}" if last else "printed nothing"
        raise ConfigError(f"{KEY} has to end with a line whose last word is a number, and {said}")
    return value
