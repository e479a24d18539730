"""Parallel text through ``datasets``: from the Hugging Face hub, or local parquet, json and csv (data=hf)."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from nmt.data.checks import Side
from nmt.data.text import Corpus, DataConfig, ParallelText, no_such_test
from nmt.errors import ConfigError, DataError
from nmt.settings import setting

if TYPE_CHECKING:
    from datasets import Dataset, Features

ROWS = 1000  # read at a time
HUB_TIMEOUT = 5.0  # seconds for the hub to answer; after that ``datasets``, which would try many times, is not asked
FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}  # what ``datasets`` calls a file


@dataclass
class HubConfig(DataConfig):
    """any dataset of the Hugging Face hub, or local parquet, json and csv"""

    name: str = "hf"
    path: str = setting("", "a hub repository, a local folder, or parquet, json or csv")
    subset: str | None = setting(None, "configuration of the repository, such as de-en")
    files: dict[str, Any] = setting({}, "files of each split: '+data.files={train: a.csv, validation: b.csv}'")
    train_split: str = setting("train", "a split or a part of one: \"'train[1%:]'\"")
    validation_split: str = setting("validation", "a split or a part of one: \"'train[:1%]'\"")
    source_column: str | None = setting(None, "null: translation.SOURCE, or else SOURCE")
    target_column: str | None = setting(None, "null: translation.TARGET, or else TARGET")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path == "":
            raise ConfigError("data.path is missing: data=hf needs a hub repository, a folder, or parquet, json or csv")
        kind = FORMATS.get(Path(self.path).suffix)
        if kind is not None:
            raise ConfigError(
                f"data.path={self.path} is a file: use data.path={kind} "
                f"'+data.files={{train: {self.path}, validation: FILE}}'"
            )
        if self.path in FORMATS.values() and not self.files:  # datasets would take every file of the working directory
            raise ConfigError(f"data.path={self.path} needs files: '+data.files={{train: FILE, validation: FILE}}'")


class Hub(Corpus):
    """The splits of a dataset, memory-mapped by ``datasets`` and read some rows at a time."""

    @property
    def remote(self) -> bool:
        """Whether data.path is a repository of the hub."""
        return self.config.path not in FORMATS.values() and not Path(self.config.path).exists()

    def load(self, split: str, key: str) -> "Dataset":
        """One split (or part of one), unchanged; raises DataError with the message of ``datasets``."""
        config: HubConfig = self.config
        with using_datasets(f"data.path={config.path}, {key}={split}: ", remote=self.remote) as datasets:
            data = datasets.load_dataset(
                config.path,
                config.subset,
                data_files=config.files or None,
                split=split,
                cache_dir=str(Path(config.cache) / "hub"),
            )
        return cast("Dataset", data)

    def columns(self, features: "Features", side: Side) -> list[str]:
        """The names that lead to the text of a side: a column, or the column ``translation`` and a language in it."""
        given, language = getattr(self.config, f"{side.name}_column"), getattr(self.config, side.name)
        known = [[name, *part] for name, feature in features.items() for part in [[], *inner_names(feature)]]
        for names in [given.split(".")] if given else [["translation", language], [language]]:
            if names in known:
                return names
        raise ConfigError(
            f"data.{side.name}_column={given or 'null'}: nothing like it for data.{side.name}={language}; "
            f"there are: {', '.join(map('.'.join, known))}"
        )

    def rows(self, split: str, key: str) -> Iterator[tuple[str, str]]:
        """The pairs of a split, some rows at a time."""
        data = self.load(split, key)
        source, target = (self.columns(data.features, side) for side in Side)
        for chunk in data.select_columns(list({source[0]: 0, target[0]: 0})).iter(batch_size=ROWS):
            cells = cast(dict[str, list[Any]], chunk)
            for one, other in zip(cells[source[0]], cells[target[0]], strict=True):
                yield cell_text(one, source[1:]), cell_text(other, target[1:])

    def text(self, name: str, split: str, key: str) -> ParallelText:
        """A split in memory."""
        pairs = list(self.rows(split, key))
        return ParallelText(name, [source for source, _ in pairs], [target for _, target in pairs])

    @cached_property
    def splits(self) -> list[str]:
        """The names of all splits."""
        config: HubConfig = self.config
        with using_datasets(f"data.path={config.path}: ", remote=self.remote) as datasets:
            found = datasets.get_dataset_split_names(config.path, config.subset, data_files=config.files or None)
        return [str(split) for split in found]

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        return self.rows(self.config.train_split, "data.train_split")

    def validation(self) -> ParallelText:
        return self.text("validation", self.config.validation_split, "data.validation_split")

    def test_names(self) -> list[str]:
        return [split for split in self.splits if split.startswith("test")]

    def test(self, name: str) -> ParallelText:
        if re.split(r"\W", name)[0] not in self.splits:
            raise no_such_test(name, self.config, self.splits)
        return self.text(name, name, "data.test")

    def fingerprint(self, seed: int) -> dict[str, Any]:
        config: HubConfig = self.config
        splits = [config.train_split, config.validation_split, *self.test_names()]
        loaded = [self.load(split, "split")._fingerprint for split in splits]
        columns = [config.source, config.target, config.source_column, config.target_column]
        return {"splits": splits, "fingerprints": loaded, "columns": columns}

    def locate(self, number: int, side: Side) -> str:
        return f"{self.config.path}, {self.config.train_split}, row {number + 1}, {side.name} side"


def inner_names(feature: Any) -> list[list[str]]:
    """The names inside a column of dicts, such as the languages of a translation column."""
    from datasets import Translation  # here: see ``using_datasets``

    inner = feature.languages if isinstance(feature, Translation) else feature
    return [[name] for name in inner] if isinstance(inner, dict | list | tuple) else []


def cell_text(value: Any, below: Sequence[str]) -> str:
    """The text of a cell, or of the part of it that the names ``below`` lead to; None counts as blank text.

    Line breaks become spaces.  Raises DataError for anything else than text.
    """
    for name in below:
        value = value and value[name]
    if not isinstance(value, str | None):
        raise DataError(f"a dataset holds {type(value).__name__} where text should be: {value!r:.60}")
    return re.sub(r"[\r\n]+", " ", value or "")


@contextmanager
def using_datasets(before: str, after: str = "", remote: bool = False) -> Iterator[ModuleType]:
    """Import ``datasets``; its errors for wrong names, absent files and no network become DataErrors within.

    The message is the first line of its own, between ``before`` and ``after``.  With ``remote``, if the hub does not
    answer, ``datasets`` uses its cache alone, and what is not there is refused at once.  The import is here because it
    takes a second, and most commands do not need it.
    """
    import datasets
    from datasets import config as settings
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    unreachable = unreachable_reason() if remote else None
    offline = settings.HF_HUB_OFFLINE
    settings.HF_HUB_OFFLINE = offline or unreachable is not None
    try:
        yield datasets
    except (OSError, ValueError, TypeError, KeyError, DatasetsError) as error:
        # The message of this one is empty of information; its cause has it.
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None
        reason = unreachable if isinstance(error, ConnectionError) else None
        lines = (reason or str(cause or error)).strip().splitlines()
        raise DataError(f"{before}{lines[0] if lines else type(error).__name__}{after}") from None
    finally:
        settings.HF_HUB_OFFLINE = offline


@cache
def unreachable_reason() -> str | None:
    """Why the hub cannot be reached; None if it answers, with whatever status.  Tried once a process."""
    from huggingface_hub import constants  # ``datasets`` needs it, too
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as error:  # of requests or httpx, as the version has it
        return f"{constants.ENDPOINT} does not answer: {str(error) or type(error).__name__}"
    return None
