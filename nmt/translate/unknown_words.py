"""Replacing the unknown words of a translation by the source words they attend to, for word-level models."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nmt.data.textfile import strict_lines
from nmt.errors import DataError


def replace_unknown(
    words: Sequence[str],
    unknown: Sequence[bool],
    weights: np.ndarray,
    source: Sequence[str],
    dictionary: Mapping[str, str],
) -> list[str]:
    """Each unknown target word j becomes d(x_i), i = argmax_i w[j, i]   (Jean et al. 2015, section 3.3).

    d(x) is the word's entry in ``dictionary``, and else x itself, which suits names and numbers (Luong, Sutskever et
    al. 2015, section 3.1).  weights (len(words), len(source)); of equal weights the first counts.  A word that
    attends to no source word stays as it is.
    """
    replaced = list(words)
    for j in np.flatnonzero(unknown):
        row = weights[j]
        if row.size and row.max() > 0:
            word = source[int(row.argmax())]
            replaced[j] = dictionary.get(word, word)
    return replaced


def read_dictionary(path: Path, normalize: Callable[[str], str]) -> dict[str, str]:
    """A UTF-8 file, plain or compressed, with a source word and its translation in each line, separated by white space.

    ``normalize`` brings source words to the form that the model reads.  Of several entries for a word the first
    counts; blank lines do not.  Raises DataError, naming file and line, for any other number of columns.
    """
    found: dict[str, str] = {}
    try:
        lines = strict_lines(path)
    except DataError as error:
        raise DataError(f"translate.dictionary={path}: {error}") from None
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if len(columns) not in (0, 2):
            raise DataError(f"{path}:{number}: a source word and its translation make two columns, not {len(columns)}")
        if columns:
            found.setdefault(normalize(columns[0]), columns[1])
    return found
