"""python -m nmt.eval.align run=DIR source=FILE target=FILE [gold=FILE]: word alignments from a model's attention."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from nmt.cli import app
from nmt.cli.on_run import OnRun, as_list
from nmt.cli.options import Command
from nmt.cli.streams import refuse_same_file, writing
from nmt.data.corpus import validation_text
from nmt.data.directions import of_direction, said_of_default, toward
from nmt.data.files import explain_unequal, paths
from nmt.data.pharaoh import Alignment, parse_pharaoh, split_words
from nmt.data.textfile import strict_lines
from nmt.device import Precision, refuse_int8, resolve_device, set_up
from nmt.errors import ConfigError, DataError
from nmt.eval.agreement import Reading, links_by_reading, most_agreeing
from nmt.eval.alignment import SHIFTS, AlignConfig, hard_alignment, score_alignments
from nmt.eval.drift import offsets
from nmt.eval.evaluate import spread
from nmt.eval.forced import align
from nmt.eval.symmetrize import Symmetrize, by_mean, symmetrize, turned
from nmt.languages import language_of
from nmt.runs.directory import Run, alignment_config
from nmt.runs.ensemble import EnsembleRun, open_run
from nmt.search import ForcedOptions
from nmt.settings import setting

AUTO = "auto"  # align.layer
VALIDATION_PAIRS = 200  # that the agreement of two directions is measured on

Found = tuple[Alignment, np.ndarray | None]  # the links of a pair and, where a model finds them, its weights


@dataclass
class AlignOptions(AlignConfig):
    """How alignments are read, and the form in which they are written."""

    # A number, null or auto: OmegaConf has no type for that.
    layer: Any = setting(
        None,
        "1 is the first, -1 the last; auto, with reverse: layer and shift of both directions by which they agree most "
        "on the validation set; null: the one of trainer.guided_alignment or agreement, else the mean of all",
        nonzero=True,
    )
    into: str | None = setting(
        None,
        "of a run with data.tags=true: the language of target; null: that of its first direction; reverse translates "
        "back",
    )
    soft: bool = setting(False, "write JSON lines with the weights between all words, and not links alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer not in (None, AUTO) and type(self.layer) is not int:
            raise ConfigError(f"align.layer={self.layer} is neither a number nor {AUTO}")


@dataclass
class AlignCommandConfig(OnRun):
    """What to align and how."""

    # "???" is OmegaConf's sign for a value that must be given.
    run: Any = setting(
        "???", "run directory, or [A,B,...]: an ensemble; or a file of links, to be merged or judged", path=True
    )
    source: str = setting("???", "file of source sentences, one a line, plain or compressed", path=True)
    target: str = setting("???", "file of their translations, which are force-decoded", path=True)
    reverse: Any = setting(
        None,
        "merge with the other direction: its run directory, or [A,B,...], or what nmt.eval.align wrote of it",
        path=True,
    )
    symmetrize: Symmetrize | None = setting(
        None,
        "with reverse: intersection, union, grow_diag, grow_diag_final_and, or mean: links where the weights of both "
        "have a mean over a half (null: grow_diag_final_and)",
    )
    gold: str | None = setting(None, "file of gold alignments to judge against, Pharaoh form", path=True)
    output: str | None = setting(
        None, "file to write, which is there whole or not at all; null: standard output", path=True
    )
    align: AlignOptions = field(default_factory=AlignOptions)
    precision: Precision = setting(Precision.auto, "of matrix products; int8 is of search alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_int8(self.precision, "precision")
        if self.symmetrize is not None and not self.reverse:
            raise ConfigError(
                f"symmetrize={self.symmetrize.name} merges links of two directions; give the other one by reverse=DIR"
            )
        files = [f"{key}={value}" for key, value in (("run", self.run), ("reverse", self.reverse)) if links_file(value)]
        if self.symmetrize is Symmetrize.mean and files:
            raise ConfigError(f"symmetrize=mean needs the weights of two runs, and {files[0]} is a file of links")
        if self.align.soft and self.reverse:
            raise ConfigError("align.soft=true writes the weights of one direction, and reverse merges links of two")
        if self.align.layer == AUTO and (not self.reverse or links_file(self.run) or links_file(self.reverse)):
            raise ConfigError(
                f"align.layer={AUTO} is chosen by the agreement of two directions, each a run; give the other one by "
                "reverse=DIR, or a number"
            )
        if self.align.soft and links_file(self.run) is not None:
            raise ConfigError(f"align.soft=true writes weights, and run={self.run} is a file of links, which has none")


COMMAND = Command(
    module="nmt.eval.align",
    root="align",
    schema=AlignCommandConfig,
    summary="Print the word alignments of given translations, a line each: i-j joins source word i and target word j.",
    examples=(
        "run=runs/local_p source=test.en target=test.de > test.align",
        "run=runs/local_p source=gold.en target=gold.fr gold=gold.align align.shift=1 > found.align",
        "run=runs/local_p source=test.en target=test.de align.soft=true output=test.jsonl",
        "run=runs/en_de reverse=runs/de_en source=test.en target=test.de symmetrize=grow_diag_final_and > test.align",
        "run=found.align source=gold.en target=gold.fr gold=gold.align output=/dev/null",
    ),
    of_runs=True,
    takes_files=True,
)


def align_files(configs: Sequence[AlignCommandConfig]) -> None:
    """Alignments to ``output``, the judgement to standard error."""
    config = configs[0]
    read_files = {"source": config.source, "target": config.target, "gold": config.gold}
    given = {"run": config.run, "reverse": config.reverse}
    refuse_same_file(read_files | {k: v for k, v in given.items() if isinstance(v, str)}, {"output": config.output})
    set_up(config.threads, deterministic=False)
    device = resolve_device(config.device)
    sources, targets, gold = read(config)
    opened = opened_run([d for c in configs for d in as_list(c.run)])
    other = opened_reverse(config, opened) if config.reverse else None
    if config.align.layer == AUTO:
        how, how_reverse = chosen_by_agreement(opened, other, config, device)
    else:
        how = how_reverse = config.align
    pairs = aligned(opened, config, how, sources, targets, device)
    if other is not None:
        back = replace(config, align=replace(config.align, into=into_of_reverse(opened, other, config)))
        pairs = merged(pairs, aligned(other, back, how_reverse, targets, sources, device), config.symmetrize)
    found: list[Alignment] = []
    with ExitStack() as stack:
        sink = stack.enter_context(writing("output", config.output))
        for place, (links, words) in enumerate(pairs):
            line = str(links)
            if config.align.soft and words is not None:
                line = soft(words, sources[place], targets[place])
            sink.write([line])
            found.append(links)
    if gold is not None:
        print(score_alignments(found, gold), *offsets(found, gold), sep="\n", file=sys.stderr)


def links_file(given: Any) -> Path | None:
    """The file of links that ``run`` or ``reverse`` names; None where they name run directories."""
    names = as_list(given)
    return Path(str(names[0])) if len(names) == 1 and Path(str(names[0])).is_file() else None


def opened_run(given: Sequence[Any]) -> Run | EnsembleRun | Path:
    """The run or the ensemble, or the file of links in its place."""
    return links_file(list(given)) or open_run(list(given))


def aligned(
    opened: Run | EnsembleRun | Path,
    config: AlignCommandConfig,
    how: AlignConfig,
    sources: Sequence[str],
    targets: Sequence[str],
    device: torch.device,
) -> Iterator[Found]:
    """The links of each pair and, where a model finds them, the weights between its words."""
    if isinstance(opened, Path):
        lengths = [(len(split_words(s)), len(split_words(t))) for s, t in zip(sources, targets, strict=True)]
        yield from ((links, None) for links in parse_pharaoh(strict_lines(opened), str(opened), lengths))
    else:
        for words in between_words(opened, config, how, sources, targets, device):
            yield hard_alignment(words), words


def merged(forward: Iterator[Found], reverse: Iterator[Found], how: Symmetrize | None) -> Iterator[Found]:
    """The links of both directions, merged, and the weights of ``forward``."""
    if how is Symmetrize.mean:
        for (_, words), (_, back) in zip(forward, reverse, strict=True):
            assert words is not None
            assert back is not None
            yield by_mean(words, back), words
        return
    others = [turned(links) for links, _ in reverse]
    for (links, words), other in zip(forward, others, strict=True):
        yield symmetrize(links, other, how or Symmetrize.grow_diag_final_and), words


def between_words(
    run: Run | EnsembleRun,
    config: AlignCommandConfig,
    how: AlignConfig,
    sources: Sequence[str],
    targets: Sequence[str],
    device: torch.device,
) -> Iterator[np.ndarray]:
    """The weights between the words of each pair, (target words, source words), from the run's model."""
    model, _ = run.load_model(config.checkpoint, device)
    how = alignment_config(run.config, how)
    if note := said_of_default(run.config.data, config.align.into, "align.into"):
        print(note, file=sys.stderr)
    tokenizers, _, _ = toward(run.tokenizers, run.config.data, config.align.into, "align.into")
    matrices = align(model, tokenizers, sources, targets, ForcedOptions(device, config.precision), how)
    # Where the lines go to a terminal, they themselves show the progress.
    hidden = not sys.stderr.isatty() or (config.output is None and sys.stdout.isatty())
    return iter(tqdm(matrices, total=len(sources), unit=" pairs", leave=False, disable=hidden))


