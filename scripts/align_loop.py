"""Word alignment by two runs that teach one another: what both find becomes what a head of each is trained to find.

    python scripts/align_loop.py RUN REVERSE FOLDER [--pairs 50000] [--updates 500]

RUN translates from source to target, REVERSE from target to source; any corpus, any model with attention.

1. Links of the training pairs are found by both (align.layer=auto) and merged: FOLDER/found.align.
2. Each run goes on from its best weights with those links as guided alignment, taught at the decoder step that has read
   the word (trainer.guided_shift=1): FOLDER/forward and FOLDER/reverse.  Where predictions are mixed, it is the
   step that predicts the word (trainer.guided_shift=0): the posterior, which is read, has seen the word there.

After that, ``python -m nmt.eval.align run=FOLDER/forward reverse=FOLDER/reverse source=... target=...`` aligns.  Garg
et al. 2019 train a head of the model so; Chen et al. 2020 have the step after the word, and train an alignment module
beside a model that stays as it is.  Here a head inside the model is trained, and translation goes on being trained.
Links that are in FOLDER are not made again, and a training that was interrupted goes on; FOLDER/found.json has what the
links were made with, and other runs, --pairs or --symmetrize want another folder.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from nmt.config import Config
from nmt.config_checks import check_sections
from nmt.data.checks import blank
from nmt.data.corpus import training_pairs, validation_text
from nmt.data.files import FilesConfig
from nmt.data.pharaoh import parse_pharaoh
from nmt.data.text import DataConfig, TextFiles
from nmt.data.textfile import strict_lines
from nmt.errors import ConfigError, UserError
from nmt.eval.symmetrize import Symmetrize, turned
from nmt.models.lstm.config import LSTMConfig, Mixture
from nmt.runs.directory import Run, read_json, write_json, write_text_file
from nmt.runs.training import train


def main() -> None:
    """The command line."""
    options = arguments()
    try:
        loop(options)
    except UserError as error:
        sys.exit(f"error: {error}")


def arguments() -> argparse.Namespace:
    """What was typed."""
    about = (__doc__ or "").partition("\n")[0]
    after = "Typed again, it goes on where it was: links that are in the folder are not made again."
    parser = argparse.ArgumentParser(description=about, epilog=after)
    parser.add_argument("run", type=Path, help="run directory, source to target")
    parser.add_argument("reverse", type=Path, help="run directory, target to source")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--pairs", type=some, default=50_000, help="training pairs that are aligned and learnt from")
    parser.add_argument("--updates", type=some, default=500, help="of each direction")
    parser.add_argument("--weight", type=float, default=1.0, help="trainer.guided_alignment")
    parser.add_argument(
        "--symmetrize", choices=[how.name for how in Symmetrize], default="grow_diag", help="how links are merged"
    )
    return parser.parse_args()


def some(text: str) -> int:
    """A number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def loop(options: argparse.Namespace) -> None:
    """Find the links, then train on them."""
    folder, runs = options.folder, (options.run, options.reverse)
    found, back = folder / "found.align", folder / "found.turned.align"
    configs = [Run.open(run).config for run in runs]
    for run, config in zip(runs, configs, strict=True):
        if config.data.pairs is not None:
            raise ConfigError(f"{run} translates in several directions (data.pairs): give a run for each direction")
    trainings = [
        guided(config, run, folder, name, links, options)
        for config, run, name, links in zip(configs, runs, ("forward", "reverse"), (found, back), strict=True)
    ]
    for training in trainings:
        check_sections(training)  # before hours of aligning
    check_made_with(folder, options)
    sides = write_pairs(folder, configs[0], options.pairs)
    if not found.exists():
        align(runs, sides, found, options.symmetrize, configs[0].threads)
    write_lines(back, (str(turned(links)) for links in parse_pharaoh(strict_lines(found), str(found))))
    for training in trainings:
        train(training)


