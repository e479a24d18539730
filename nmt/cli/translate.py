"""python -m nmt.translate run=DIR < in.txt > out.txt: one line out for each line in, blank lines included."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from nmt.cli import app
from nmt.cli.help import Command
from nmt.cli.on_run import OnRun, as_list
from nmt.cli.streams import Lines, Sink, count_lines, decode, reading, typed, warn, writing
from nmt.device import resolve_device, set_up
from nmt.eval.alignment import AlignConfig, hard_alignment, soft_line
from nmt.runs.ensemble import open_run
from nmt.translate.translation import Translation
from nmt.translate.translator import Format, Links, TranslateOptions, Translator

WINDOW = 16  # search batches read before their translations are written; sorted by length, they hold less padding


@dataclass
class TranslateConfig(OnRun):
    """What to translate and how."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = field(default="???", metadata={"help": "run directory, or [A,B,...]: an ensemble, decoding as A does"})
    input: str | None = field(default=None, metadata={"help": "file to translate; null: standard input"})
    output: str | None = field(
        default=None, metadata={"help": "file to write, which is there whole or not at all; null: standard output"}
    )
    interactive: bool = field(
        default=False,
        metadata={"help": "(or --interactive) translate each line at once; a terminal always has it, with a prompt"},
    )
    translate: TranslateOptions = field(default_factory=TranslateOptions)
    align: AlignConfig = field(default_factory=AlignConfig)


COMMAND = Command(
    module="nmt.translate",
    root="translate",
    schema=TranslateConfig,
    summary="Translate standard input, or a file, line by line.",
    examples=(
        "run=runs/local_p < in.txt > out.txt",
        "run=runs/local_p decode=greedy checkpoint=avg:5 input=in.txt output=out.txt",
        "run=[runs/a,runs/b] decode.ensemble=log_probabilities < in.txt",
        "run=runs/local_p translate.alignments=hard translate.alignments_file=out.align < in.txt > out.txt",
        "run=runs/local_p decode.n_best=5 translate.format=jsonl translate.token_scores=true < in.txt > out.jsonl",
        "run=runs/local_p --interactive",
    ),
    groups=("decode",),
    of_runs=True,
)


def translate(configs: Sequence[TranslateConfig]) -> None:
    """Translate with the runs of all ``configs`` together, as the first says."""
    try:
        work(configs[0], [directory for config in configs for directory in as_list(config.run)])
    except KeyboardInterrupt:
        sys.exit(128 + 2)  # as by SIGINT, and without a word


def work(config: TranslateConfig, runs: Sequence[str]) -> None:
    """Open everything, then translate to the end of the input."""
    set_up(config.threads, deterministic=False)
    options = config.translate
    run = open_run(list(runs), config.decode.ensemble)
    device = resolve_device(config.device)
    with ExitStack() as stack:
        source = stack.enter_context(reading(config.input))
        target = stack.enter_context(writing("output", config.output))
        links = None
        if options.alignments_file is not None:
            links = stack.enter_context(writing("translate.alignments_file", options.alignments_file))
        translator = Translator(run, config.decode, device, config.checkpoint, options, config.align)
        at_terminal = config.input is None and sys.stdin.isatty()
        to_terminal = config.output is None and sys.stdout.isatty()
        # Where lines come or go one by one, they themselves show the progress.
        hidden = config.interactive or at_terminal or to_terminal or not sys.stderr.isatty()
        bar = stack.enter_context(tqdm(unit=" lines", disable=hidden, total=None if hidden else count_lines(source)))
        if at_terminal and to_terminal:
            windows = ([line] for line in typed())
        else:
            batch = config.decode.batch_size
            one_by_one = config.interactive or at_terminal
            windows = read(Lines(source), *((1, 1) if one_by_one else (batch, WINDOW * batch)))
        copy(windows, translator, Writer(options, target, links), bar)


def read(lines: Lines, first: int, most: int) -> Iterator[list[str]]:
    """The lines as text, a window at a time."""
    number = 0
    for window in lines.windows(first, most):
        yield [decode(line, number + i) for i, line in enumerate(window, 1)]
        number += len(window)


def copy(windows: Iterable[Sequence[str]], translator: Translator, write: "Writer", bar: tqdm) -> None:
    """Translate window by window: what is translated is written before more is read."""
    first = 1
    for texts in windows:
        found = translator.hypotheses(texts, bar.update, lambda i, message, first=first: warn(first + i, message))
        write(first, texts, found)
        first += len(texts)
        bar.update(first - 1 - bar.n)  # a blank line has no part to count, a long one several


class Writer:
    """Lines of the form that ``options`` ask for."""

    def __init__(self, options: TranslateOptions, target: Sink, links: Sink | None = None) -> None:
        self.options, self.target, self.links = options, target, links

    def __call__(self, first: int, texts: Sequence[str], found: Sequence[Sequence[Translation]]) -> None:
        """Write what was found for each text; ``first`` is the line number of the first."""
        self.target.write(self.line(n, text, t) for n, (text, t) in enumerate(zip(texts, found, strict=True), first))
        if self.links is not None:
            self.links.write(self.alignment(translations) for translations in found)

    def line(self, number: int, source: str, translations: Sequence[Translation]) -> str:
        """The best translation, or everything as JSON."""
        best = translations[0].text if translations else ""
        if self.options.format is Format.text:
            return best
        hypotheses = [self.as_tree(translation) for translation in translations]
        tree = {"line": number, "source": source, "translation": best, "hypotheses": hypotheses}
        return json.dumps(tree, ensure_ascii=False)

    def as_tree(self, found: Translation) -> dict[str, Any]:
        """A hypothesis in JSON types; ``weights[j][i]`` is that of target word j on source word i."""
        keys = ("text", "score", "log_prob", "finished")
        tree = {key: getattr(found, key) for key in keys}
        if found.token_log_probs is not None:
            tree |= {"tokens": found.tokens, "token_log_probs": found.token_log_probs}
        if found.alignment is not None:
            tree["links"] = str(hard_alignment(found.alignment))
        if found.alignment is not None and self.options.alignments is Links.soft:
            tree["weights"] = np.round(found.alignment, 6).tolist()
        return tree

    def alignment(self, translations: Sequence[Translation]) -> str:
        """The best translation's, as a line."""
        words = translations[0].alignment if translations else None
        if words is None:
            return ""
        return str(hard_alignment(words)) if self.options.alignments is Links.hard else soft_line(words)


def main() -> None:
    """The command nmt-translate."""
    sys.argv[1:] = ["interactive=true" if word == "--interactive" else word for word in sys.argv[1:]]
    app.run(COMMAND, translate)
