"""Tables of parallel text in local files (csv, json, parquet), row by row, each cell as it is written.

Text columns are text: a csv cell ``NA``, ``null`` or ``007`` is its characters, and so is a number in json.  What is no
text in another way, such as a column of dates in parquet, is refused with its file, row and column.
"""

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from nmt.data.files import stamp
from nmt.data.textfile import lines
from nmt.errors import DataError

ROWS = 1000  # of parquet, read at a time
# The usual separators by what is typed for them; any other character stands for itself.
SEPARATORS = {"tab": "\t", "\\t": "\t", ",": ",", ";": ";", "|": "|"}

Column = list[str]  # the name of a column, and of the part of it (translation, en) where its cells have parts
Cells = Mapping[str, Any]


class Table(ABC):
    """A file of rows.  Raises DataError, with the file, for one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def columns(self) -> list[Column]:
        """Every column, and every part of one."""

    @abstractmethod
    def rows(self, names: Sequence[str]) -> Iterator[Cells]:
        """The cells of each row by the name of their column, those of ``names`` at least."""

    def count(self) -> int:
        """How many rows there are."""
        return sum(1 for _ in self.rows([]))


class CsvTable(Table):
    """Cells between separators; the first line names the columns."""

    def __init__(self, path: Path, separator: str | None) -> None:
        super().__init__(path)
        tabs = ".tsv" in path.suffixes
        self.separator = ("\t" if tabs else ",") if separator is None else SEPARATORS.get(separator, separator)

    def records(self) -> Iterator[list[str]]:
        """The cells of the header and of each row, without lines that are empty."""
        reader = csv.reader((line + "\n" for line in lines(self.path)), delimiter=self.separator, strict=True)
        header = 0
        try:
            for record in reader:
                header = header or len(record)
                if record and len(record) != header:
                    raise DataError(
                        f"{self.path} line {reader.line_num}: {len(record)} cells, where the first line has {header} "
                        "(a cell that holds a separator is written between quotation marks)"
                    )
                if record:
                    yield record
        except csv.Error as error:
            raise DataError(
                f"{self.path} line {reader.line_num}: {error} (a cell that begins with a quotation mark ends with one, "
                "and inside it each mark is written twice)"
            ) from None

    def header(self) -> list[str]:
        """The names of the columns."""
        names = next(self.records(), None)
        if names is None:
            raise DataError(f"{self.path} is empty: a csv file begins with the names of its columns")
        return names

    def columns(self) -> list[Column]:
        return [[name] for name in self.header()]

    def rows(self, names: Sequence[str]) -> Iterator[Cells]:
        header = self.header()
        for name in names:
            if header.count(name) > 1:
                raise DataError(f"{self.path}: {header.count(name)} columns are called {name!r}")
        for record in islice(self.records(), 1, None):
            yield dict(zip(header, record, strict=True))

    def other_separator(self) -> str | None:
        """The separator that the header seems to have, as data.separator takes it; None where this one parts it."""
        header = self.header()
        found = [name for name, separator in SEPARATORS.items() if len(header) == 1 and separator in header[0]]
        return found[0] if found else None


class JsonTable(Table):
    """An object a line, or an array of objects; numbers are read as they are written."""

    def columns(self) -> list[Column]:
        first = next(self.rows([]), None)
        if first is None:
            raise DataError(f"{self.path} has no rows")
        parts = {name: [*cell] if isinstance(cell, dict) else [] for name, cell in first.items()}
        return [[name, *part] for name in parts for part in ([], *([part] for part in parts[name]))]

    def rows(self, names: Sequence[str]) -> Iterator[Cells]:
        numbered = ((number, line) for number, line in enumerate(lines(self.path), 1) if line.strip())
        for number, line in numbered:
            if line.lstrip().startswith("["):
                rest = "\n".join([line, *(line for _, line in numbered)])
                yield from (self.checked(row, f"row {n}") for n, row in enumerate(self.parse(rest, "line 1"), 1))
            else:
                yield self.checked(self.parse(line, f"line {number}"), f"line {number}")

    def parse(self, text: str, where: str) -> Any:
        """The value of some JSON, its numbers as strings."""
        try:
            return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            expected = "expected an object a line, or an array of objects"
            raise DataError(f"{self.path} {where} is not JSON: {error} ({expected})") from None

    def checked(self, row: Any, where: str) -> Cells:
        """A row, which must be an object."""
        if not isinstance(row, dict):
            raise DataError(f"{self.path} {where}: expected an object with columns, got {row!r:.40}")
        return row


class ParquetTable(Table):
    """A parquet file, read some rows at a time."""

    def columns(self) -> list[Column]:
        with self.opened() as file:
            schema = file.schema_arrow
        parts = {field.name: field.type if pa.types.is_struct(field.type) else [] for field in schema}
        return [[name, *part] for name in parts for part in ([], *([inner.name] for inner in parts[name]))]

    def rows(self, names: Sequence[str]) -> Iterator[Cells]:
        with self.opened() as file:
            for batch in file.iter_batches(ROWS, columns=list(names)):
                yield from batch.to_pylist()

    def count(self) -> int:
        with self.opened() as file:
            return file.metadata.num_rows

    def opened(self) -> pq.ParquetFile:
        """The file."""
        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.path} cannot be read as parquet: {str(error).partition('.')[0]}") from None


class Place(NamedTuple):
    """Where a cell stands."""

    path: str | Path
    row: int  # from 1, without a header
    column: Column

    def __str__(self) -> str:
        return f"{self.path} row {self.row}, column {'.'.join(self.column)}"


def cell_text(value: Any, place: Place) -> str:
    """The text of a cell, of which ``place`` names the part; nothing (null) is blank text.

    Line breaks become spaces.  Raises DataError, with the place, for anything else than text.
    """
    for name in place.column[1:]:
        if not isinstance(value, dict | None):
            raise DataError(f"{place}: {type(value).__name__} where {name!r} should be a part: {value!r:.60}")
        value = value and value.get(name)
    if not isinstance(value, str | None):
        raise DataError(f"{place}: {type(value).__name__} where text should be: {value!r:.60}")
    return re.sub(r"[\r\n]+", " ", value or "")


class Pair(NamedTuple):
    """The text of a row, and where it comes from."""

    source: str
    target: str
    path: Path
    row: int  # from 1, without a header


class Part(NamedTuple):
    """Some rows of a split, by their numbers from 0."""

    split: str
    first: int | None = None
    stop: int | None = None  # the number after the last; None: to the end


class Tables:
    """The splits of a dataset in local files: for each name, the tables that follow one another."""

    def __init__(self, splits: Mapping[str, Sequence[Table]]) -> None:
        self.splits = splits

    def parts(self, spec: str) -> list[Part]:
        """What ``train[1%:]+extra`` consists of, in the syntax of ``datasets``.

        Raises DataError for a split that does not exist, ValueError for what ``datasets`` cannot read.
        """
        from datasets import ReadInstruction  # here: it brings pandas and takes a second

        if spec in self.splits:
            return [Part(spec)]
        names = [re.split(r"[\[(]", part)[0].strip() for part in spec.split("+")]
        for name in names:
            if name not in self.splits:
                raise ValueError(f"there is no split {name!r}, only: {', '.join(self.splits)}")
        sizes = {name: sum(table.count() for table in self.splits[name]) for name in names}
        absolute: list[Any] = ReadInstruction.from_spec(spec).to_absolute(sizes)
        return [Part(str(part.splitname), part.from_, part.to) for part in absolute]

    def pairs(self, parts: Sequence[Part], columns: Callable[[Table], tuple[Column, Column]]) -> Iterator[Pair]:
        """The rows of parts of splits; ``columns`` says which columns of a table hold source and target."""
        for split, first, stop in parts:
            yield from islice((pair for t in self.splits[split] for pair in pairs_of(t, *columns(t))), first, stop)

    def stamps(self) -> list[list[Any]]:
        """Name, size and time of change of every file."""
        return [stamp(table.path) for tables in self.splits.values() for table in tables]


def pairs_of(table: Table, source: Column, target: Column) -> Iterator[Pair]:
    """The text of two columns; raises DataError, with file, row and column, for a cell that is no text."""
    for row, cells in enumerate(table.rows(list(dict.fromkeys((source[0], target[0])))), 1):
        one, other = (cell_text(cells.get(c[0]), Place(table.path, row, c)) for c in (source, target))
        yield Pair(one, other, table.path, row)
