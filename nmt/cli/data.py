"""python -m nmt.data data=NAME: read, check and encode the training data, and show what came of it."""

import sys
from dataclasses import dataclass, field

from nmt.cli import app
from nmt.cli.options import Command
from nmt.config import PLUGINS_HELP
from nmt.data.batching import TrainBatches
from nmt.data.corpus import DataConfig
from nmt.data.prepare import prepare
from nmt.device import set_up
from nmt.settings import check_ranges, setting


@dataclass
class DataCommandConfig:
    """What to prepare."""

    seed: int = setting(1, "as in nmt.train: what is prepared with it is found there again", least=0)
    threads: int | None = setting(None, "CPU threads; null: as many as torch finds", least=1, most=1024)
    plugins: list[str] = setting([], PLUGINS_HELP)
    # OmegaConf's sign for a value that must be given: the group data fills it.
    data: DataConfig = field(default="???")  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_ranges(self, "")


COMMAND = Command(
    module="nmt.data",
    root="data",
    schema=DataCommandConfig,
    summary="Read, check and encode training data into the cache, and print the table of what was found.",
    examples=(
        "data=phrases data.target=ja",
        "data=multi30k data.tokenizer.vocab_size=4000",
        "data=files data.train.source=train.en data.train.target=train.de "
        "data.validation.source=dev.en data.validation.target=dev.de",
    ),
    groups=("data",),
)


def prepare_data(config: DataCommandConfig) -> None:
    """Prepare and print."""
    set_up(config.threads, deterministic=False)
    data = prepare(config.data, config.seed, progress=sys.stderr.isatty())
    print(data.table)
    print(TrainBatches(data.train, config.data.batching, config.seed, mixture=data.mixture))


def main() -> None:
    """The command nmt-data."""
    app.run(COMMAND, prepare_data)