def check_made_with(folder: Path, options: argparse.Namespace) -> None:
    """Write down what a folder's links are made with; raises ConfigError where they were made with something else."""
    file = folder / "found.json"
    runs = [str(run.resolve()) for run in (options.run, options.reverse)]
    wanted = {"runs": runs, "pairs": options.pairs, "symmetrize": options.symmetrize}
    if (folder / "found.align").exists():
        made = read_json(file) if file.exists() else {}
        other = [key for key, value in wanted.items() if made.get(key) != value]
        if other:
            raise ConfigError(
                f"{folder} holds links that were made with {other[0]}={made.get(other[0], 'unknown')}, and "
                f"{wanted[other[0]]} is asked for: type another folder, or remove this one"
            )
    write_json(file, wanted)


def write_pairs(folder: Path, config: Config, count: int) -> tuple[Path, Path]:
    """The first ``count`` training pairs of a run and its validation set as files; returns those of the training."""
    languages = config.data.source, config.data.target
    pairs = (p for p in training_pairs(config.data, config.seed) if all(map(usable, p)))
    text = validation_text(config.data)
    for stem, rows in (
        ("train", itertools.islice(pairs, count)),
        ("validation", zip(text.source, text.target, strict=True)),
    ):
        for language, side in zip(languages, zip(*rows, strict=True), strict=True):
            write_lines(folder / f"{stem}.{language}", side)
    return folder / f"train.{languages[0]}", folder / f"train.{languages[1]}"


def usable(text: str) -> bool:
    """Whether a training line is one line of UTF-8; other faults are for the checks of training, which drop pairs."""
    return not blank(text) and "\n" not in text and all(not 0xD800 <= ord(c) < 0xE000 for c in text)


def write_lines(path: Path, rows: Iterator[str] | Sequence[str]) -> None:
    """A text file, there whole or not at all."""
    write_text_file(path, "".join(f"{row}\n" for row in rows))


def align(
    runs: tuple[Path, Path], sides: tuple[Path, Path], output: Path, symmetrize: str, threads: int | None
) -> None:
    """The merged links of both runs, by the command that anybody would type."""
    words = [f"run={runs[0]}", f"reverse={runs[1]}", f"source={sides[0]}", f"target={sides[1]}", f"output={output}"]
    words += ["align.layer=auto", f"symmetrize={symmetrize}"]
    # As many threads as in training: more, on cores that are busy, made it ten times slower.
    words += [f"threads={threads}"] if threads else []
    command = [sys.executable, "-m", "nmt.eval.align", *words]
    if subprocess.run(command, check=False).returncode:
        sys.exit(1)  # the command has said why


def guided(config: Config, run: Path, folder: Path, name: str, links: Path, options: argparse.Namespace) -> Config:
    """The training that goes on from ``run`` with ``links``."""
    kept = {f.name: getattr(config.data, f.name) for f in fields(DataConfig)}
    texts = {
        stem: TextFiles(*(str(folder / f"{stem}.{code}") for code in (config.data.source, config.data.target)))
        for stem in ("train", "validation")
    }
    data = FilesConfig(
        **{**kept, **texts, "name": "files", "test": [], "tests": {}, "gold": None, "alignments": str(links)}
    )
    latent = isinstance(config.model, LSTMConfig) and config.model.mixture is not Mixture.contexts
    trainer = replace(
        config.trainer,
        guided_alignment=options.weight,
        guided_shift=0 if latent else 1,
        max_steps=options.updates,
        max_minutes=None,
        max_epochs=None,
        validate_every=max(1, options.updates // 2),
        metric="loss",
    )
    optim = replace(config.optim, warmup=min(config.optim.warmup, options.updates // 10))
    places = {"name": name, "runs": str(folder), "sweep": None, "init_from": str(run), "resume": True}
    return replace(config, data=data, trainer=trainer, optim=optim, **places)


if __name__ == "__main__":
    main()
