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
from nmt.cli.on_run import EngineOnRun, as_list
from nmt.cli.options import Command
from nmt.cli.streams import Lines, Sink, count_lines, reading, refuse_same_file, typed_lines, warn, writing
from nmt.cli.translation_input import Window, add_prefixes, compare_line_counts, parse_json_lines, read_lines
from nmt.data.directions import said_of_default
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import AlignConfig, hard_alignment, soft_line
from nmt.eval.copying import CopyCounts
from nmt.export.engines import EngineKind, open_engine
from nmt.runs.ensemble import open_run
from nmt.settings import setting
from nmt.translate.options import AlignmentOutput, Format, InputFormat, TranslateOptions
from nmt.translate.prefix import TextError
from nmt.translate.translation import Translation
from nmt.translate.translator import Translator

WINDOW = 16  # batches of sentences read at once; sorted by length together, they need less padding
NO_FILE_FOR_TYPED_LINES = (
    "translate.prefix_file is for input from a file or a pipe, not for interactive=true or a terminal; "
    'translate.input_format=jsonl takes a "prefix" with each line'
)


@dataclass
class TranslateConfig(EngineOnRun):
    """What to translate and how."""

    input: str | None = setting(None, "file to translate, plain or compressed; null: standard input", path=True)
    output: str | None = setting(
        None, "file to write, which is there whole or not at all; null: standard output", path=True
    )
    interactive: bool = setting(
        False, "(or --interactive) translate each line at once; a terminal always has it, with a prompt"
    )
    translate: TranslateOptions = field(default_factory=TranslateOptions)
    align: AlignConfig = field(default_factory=AlignConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interactive and self.translate.prefix_file is not None:
            raise ConfigError(NO_FILE_FOR_TYPED_LINES)
        read, options = {"input": self.input}, self.translate
        check_engine(self.engine, options)
        read |= {"translate.prefix_file": options.prefix_file, "translate.dictionary": options.dictionary}
        refuse_same_file(read, {"output": self.output, "translate.alignments_file": options.alignments_file})


def check_engine(engine: EngineKind, options: TranslateOptions) -> None:
    """Raise ConfigError, naming both keys, for an option that an engine lacks, before anything is exported or read."""
    lacking = options.reads_attention if engine is not EngineKind.torch else None
    if engine is EngineKind.ctranslate2 and options.prefix_file is not None:
        lacking = f"translate.prefix_file={options.prefix_file}"
    if lacking is not None:
        raise ConfigError(f"{lacking} is not to be had with engine={engine.name}; engine=torch has it")


COMMAND = Command(
    module="nmt.translate",
    root="translate",
    schema=TranslateConfig,
    summary="Translate standard input, or a file, line by line.",
    examples=(
        "run=runs/local_p < in.txt > out.txt",
        "run=runs/local_p decode=greedy checkpoint=avg:5 input=in.txt output=out.txt",
        "'run=[runs/a,runs/b]' decode.ensemble=log_probabilities < in.txt",
        "run=runs/local_p translate.alignments=hard translate.alignments_file=out.align < in.txt > out.txt",
        "run=runs/local_p decode.n_best=5 < in.txt > lists.txt",
        "run=runs/local_p decode.n_best=5 translate.format=jsonl translate.token_scores=true < in.txt > out.jsonl",
        "run=runs/local_p translate.prefix_file=prefixes.txt input=in.txt output=out.txt",
        "run=runs/local_p translate.tags=true input=page.html output=page.de.html",
        "run=runs/transformer engine=ctranslate2 quantization=int8 < in.txt > out.txt",
        "run=runs/local_p --interactive",
    ),
    groups=("decode",),
    of_runs=True,
)


def translate(configs: Sequence[TranslateConfig]) -> None:
    """Translate with the runs of all ``configs`` together, as the first says."""
    try:
        open_and_translate(configs[0], [directory for config in configs for directory in as_list(config.run)])
    except KeyboardInterrupt:
        sys.exit(128 + 2)  # the exit status of a command that Ctrl-C (SIGINT) ended; no message


def open_and_translate(config: TranslateConfig, runs: Sequence[str]) -> None:
    """Open everything, then translate to the end of the input."""
    options = config.translate
    at_terminal = config.input is None and sys.stdin.isatty()
    if at_terminal and options.prefix_file is not None:
        raise ConfigError(NO_FILE_FOR_TYPED_LINES)
    set_up(config.threads, deterministic=False)
    run = open_run(list(runs), config.decode.ensemble)
    if note := said_of_default(run.config.data, options.into, "translate.into"):
        print_note(note)
    device = resolve_device(config.device)
    with ExitStack() as stack:
        source = stack.enter_context(reading("input", config.input))
        windows = read_windows(config, source, at_terminal, stack)
        target = stack.enter_context(writing("output", config.output))
        links = None
        if options.alignments_file is not None:
            links = stack.enter_context(writing("translate.alignments_file", options.alignments_file))
        engine = open_engine(
            config.engine, run, config.checkpoint, device, config.decode, config.quantization, print_note
        )
        translator = Translator(run, config.decode, device, config.checkpoint, options, config.align, engine)
        # Where lines come or go one by one, they themselves show the progress.
        hidden = config.interactive or at_terminal or to_terminal(config) or not sys.stderr.isatty()
        bar = stack.enter_context(tqdm(unit=" lines", disable=hidden, total=None if hidden else count_lines(source)))
        writer = Writer(options, target, links, config.decode.n_best > 1)
        translate_windows(windows, translator, writer, bar)
    if options.tags:
        print_note(str(writer.copied))


def print_note(message: str) -> None:
    """A line on standard error, where no translation goes."""
    print(message, file=sys.stderr, flush=True)


def to_terminal(config: TranslateConfig) -> bool:
    """Whether translations are shown on a terminal."""
    return config.output is None and sys.stdout.isatty()


def read_windows(config: TranslateConfig, source: int, at_terminal: bool, stack: ExitStack) -> Iterator[Window]:
    """The input from the descriptor ``source``, a window at a time; ``stack`` closes what else is opened for it.

    Raises DataError for a prefix file that cannot be read or is known to have another number of lines than the input.
    """
    options, name = config.translate, "standard input" if config.input is None else f"input={config.input}"
    if at_terminal and to_terminal(config):
        windows: Iterator[list[str]] = ([line] for line in typed_lines())
    else:
        batch = config.decode.batch_size
        one_by_one = config.interactive or at_terminal
        windows = read_lines(Lines(source), name, *((1, 1) if one_by_one else (batch, WINDOW * batch)))
    if options.input_format is InputFormat.jsonl:
        return parse_json_lines(windows, name)
    if options.prefix_file is None:
        return map(Window, windows)
    prefixes = stack.enter_context(reading("translate.prefix_file", options.prefix_file))
    prefix_name = f"translate.prefix_file={options.prefix_file}"
    compare_line_counts(prefixes, prefix_name, source, name)
    return add_prefixes(windows, Lines(prefixes), prefix_name, name)


def translate_windows(windows: Iterable[Window], translator: Translator, write: "Writer", bar: tqdm) -> None:
    """Translate window by window: what is translated is written before more is read.

    Raises DataError, with the number of the line, for a text that cannot be translated as asked.
    """
    first = 1
    for texts, prefixes in windows:
        try:
            found = translator.hypotheses(
                texts, bar.update, lambda i, message, first=first: warn(first + i, message), prefixes
            )
        except TextError as error:
            raise DataError(f"line {first + error.number}: {error.reason}") from None
        write(first, texts, found)
        first += len(texts)
        bar.update(first - 1 - bar.n)  # a blank line has no part to count, a long one several


class Writer:
    """Writes translations as lines in the format that ``options`` ask for; ``lists``: n-best lists, not the best."""

    def __init__(self, options: TranslateOptions, target: Sink, links: Sink | None = None, lists: bool = False) -> None:
        self.options, self.target, self.links, self.lists = options, target, links, lists
        self.copied = CopyCounts()  # of the best translations

    def __call__(self, first: int, texts: Sequence[str], found: Sequence[Sequence[Translation]]) -> None:
        """Write what was found for each text; ``first`` is the line number of the first."""
        for text, translations in zip(texts, found, strict=True):
            self.copied.add(text, translations[0].text if translations else "")
        numbered = enumerate(zip(texts, found, strict=True), first)
        if self.lists and self.options.format is Format.text:
            self.target.write(line for n, (_, t) in numbered for line in moses_lines(n - 1, t))
        else:
            self.target.write(self.line(n, text, t) for n, (text, t) in numbered)
        if self.links is not None:
            self.links.write(self.alignment(translations) for translations in found)

    def line(self, number: int, source: str, translations: Sequence[Translation]) -> str:
        """The line of output for a text: the best translation, or all of them as JSON."""
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
        if found.alignment is not None and self.options.alignments is AlignmentOutput.soft:
            tree["weights"] = np.round(found.alignment, 6).tolist()
        return tree

    def alignment(self, translations: Sequence[Translation]) -> str:
        """The line of the alignments file for a text: the alignment of the best translation."""
        words = translations[0].alignment if translations else None
        if words is None:
            return ""
        return str(hard_alignment(words)) if self.options.alignments is AlignmentOutput.hard else soft_line(words)


def moses_lines(number: int, translations: Sequence[Translation]) -> list[str]:
    """An n-best list as Moses writes it, a line for each translation; ``number`` is that of the text, from 0.

    NUMBER ||| TEXT ||| logprob= LOG_PROB ||| SCORE.  A blank text has one line, with no translation and zeros.
    """
    listed = [(t.text, t.log_prob, t.score) for t in translations] or [("", 0.0, 0.0)]
    return [f"{number} ||| {text} ||| logprob= {log_prob:.6f} ||| {score:.6f}" for text, log_prob, score in listed]


def main() -> None:
    """The command nmt-translate."""
    sys.argv[1:] = ["interactive=true" if word == "--interactive" else word for word in sys.argv[1:]]
    app.run(COMMAND, translate)
