"""python -m nmt.eval.align run=DIR source=FILE target=FILE [gold=FILE]: word alignments from a model's attention."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nmt import cli
from nmt.device import Precision, resolve_device, set_up
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import AlignConfig, hard_alignment, read_pharaoh, score_alignments
from nmt.eval.force import align
from nmt.help import Command
from nmt.runs import OnRun, Run


@dataclass
class AlignCommandConfig(OnRun):
    """What to align and how."""

    # OmegaConf's sign for a value that must be given.
    source: str = field(default="???", metadata={"help": "file of source sentences, one a line"})
    target: str = field(default="???", metadata={"help": "file of their translations, which are force-decoded"})
    gold: str | None = field(default=None, metadata={"help": "file of gold alignments to judge against, Pharaoh form"})
    align: AlignConfig = field(default_factory=AlignConfig)
    precision: Precision = field(default=Precision.auto, metadata={"help": "fp32, bf16 or auto"})


COMMAND = Command(
    module="nmt.eval.align",
    root="align",
    schema=AlignCommandConfig,
    summary="Print the word alignments of given translations, a line each: i-j joins source word i and target word j.",
    examples=(
        "run=runs/local_p source=test.en target=test.de > test.align",
        "run=runs/local_p source=gold.en target=gold.fr gold=gold.align align.shift=1 > found.align",
    ),
    of_runs=True,
)


def run(configs: Sequence[AlignCommandConfig]) -> None:
    """Alignments to standard output, the judgement to standard error."""
    if len(configs) != 1:
        raise ConfigError(f"nmt.eval.align takes one run, got {len(configs)}")
    config = configs[0]
    set_up(config.threads, deterministic=False)
    device = resolve_device(config.device)
    sources, targets = read_lines(config.source, "source"), read_lines(config.target, "target")
    if len(sources) != len(targets):
        raise DataError(f"{config.source} has {len(sources)} lines, {config.target} has {len(targets)}")
    lengths = [(len(s.split()), len(t.split())) for s, t in zip(sources, targets, strict=True)]
    gold = None if config.gold is None else read_pharaoh(Path(config.gold), lengths)
    opened = Run.open(config.run)
    model, _ = opened.load_model(config.checkpoint, device)
    found = []
    for words in align(
        model,
        opened.tokenizers,
        sources,
        targets,
        device=device,
        precision=config.precision,
        shift=config.align.shift,
        pool=config.align.pool,
    ):
        found.append(hard_alignment(words))
        print(found[-1])
    if gold is not None:
        sys.stdout.flush()
        print(score_alignments(found, gold), file=sys.stderr)


def read_lines(path: str, key: str) -> list[str]:
    """The lines of a UTF-8 file, which end at U+000A alone."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{key}={path}: {error}") from None
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def main() -> None:
    """The command line."""
    cli.run(COMMAND, run)


if __name__ == "__main__":
    main()
