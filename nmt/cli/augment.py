"""python -m nmt.augment run=DIR method=back input=FILE output=FOLDER: new training pairs from trained models."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nmt.augment.methods import Job, Method, Model, jobs_of
from nmt.augment.writing import DROPPED, Request, augment
from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list, directories
from nmt.cli.options import Command
from nmt.config import to_tree
from nmt.data.corpus import DataConfig
from nmt.data.textfile import home_expanded
from nmt.device import resolve_device, set_up
from nmt.errors import ConfigError
from nmt.runs.directory import Run, read_config, read_weights
from nmt.runs.ensemble import open_run
from nmt.settings import setting
from nmt.translate.translator import Translator


@dataclass
class AugmentConfig(SearchOnRun):
    """What to translate and where to."""

    run: Any = setting(
        "???", "run directory; [A,B,...]: each translates everything; a list inside, [[A,B]], is an ensemble", path=True
    )
    method: Method = setting(
        "???",  # type: ignore[assignment]
        "back: text of the target language becomes new sources; forward: text of the source language gets targets; "
        "distill: forward, of the run's training text; diversify: that and back, by several runs",
    )
    reverse: Any = setting(None, "method=diversify: the runs of the other direction, as in run", path=True)
    input: Any = setting(
        None, "file or list of files in the language that run translates from; null: its training text", path=True
    )
    output: str = setting("???", "folder to write: both sides of the new pairs, and where each is from", path=True)
    tag: str | None = setting(None, "a word in front of each new source, such as '<BT>' (Caswell et al. 2019)")
    # OmegaConf's sign for a value that must be given: the group data fills it.
    data: DataConfig = field(default="???")  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tag is not None and (not self.tag or self.tag.split() != [self.tag]):
            raise ConfigError(f"tag must be one word without spaces, got {self.tag!r}")


COMMAND = Command(
    module="nmt.augment",
    root="augment",
    schema=AugmentConfig,
    summary="Make new training pairs with trained models: back-translation, forward translation, distillation.",
    examples=(
        "run=runs/de_en method=back input=news.de output=back decode=sample \"tag='<BT>'\"",
        "run=runs/en_de method=forward 'input=[news.en,web.en.gz]' output=forward",
        "'run=[[runs/a,runs/b,runs/c]]' method=distill output=distilled",
        "'run=[runs/a,runs/b]' 'reverse=[runs/c,runs/d]' method=diversify output=diverse",
    ),
    groups=("data", "decode"),
    of_runs=True,
)


def augment_text(configs: Sequence[AugmentConfig]) -> None:
    """Translate, write the corpus, and say what it has and how to train on it."""
    config = configs[0]
    set_up(config.threads, deterministic=False)
    device = resolve_device(config.device)
    models = [model_of(as_list(one.run), one.data) for one in configs]
    reverse = [
        model_of([str(d) for d in together], read_config(together[0]).data)
        for together in (directories(config.reverse, "reverse") if config.reverse else [])
    ]
    jobs = jobs_of(config.method, models, reverse, config.input)
    data = models[0].data
    pair = (data.target, data.source) if config.method is Method.back else (data.source, data.target)
    request = Request(
        jobs,
        partial(open_translator, config, device),
        home_expanded(config.output, "output"),
        pair,
        config.tag,
        settings_of(config, jobs),
    )
    with tqdm(unit=" lines", disable=None if sys.stderr.isatty() else True) as bar:
        counts = augment(request, lambda text: print(text, file=sys.stderr, flush=True), bar.update)
    print(summary(request, counts))


def model_of(runs: list[Any], data: DataConfig) -> Model:
    """A run, or an ensemble that decodes as its first one does."""
    names = tuple(str(run) for run in runs)
    return Model(names, data, read_config(Path(names[0])).seed)


def open_translator(config: AugmentConfig, device: torch.device, job: Job) -> Translator:
    """The model of a job."""
    return Translator(open_run(list(job.runs), config.decode.ensemble), config.decode, device, config.checkpoint)


def settings_of(config: AugmentConfig, jobs: Sequence[Job]) -> dict[str, Any]:
    """All that the new pairs depend on: models and their weights, text, search."""
    return {
        "method": config.method.name,
        "checkpoint": config.checkpoint,
        "decode": to_tree(config.decode),
        "tag": config.tag,
        "jobs": [
            {"runs": [*job.runs], "weights": weights(job.runs, config.checkpoint), "text": job.text.key()}
            for job in jobs
        ],
    }


def weights(runs: Sequence[str], which: str) -> list[list[Any]]:
    """The step and a checksum of the weights of each run: a run of the same name may have been trained anew."""
    files = [path for run in runs for path in Run.open(run).weights(which)]
    return [[read_weights(path)["step"], file_digest(path)] for path in files]


def file_digest(path: Path) -> str:
    """The first digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def summary(request: Request, counts: dict[str, int]) -> str:
    """How many pairs were kept, why others were not, and what to type next."""
    lines = [f"{request.output}: {counts['kept']:,} pairs"]
    lines += [f"  left out, {words}: {counts[name]:,}" for name, words in DROPPED.items() if counts.get(name)]
    source, target = (f"{request.output}/train.{suffix}" for suffix in request.suffixes)
    lines.append(f"to train on it: data.more.NAME.source={source} data.more.NAME.target={target}")
    return "\n".join(lines)


def main() -> None:
    """The command nmt-augment."""
    app.run(COMMAND, augment_text)
