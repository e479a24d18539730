"""Checks of what a Python program passes to ``nmt.load`` and a ``Translator``: a TypeError says what is wanted."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from nmt.errors import DataError
from nmt.runs.hub import local_directory

NO_SERIES = (str, bytes, bytearray, Mapping, Set)  # iterable, but no list of texts


def list_of(name: str, wanted: str, types: tuple[type, ...], value: Any) -> list[Any]:
    """The items of a list, tuple or other series, each an instance of ``types``.

    Raises TypeError, with ``name`` and what is ``wanted``, for anything else.
    """
    if isinstance(value, NO_SERIES) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    items = list(value)
    for number, item in enumerate(items):
        if not isinstance(item, types):
            raise TypeError(f"{name} must be {wanted}, got {shown(item)} as number {number}, counted from 0")
    return items


def given_texts(texts: Any, prefixes: Any) -> tuple[list[str], list[str | None] | None]:
    """Texts and prefixes as lists; a str is one text, whose prefix is a str, too.

    Raises TypeError for anything but text, or None for a prefix, and DataError for what is no character.
    """
    if isinstance(texts, str):
        if prefixes is not None and not isinstance(prefixes, str):
            raise TypeError(f"prefixes must be a str or None for one text, got {shown(prefixes)}")
        listed, forced = [texts], [prefixes]
    else:
        listed, forced = list_of("texts", "a str or a list of str", (str,), texts), None
        if prefixes is not None:
            wanted = "a list with a str or None for each text, or None"
            forced = list_of("prefixes", wanted, (str, type(None)), prefixes)
    check_characters("texts", listed)
    check_characters("prefixes", forced or [])
    return listed, forced


def check_characters(name: str, texts: Sequence[str | None]) -> None:
    """Raise DataError for half of a surrogate pair, which is no character, and which no tokenizer takes."""
    for number, text in enumerate(texts):
        if text is not None and has_half_pair(text):
            raise DataError(f"{name}: number {number}, counted from 0, has half of a surrogate pair, no character")


def has_half_pair(text: str) -> bool:
    """Whether a text has half of a surrogate pair."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def given_directories(directory: Any) -> list[Path]:
    """Run directories as a list; one path is one.  Raises TypeError for anything but paths, and for none at all."""
    wanted = "a run directory (str or Path) or a list of them"
    if isinstance(directory, str | os.PathLike):
        return [local_directory(directory)]
    found = list_of("directory", wanted, (str, os.PathLike), directory)
    if not found:
        raise TypeError(f"directory must be {wanted}, got an empty list")
    return [local_directory(path) for path in found]


def check_str(name: str, value: Any) -> None:
    """Raise TypeError unless ``value`` is a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {shown(value)}")


def shown(value: Any) -> str:
    """A value in a message: at most so much of it as shows what it is."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}... ({type(value).__name__})"
