"""What nmt.translate reads: source texts, line by line, and the prefixes of their translations."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nmt.cli.streams import Lines, count_lines, decode
from nmt.data.checks import blank
from nmt.errors import DataError

SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold them alone, UTF-8 cannot


class Window(NamedTuple):
    """Lines that are translated together."""

    sources: Sequence[str]
    prefixes: Sequence[str] | None = None  # one for each source, blank where there is none


def read_lines(lines: Lines, name: str, first: int, most: int) -> Iterator[list[str]]:
    """The lines as text: at most ``first`` at once, then twice as many, up to ``most``.

    Raises DataError, with the ``name`` of the input, for compressed and for UTF-16 text.
    """
    number = 0
    for window in lines.windows(first, most):
        yield [decode(line, number + i, name) for i, line in enumerate(window, 1)]
        number += len(window)


def parse_json_lines(windows: Iterable[Sequence[str]], name: str) -> Iterator[Window]:
    """Lines of JSON objects to sources and prefixes; ``name`` is what messages call the input."""
    number = 0
    for window in windows:
        parsed = [parse_json(line, f"{name}: line {number + i}") for i, line in enumerate(window, 1)]
        yield Window([source for source, _ in parsed], [prefix for _, prefix in parsed])
        number += len(window)


def parse_json(line: str, where: str) -> tuple[str, str]:
    """The source and the prefix of a line {"source": ..., "prefix": ...}; a blank line is a blank source.

    The prefix may be absent or null; other keys are ignored.  Line breaks in a value become spaces, and lone surrogates
    U+FFFD.  Raises DataError, beginning with ``where``, for anything else.
    """
    if blank(line):
        return "", ""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error} (translate.input_format=jsonl)") from None
    if not isinstance(value, dict) or "source" not in value:
        raise DataError(f'{where} is not a JSON object with a "source" (translate.input_format=jsonl)')
    texts = [value["source"], "" if value.get("prefix") is None else value["prefix"]]
    for key, text in zip(("source", "prefix"), texts, strict=True):
        if not isinstance(text, str):
            raise DataError(f'{where}: "{key}" must be a string, got {json.dumps(text):.60}')
    source, prefix = (SURROGATE.sub("\ufffd", re.sub(r"[\r\n]+", " ", text)) for text in texts)
    return source, prefix


def add_prefixes(windows: Iterable[Sequence[str]], prefixes: Lines, name: str, source: str) -> Iterator[Window]:
    """Each line of the input with the line of a prefix file.

    ``name`` and ``source`` are what messages call the prefix file and the input.  Raises DataError where one ends
    before the other, and for prefixes that are not UTF-8.
    """
    read = 0
    for window in windows:
        given: list[bytes] = []
        while len(given) < len(window) and (more := prefixes.take(len(window) - len(given))):
            given += more
        if len(given) < len(window):
            raise DataError(
                f"{name} has {read + len(given):,} lines, and {source} at least {read + len(window):,}: "
                "each line of input needs a line"
            )
        yield Window(window, [decode(line, read + i, name, strict=True) for i, line in enumerate(given, 1)])
        read += len(window)
    if prefixes.take(1):
        raise DataError(f"{name} has more than the {read:,} lines of {source}: each line of input needs one")


def compare_line_counts(prefixes: int, name: str, sources: int, source: str) -> None:
    """Raise DataError if two descriptors are those of files with different numbers of lines left to read."""
    counts = count_lines(prefixes), count_lines(sources)
    if None not in counts and counts[0] != counts[1]:
        raise DataError(f"{name} has {counts[0]:,} lines, and {source} {counts[1]:,}: each line of input needs one")