def opened_reverse(config: AlignCommandConfig, forward: Run | EnsembleRun | Path) -> Run | EnsembleRun | Path:
    """What ``reverse`` names; ConfigError for a run that lacks the direction of ``forward`` turned round."""
    run = opened_run(as_list(config.reverse))
    if not isinstance(run, Path) and not isinstance(forward, Path):
        mine = languages(forward, config.align.into)
        theirs = [tuple(map(language_of, pair)) for pair in run.config.data.directions()]
        if mine[::-1] not in theirs:
            translates = " and ".join(f"{source} into {target}" for source, target in theirs)
            raise ConfigError(
                f"reverse={run.name} translates {translates}, and run translates {mine[0]} into {mine[1]}: reverse has "
                "to be of the other direction"
            )
    return run


def languages(run: Run | EnsembleRun, into: str | None) -> tuple[str, str]:
    """Source and target language of the direction of ``run`` that align.into names."""
    _, source, target = toward(run.tokenizers, run.config.data, into, "align.into")
    return language_of(source), language_of(target)


def into_of_reverse(
    forward: Run | EnsembleRun | Path, reverse: Run | EnsembleRun | Path, config: AlignCommandConfig
) -> str | None:
    """align.into of ``reverse``: the source language of ``forward``, as the other run spells it."""
    if isinstance(reverse, Path):
        return None
    if isinstance(forward, Path):  # whose languages nobody knows
        return config.align.into
    source, target = languages(forward, config.align.into)
    pairs = reverse.config.data.directions()
    return next(theirs for mine, theirs in pairs if (language_of(mine), language_of(theirs)) == (target, source))


