"""Numbers, URLs and emoji, which a translation should have as its source has them."""

import re
import unicodedata
from collections import Counter

NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
URL = re.compile(r"(?:(?:https?|ftp)://|www\.)[^\s<>\"']+")
# The blocks of Unicode that pictures are in, symbols of text presentation (U+2600 to U+27BF) among them.
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
END_OF_SENTENCE = ".,;:!?)]}"  # what follows a URL rather than belongs to it


def urls_in(text: str) -> Counter[str]:
    """The URLs of a text, each as often as it is there: http(s)://, ftp:// and www. up to white space or a quote."""
    return Counter(found.rstrip(END_OF_SENTENCE) for found in URL.findall(text))


def numbers_in(text: str) -> Counter[str]:
    """The numbers of a text outside its URLs by their digits alone: 1,000.5 and 1.000,5 are the same number."""
    return Counter(
        "".join(str(unicodedata.decimal(c)) for c in found if c.isdecimal())
        for found in NUMBER.findall(URL.sub(" ", text))
    )


def emoji_in(text: str) -> Counter[str]:
    """The emoji of a text; of one made of several characters (a flag, a family) each that is a picture."""
    return Counter(EMOJI.findall(text))


class CopyCounts:
    """How many numbers and URLs of sources are not in their translations, and the other way around."""

    def __init__(self) -> None:
        self.counts = {"numbers": Counter[str](), "URLs": Counter[str]()}

    def add(self, source: str, translation: str) -> None:
        """Count a text and its translation."""
        for name, find in (("numbers", numbers_in), ("URLs", urls_in)):
            there, here = find(source), find(translation)
            parts = {"of": there, "dropped": there - here, "invented": here - there}
            self.counts[name].update({key: part.total() for key, part in parts.items()})

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {found['dropped']:,} of {found['of']:,} dropped, {found['invented']:,} invented"
            for name, found in self.counts.items()
        )
