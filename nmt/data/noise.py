"""Noise in the training text (data.noise), so that a model learns to translate what people really type.

Every epoch draws it anew; what is drawn for a pair is a function of a seed and the pair's number, in every process.
Text that is validated on or tested is never changed.

- case: the source in lower case, or both sides in capitals, each of them half of the time.
- typos: a word of the source loses a letter, has one twice, two neighbours exchanged or one in the place of another
  (the four slips of Damerau 1964, "A technique for computer detection and correction of spelling errors"; his letter
  too many is here one typed twice).  The target stays as it is: the model learns to read over the slip.
- emoji, urls: both sides end with the same emoji, or with the same address, which the model learns to copy.  They stand
  at the end, so that word alignments hold: their links count words from the start.
"""

import random
import string
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np

from nmt.data import counter_random
from nmt.settings import check_ranges, setting

# All of Unicode 6.1, as old as any emoji that a keyboard offers: faces, animals, and what people send on holidays.
EMOJI = [
    chr(code)
    for first, last in ((0x1F600, 0x1F640), (0x1F400, 0x1F43E), (0x1F380, 0x1F393))
    for code in range(first, last)
]
DOMAINS = ("com", "org", "net", "de", "fr", "eu", "io")
Draw = Callable[[], float]


@dataclass
class NoiseConfig:
    """How often the training text is changed (data.noise.*)."""

    case: float = setting(
        0.0, "share of the pairs whose source is in lower case, or both sides in capitals", least=0, most=1
    )
    typos: float = setting(0.0, "share of the source's words that get a slip of the fingers", least=0, most=1)
    emoji: float = setting(0.0, "share of the pairs that end with the same emoji on both sides", least=0, most=1)
    urls: float = setting(0.0, "share of the pairs that end with the same web address on both sides", least=0, most=1)

    def __post_init__(self) -> None:
        check_ranges(self, "data.noise")

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))

    def __str__(self) -> str:
        """As it stands in the table of the data."""
        of = {"typos": "the source's words"}
        shown = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        return ", ".join(f"{name} in {rate:.1%} of {of.get(name, 'the pairs')}" for name, rate in shown.items())


def add_noise(
    texts: Sequence[str], side: str, config: NoiseConfig, seed: int, first: int, tags: Collection[str] = ()
) -> list[str]:
    """One side ("source" or "target") of some pairs, the first of which is number ``first``, with noise.

    With the same seed both sides of a pair are changed alike.  A tag that begins a text stays as it is.
    """
    keys = counter_random.keys(seed, first + np.arange(len(texts))).tolist()
    return [noisy(text, side, config, random.Random(key).random, tags) for text, key in zip(texts, keys, strict=True)]


def noisy(text: str, side: str, config: NoiseConfig, draw: Draw, tags: Collection[str] = ()) -> str:
    """One side of a pair; ``draw`` gives the numbers of the pair, from 0 to 1, in the same order for both sides."""
    tag, space, rest = text.partition(" ")
    if tag not in tags:
        tag, space, rest = "", "", text
    changes_case, capitals = draw() < config.case, draw() < 0.5
    ends = [make(draw) for rate, make in ((config.emoji, some_emoji), (config.urls, some_address)) if draw() < rate]
    if side == "source" and config.typos:  # last of what is drawn: the target draws as much before
        rest = " ".join(with_slip(word, draw) if draw() < config.typos else word for word in rest.split(" "))
    if changes_case and capitals:
        rest = rest.upper()
    elif changes_case and side == "source":
        rest = rest.lower()
    return tag + space + " ".join([rest, *ends])


def with_slip(word: str, draw: Draw) -> str:
    """A word of at least two letters with one of four slips; another word as it is."""
    letters = [i for i, c in enumerate(word) if c.isalpha()]
    if len(letters) < 2:
        return word
    kind, at = int(4 * draw()), letters[int(len(letters) * draw())]
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + 2 * word[at] + word[at + 1 :]
    if kind == 2:
        here = next((i for i in (at, at - 1) if i in letters and i + 1 in letters), None)
        return word if here is None else word[:here] + word[here + 1] + word[here] + word[here + 2 :]
    other = word[letters[int(len(letters) * draw())]]
    return word[:at] + (other if other != word[at] else string.ascii_lowercase[int(26 * draw())]) + word[at + 1 :]


def some_emoji(draw: Draw) -> str:
    """One emoji, once to three times."""
    return EMOJI[int(len(EMOJI) * draw())] * (1 + int(3 * draw()))


def some_address(draw: Draw) -> str:
    """A made-up web address: a name of 3 to 10 letters, and half of the time a page of 2 to 6 characters."""
    host = drawn_letters(string.ascii_lowercase, 3 + int(8 * draw()), draw)
    page = (
        "/" + drawn_letters(string.ascii_lowercase + string.digits, 2 + int(5 * draw()), draw) if draw() < 0.5 else ""
    )
    return f"https://{host}.{DOMAINS[int(len(DOMAINS) * draw())]}{page}"


def drawn_letters(alphabet: str, count: int, draw: Draw) -> str:
    """So many characters of an alphabet."""
    return "".join(alphabet[int(len(alphabet) * draw())] for _ in range(count))