def chosen_by_agreement(
    forward: Run | EnsembleRun | Path,
    reverse: Run | EnsembleRun | Path | None,
    config: AlignCommandConfig,
    device: torch.device,
) -> tuple[AlignConfig, AlignConfig]:
    """align.layer=auto: how the weights of both directions are read, by the validation set of ``run``."""
    assert not isinstance(forward, Path)
    assert not isinstance(reverse, Path | None)
    _, _, target = toward(forward.tokenizers, forward.config.data, config.align.into, "align.into")
    text = validation_text(of_direction(forward.config.data, target))
    pairs = [p for p in zip(text.source, text.target, strict=True) if p[0].strip() and p[1].strip()]
    sources, targets = map(list, zip(*(pairs[i] for i in spread(len(pairs), VALIDATION_PAIRS)), strict=True))
    found: list[dict[Reading, list[Alignment]]] = []
    options, shifts = ForcedOptions(device, config.precision), SHIFTS
    if config.align.shift is not None:
        shifts = (config.align.shift,)
    back = into_of_reverse(forward, reverse, config)
    for run, into, side, other in (
        (forward, config.align.into, sources, targets),
        (reverse, back, targets, sources),
    ):
        tokenizers, _, _ = toward(run.tokenizers, run.config.data, into, "align.into")
        model, _ = run.load_model(config.checkpoint, device)
        layers, _ = run.config.model.attention_heads or (0, 0)
        asked = replace(config.align, layer=None)
        found.append(links_by_reading(model, tokenizers, (side, other), options, asked, (layers, shifts)))
    turned_back = {reading: [turned(links) for links in row] for reading, row in found[1].items()}
    mine, theirs, agreed = most_agreeing(found[0], turned_back)
    print(
        f"align.layer=auto: run layer {mine.layer}, shift {mine.shift}; reverse layer {theirs.layer}, "
        f"shift {theirs.shift}: {agreed:.1%} of the links of {len(sources)} validation pairs are those of both",
        file=sys.stderr,
    )
    ways = [replace(config.align, layer=reading.layer, shift=reading.shift) for reading in (mine, theirs)]
    return ways[0], ways[1]


def read(config: AlignCommandConfig) -> tuple[list[str], list[str], list[Alignment] | None]:
    """Sources, targets and gold links.

    Raises DataError where a file cannot be read, where they do not have equally many lines, and for bad links.
    """
    (source,), (target,) = paths(config.source, "source"), paths(config.target, "target")
    sources, targets = strict_lines(source), strict_lines(target)
    if len(sources) != len(targets):
        raise DataError(explain_unequal(source, target))
    if config.gold is None:
        return sources, targets, None
    (gold,) = paths(config.gold, "gold")
    lengths = [(len(split_words(s)), len(split_words(t))) for s, t in zip(sources, targets, strict=True)]
    return sources, targets, parse_pharaoh(strict_lines(gold), str(gold), lengths)


def soft(words: np.ndarray, source: str, target: str) -> str:
    """A pair as JSON: its words, the Pharaoh line, and ``weights[j][i]`` of target word j on source word i.

    Weights have six decimals; one that is not finite is null.
    """
    weights = [[round(w, 6) if math.isfinite(w) else None for w in row] for row in words.tolist()]
    fields = {"source": split_words(source), "target": split_words(target), "links": str(hard_alignment(words))}
    return json.dumps(fields | {"weights": weights}, ensure_ascii=False)


def main() -> None:
    """The command nmt-align."""
    app.run(COMMAND, align_files)
