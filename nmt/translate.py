"""python -m nmt.translate run=DIR < in.txt > out.txt: one line out for each line in, blank lines included."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tqdm import tqdm

from nmt import cli
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError
from nmt.help import Command
from nmt.runs import OnRun, Run, Translator

CHUNK = 16  # search batches read before their translations are written; sorted by length, they hold less padding


@dataclass
class TranslateConfig(OnRun):
    """How to translate standard input."""


COMMAND = Command(
    module="nmt.translate",
    root="translate",
    schema=TranslateConfig,
    summary="Translate standard input, line by line, to standard output.",
    examples=(
        "run=runs/local_p < in.txt > out.txt",
        "run=runs/local_p decode=greedy checkpoint=last < in.txt",
        "run=runs/local_p decode.beam_size=12 decode.length_penalty=gnmt < in.txt",
    ),
    groups=("decode",),
    of_runs=True,
)


def translate(configs: list[TranslateConfig]) -> None:
    """Translate standard input with one run."""
    if len(configs) != 1:
        raise ConfigError(f"nmt.translate takes one run, got {len(configs)}")
    config = configs[0]
    set_up(config.threads, deterministic=False)
    translator = Translator(Run.open(config.run), config.decode, resolve_device(config.device), config.checkpoint)
    chunk = 1 if sys.stdin.isatty() else CHUNK * config.decode.batch_size
    copy(sys.stdin.buffer, sys.stdout.buffer, translator, chunk)


def copy(source: BinaryIO, target: BinaryIO, translator: Translator, chunk: int) -> None:
    """Lines of ``source`` to as many lines of ``target``, in chunks: what is translated is written at once.

    A line ends at U+000A and nowhere else.
    """
    lines = decoded(source)
    with tqdm(unit=" lines", disable=not sys.stderr.isatty() or sys.stdin.isatty()) as bar:
        while texts := list(itertools.islice(lines, chunk)):
            for text in translator.translate(texts):
                target.write(f"{text}\n".encode())
            target.flush()
            bar.update(len(texts))


def decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """UTF-8 lines as text without line ends; bytes that are not UTF-8 become U+FFFD, with a warning."""
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            byte = f"byte {error.start + 1} is 0x{line[error.start]:02x}"
            print(f"warning: line {number} is not UTF-8 ({byte}); read with replacement characters", file=sys.stderr)
            text = line.decode(errors="replace")
        yield text.removeprefix("\ufeff") if number == 1 else text


def main() -> None:
    """The command nmt-translate."""
    cli.run(COMMAND, translate)


if __name__ == "__main__":
    main()
