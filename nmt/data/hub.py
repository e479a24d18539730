"""Parallel text in tables (data=hf): of the Hugging Face hub through ``datasets``, or in local parquet, json and csv.

Local tables are found by ``datasets`` and read by nmt/data/tables.py, because ``datasets`` takes text for missing
values, numbers and dates.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from nmt.data.checks import SURROGATE, Side
from nmt.data.tables import (
    SEPARATORS,
    Column,
    CsvTable,
    JsonTable,
    Pair,
    ParquetTable,
    Place,
    Table,
    Tables,
    cell_text,
)
from nmt.data.text import Corpus, DataConfig, ParallelText, no_such_test
from nmt.errors import ConfigError, DataError
from nmt.languages import spellings
from nmt.settings import setting

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 1000  # read at a time
HUB_TIMEOUT = 5.0  # seconds for the hub to answer; after that ``datasets``, which would try many times, is not asked
# What ``datasets`` calls a file.
FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}

# The name of the configuration that ``datasets`` has for files of a kind.
TABLES: dict[str, Callable[[Path, str | None], Table]] = {
    "CsvConfig": CsvTable,
    "JsonConfig": lambda path, _: JsonTable(path),
    "ParquetConfig": lambda path, _: ParquetTable(path),
}


@dataclass
class HubConfig(DataConfig):
    """any dataset of the Hugging Face hub, or local parquet, json and csv"""

    name: str = "hf"
    path: str = setting("", "a hub repository, a local folder, or parquet, json or csv", path=True)
    subset: str | None = setting(None, "configuration of the repository, such as de-en")
    files: dict[str, Any] = setting(
        {}, "files of each split: data.files.train=a.csv data.files.validation=b.csv", path=True
    )
    train_split: str = setting("train", "a split or a part of one: \"'train[1%:]'\"")
    validation_split: str = setting("validation", "a split or a part of one: \"'train[:1%]'\"")
    separator: str | None = setting(
        None, "of the cells of csv files: a character, or tab; null: a tab in .tsv files, else a comma"
    )
    source_column: str | None = setting(None, "null: translation.SOURCE, or else SOURCE")
    target_column: str | None = setting(None, "null: translation.TARGET, or else TARGET")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path == "":
            raise ConfigError("data.path is missing: data=hf needs a hub repository, a folder, or parquet, json or csv")
        separator = SEPARATORS.get(self.separator or "", self.separator)
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ConfigError(f"data.separator must be one character, or tab, got {self.separator!r}")
        kind = FORMATS.get(Path(self.path).suffix)
        if kind is not None:
            raise ConfigError(
                f"data.path={self.path} is a file: use data.path={kind} "
                f"data.files.train={self.path} data.files.validation=FILE"
            )
        if self.path in FORMATS.values() and not self.files:  # datasets would take every file of the working directory
            raise ConfigError(f"data.path={self.path} needs files: data.files.train=FILE data.files.validation=FILE")


class Hub(Corpus):
    """The splits of a dataset, read some rows at a time."""

    @property
    def remote(self) -> bool:
        """Whether data.path is a repository of the hub."""
        return self.config.path not in FORMATS.values() and not Path(self.config.path).exists()

    @cached_property
    def tables(self) -> Tables | None:
        """The files, where they lie on this machine and hold tables; None: ``datasets`` reads them."""
        config: HubConfig = self.config
        if self.remote:
            return None
        with using_datasets(f"data.path={config.path}: ") as datasets:
            builder = datasets.load_dataset_builder(**self.place)
        files = builder.config.data_files or {}
        kind = TABLES.get(type(builder.config).__name__)
        paths = [Path(path) for group in files.values() for path in group]
        if kind is None or not all(path.is_file() and path.suffix != ".zip" for path in paths):
            return None
        return Tables({str(name): [kind(Path(path), config.separator) for path in files[name]] for name in files})

    def load(self, split: str, key: str) -> "Dataset":
        """One split (or part of one) of a dataset that ``datasets`` reads; raises DataError with its message."""
        config: HubConfig = self.config
        with using_datasets(f"data.path={config.path}, {key}={split}: ", remote=self.remote) as datasets:
            builder = datasets.load_dataset_builder(**self.place)
            options = self.csv_options if type(builder.config).__name__ == "CsvConfig" else {}
            data = datasets.load_dataset(**self.place, split=split, **options)
        return cast("Dataset", data)

    @property
    def place(self) -> dict[str, Any]:
        """Where ``datasets`` finds the files, and where it puts what it makes of them."""
        config: HubConfig = self.config
        cache = str(Path(config.cache) / "hub")
        return {"path": config.path, "name": config.subset, "data_files": config.files or None, "cache_dir": cache}

    @property
    def csv_options(self) -> dict[str, Any]:
        """What makes ``datasets`` read the cells of a csv file as text."""
        given = [getattr(self.config, f"{side.name}_column") for side in Side]
        names = [*filter(None, given), *(code for side in Side for code in spellings(getattr(self.config, side.name)))]
        separator = self.config.separator
        separated = {} if separator is None else {"sep": SEPARATORS.get(separator, separator)}
        return {"converters": dict.fromkeys(names, str), "keep_default_na": False, **separated}

    def column(self, known: list[Column], side: Side, where: str = "") -> Column:
        """The column of a side among those ``known``: that of the config, ``translation.LANGUAGE``, or LANGUAGE.

        A name with a dot is that of a column, or else of a part of one.  Raises ConfigError where there is none.
        """
        given, language = getattr(self.config, f"{side.name}_column"), getattr(self.config, side.name)
        usual = [name for code in spellings(language) for name in (f"translation.{code}", code)]
        for name in [given] if given else usual:
            found = [column for column in known if ".".join(column) == name]
            if found:
                return min(found, key=len)
        raise ConfigError(
            f"data.{side.name}_column={given or 'null'}: nothing like it for data.{side.name}={language}{where}; "
            f"there are: {', '.join(map('.'.join, known))}"
        )

    def rows(self, split: str, key: str) -> Iterator[tuple[str, str]]:
        """The pairs of a split, some rows at a time."""
        if self.tables is not None:
            yield from ((pair.source, pair.target) for pair in self.local_rows(split, key))
            return
        data = self.load(split, key)
        known = [[name, *part] for name, feature in data.features.items() for part in [[], *inner_names(feature)]]
        source, target = (self.column(known, side) for side in Side)
        read, where = 0, f"{self.config.path} {split}"
        for chunk in data.select_columns(list({source[0]: 0, target[0]: 0})).iter(batch_size=ROWS):
            cells = cast(dict[str, list[Any]], chunk)
            for one, other in zip(cells[source[0]], cells[target[0]], strict=True):
                read += 1
                yield cell_text(one, Place(where, read, source)), cell_text(other, Place(where, read, target))

    def local_rows(self, split: str, key: str) -> Iterator[Pair]:
        """The pairs of a split of local tables, with their places."""
        assert self.tables is not None
        with using_datasets(f"data.path={self.config.path}, {key}={split}: "):
            parts = self.tables.parts(split)
        yield from self.tables.pairs(parts, self.columns_of)

    def columns_of(self, table: Table) -> tuple[Column, Column]:
        """The columns of both sides in a local table."""
        other = table.other_separator() if isinstance(table, CsvTable) else None
        where = f" in {table.path}"
        if other is not None:
            shown = f"'\"{other}\"'" if other in ",;|" else other  # what a shell and the command line take
            where += f", whose separator seems to be another (data.separator={shown})"
        known = table.columns()
        return self.column(known, Side.source, where), self.column(known, Side.target, where)

    def text(self, name: str, split: str, key: str) -> ParallelText:
        """A split in memory; raises DataError for one without rows and for text that is not UTF-8."""
        pairs = list(self.rows(split, key))
        if not pairs:
            raise DataError(f"{key}={split}: it corresponds to no data of data.path={self.config.path}")
        for number, pair in enumerate(pairs):
            for side, text in zip(Side, pair, strict=True):
                if SURROGATE.search(text):
                    raise DataError(f"{self.locate_in(split, key, number, side)}: bytes that are not UTF-8")
        return ParallelText(name, [source for source, _ in pairs], [target for _, target in pairs])

    @cached_property
    def splits(self) -> list[str]:
        """The names of all splits."""
        config: HubConfig = self.config
        if self.tables is not None:
            return [*self.tables.splits]
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
        if self.tables is not None:
            found: list[Any] = self.tables.stamps()
        else:
            found = [self.load(split, "split")._fingerprint for split in splits]
        columns = [config.source, config.target, config.source_column, config.target_column, config.separator]
        return {"splits": splits, "fingerprints": found, "columns": columns}

    def locate(self, number: int, side: Side) -> str:
        return self.locate_in(self.config.train_split, "data.train_split", number, side)

    def locate_in(self, split: str, key: str, number: int, side: Side) -> str:
        """The row, and the file where it is a local one, found by reading again: messages are rare."""
        rows = () if self.tables is None else self.local_rows(split, key)
        for pair in islice(rows, number, None):
            return f"{pair.path} row {pair.row}, {side.name} side"
        return f"{self.config.path}, {split}, row {number + 1}, {side.name} side"


def inner_names(feature: Any) -> list[list[str]]:
    """The names inside a column of dicts, such as the languages of a translation column."""
    from datasets import Translation  # here: see ``using_datasets``

    inner = feature.languages if isinstance(feature, Translation) else feature
    return [[name] for name in inner] if isinstance(inner, dict | list | tuple) else []


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
