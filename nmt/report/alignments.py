"""Attention of the configurations to the same sentences, side by side."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nmt.data.directions import toward
from nmt.data.text import ParallelText
from nmt.data.tokenizer import Tokenizers
from nmt.device import Precision
from nmt.errors import UserError
from nmt.eval.evaluate import sentences_to_draw
from nmt.eval.figures.painter import Painter, Pair
from nmt.eval.figures.panels import Heads, Layers
from nmt.report.comparison import sentences
from nmt.runs.directory import Run
from nmt.runs.results import REFERENCE, SOURCE
from nmt.runs.summary import SetKey
from nmt.runs.table import Configuration
from nmt.search import ForcedOptions


class Drawn(NamedTuple):
    """The attention of one configuration to one sentence pair."""

    configuration: str  # its name, and the seed
    png: str  # in base64


class Sentence(NamedTuple):
    """A sentence pair with a picture for each configuration that has attention."""

    source: str
    reference: str
    pictures: list[Drawn]


def side_by_side(
    of: Sequence[Configuration],
    keys: Sequence[SetKey],
    count: int,
    device: torch.device,
    progress: Callable[[str], object] = lambda _: None,
) -> tuple[list[Sentence], list[str]]:
    """``count`` sentences of different lengths of the first set whose text is there, and what could not be drawn.

    Of each configuration the best weights of its first seed read the reference by forced decoding; layers and heads are
    averaged, so that a panel has the same meaning everywhere.
    """
    text, of_set = next(
        ((t, key) for c in of for run in c.runs for key in keys if (t := text_of(run.folders.get(key), key))),
        (None, None),
    )
    if text is None or count == 0:
        return [], []
    chosen: list[int] = []
    found: dict[int, list[Drawn]] = {}
    notes = []
    for configuration in of:
        first = configuration.runs[0]
        progress(f"attention of {first.directory}")
        try:
            run = Run.open(first.directory)
            model, _ = run.load_model("best", device)
            sides = tokenizers_for(run, first.results.get(of_set, {}) if of_set else {})
        except UserError as error:
            notes.append(f"no alignments of {configuration.name}: {error}")
            continue
        chosen = chosen or sentences_to_draw(text, sides, count)
        ids = [
            side.encode([lines[i] for i in chosen])
            for side, lines in ((sides.source, text.source), (sides.target, text.target))
        ]
        pairs = [Pair(i, s, t) for i, s, t in zip(chosen, *ids, strict=True)]
        pictures = Painter(model.eval(), run.tokenizers, ForcedOptions(device, Precision.fp32)).attention(
            pairs, "reference"
        )
        for picture in pictures:
            with io.BytesIO() as out:
                picture.draw(layers=Layers.mean, heads=Heads.mean).savefig(out, format="png")
                png = base64.b64encode(out.getvalue()).decode()
            name = f"{configuration.name}, seed {first.seed}"
            found.setdefault(picture.sentence, []).append(Drawn(name, png))
    return [Sentence(text.source[i], text.target[i], found[i]) for i in chosen if i in found], notes


def tokenizers_for(run: Run, result: Mapping[str, Any]) -> Tokenizers:
    """The tokenizers of a run for the set of a result: with the tag of the set's language, where the run has tags."""
    languages = result.get("languages")  # earlier versions wrote none, and the tags into the sources
    if not run.config.data.tags or not languages:
        return run.tokenizers
    return toward(run.tokenizers, run.config.data, languages[1], "data.target")[0]


def text_of(folder: Path | None, key: SetKey) -> ParallelText | None:
    """The sentences that lie beside scores, if they do."""
    if folder is None or not (folder / SOURCE).exists() or not (folder / REFERENCE).exists():
        return None
    return ParallelText(key.name, sentences(folder / SOURCE), sentences(folder / REFERENCE))
