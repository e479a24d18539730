"""Faults that a mean score hides: numbers, URLs, emoji, repetitions, invented words, short sources, empty lines."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from nmt.data.checks import blank
from nmt.eval.copying import NUMBER, emoji_in, urls_in

WORD = re.compile(r"[^\W\d_]+")
REPEATED = 4  # words of an n-gram that stands twice
SHORT = 3  # words of a source that counts as short


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    part: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.part / self.of if self.of else None

    def __str__(self) -> str:
        return "-" if self.value is None else f"{self.value:7.2%}  {self.part:,} of {self.of:,}"


@dataclass(frozen=True)
class Challenges:
    """Shares of a set's translations; what needs something that was not given is None."""

    numbers_copied: Share  # of the numbers that source and reference share, those in the translation, too
    numbers_invented: Share  # of the numbers of the translations, those that neither source nor reference has
    urls_copied: Share  # as numbers_copied
    urls_invented: Share  # as numbers_invented
    emoji_copied: Share  # as numbers_copied
    repeated: Share  # translations in which REPEATED words follow one another twice, though not in the reference
    unseen_words: Share | None  # words of the translations that are no word of the training target
    short_right: Share  # of the sources of 1 to SHORT words, those whose translation is the reference
    empty: Share  # blank translations of sources that are not blank
    cut: Share  # translations that reached the limit of length before end-of-sentence
    unaligned: Share | None  # words of the sources that no word of their translation is aligned with

    def to_dict(self) -> dict[str, dict[str, int] | None]:
        """By name: ``part`` and ``of``, or None."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [(TITLES[key], getattr(self, key)) for key in TITLES]
        return "\n".join(f"  {title:<{max(map(len, TITLES.values()))}} {share}" for title, share in rows if share)


TITLES = {
    "numbers_copied": "numbers copied right",
    "numbers_invented": "numbers invented",
    "urls_copied": "URLs copied right",
    "urls_invented": "URLs invented",
    "emoji_copied": "emoji copied right",
    "repeated": f"{REPEATED} words repeated",
    "unseen_words": "words not in training",
    "short_right": f"right, sources of 1-{SHORT} words",
    "empty": "empty translations",
    "cut": "cut translations",
    "unaligned": "source words unaligned",
}


def challenges(
    sources: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    finished: Sequence[bool],
    known: Callable[[str], bool] | None = None,
    unaligned: Share | None = None,
) -> Challenges:
    """What went wrong in the translations of a set, sentence by sentence.

    ``finished`` says of each translation whether it ended by itself; ``known`` of a word in lower case whether the
    training target has it; ``unaligned`` is counted by ``unaligned_words``.
    """
    texts = list(zip(sources, references, hypotheses, strict=True))
    pairs = list(zip(references, hypotheses, strict=True))
    short = [pair for source, pair in zip(sources, pairs, strict=True) if 1 <= len(source.split()) <= SHORT]
    there = [(h, f) for s, h, f in zip(sources, hypotheses, finished, strict=True) if not blank(s)]
    words = [word.lower() for line in hypotheses for word in WORD.findall(line)]
    return Challenges(
        total(copied(*three, written_numbers_in) for three in texts),
        total(invented(*three, written_numbers_in) for three in texts),
        total(copied(*three, urls_in) for three in texts),
        total(invented(*three, urls_in) for three in texts),
        total(copied(*three, emoji_in) for three in texts),
        Share(sum(repeats(h) > repeats(r) for r, h in pairs), len(pairs)),
        None if known is None else Share(sum(not known(word) for word in words), len(words)),
        Share(sum(r.strip() == h.strip() for r, h in short), len(short)),
        Share(sum(blank(h) for h, _ in there), len(there)),
        Share(sum(not f for _, f in there), len(there)),
        unaligned,
    )


def written_numbers_in(text: str) -> Counter[str]:
    """The numbers of a text as they are written: digits, with points, commas, colons or slashes between them."""
    return Counter(NUMBER.findall(text))


def copied(source: str, reference: str, hypothesis: str, find: Callable[[str], Counter[str]]) -> Share:
    """Of what ``find`` finds in source and reference, as often as both have it: what the translation has, too."""
    wanted = find(source) & find(reference)
    return Share((wanted & find(hypothesis)).total(), wanted.total())


def invented(source: str, reference: str, hypothesis: str, find: Callable[[str], Counter[str]]) -> Share:
    """Of what ``find`` finds in the translation, what neither source nor reference has so often."""
    there = find(hypothesis)
    return Share((there - (find(source) | find(reference))).total(), there.total())


def total(shares: Iterable[Share]) -> Share:
    """The share of all together."""
    listed = list(shares)
    return Share(sum(share.part for share in listed), sum(share.of for share in listed))


def repeats(line: str) -> int:
    """How many times an n-gram of REPEATED words stands in a line that has stood there before."""
    words = line.lower().split()
    grams = Counter(tuple(words[i : i + REPEATED]) for i in range(len(words) - REPEATED + 1))
    return grams.total() - len(grams)


def words_of(lines: Iterable[str]) -> set[str]:
    """All words of a text in lower case, to be asked for by ``known`` of ``challenges``."""
    return {word.lower() for line in lines for word in WORD.findall(line)}


def unaligned_words(links: Iterable[tuple[Iterable[tuple[int, int]], int]]) -> Share:
    """Over pairs (links, number of source words): the source words in no link (source word, target word)."""
    alone = total = 0
    for pair, words in links:
        alone += words - len({source for source, _ in pair if source < words})
        total += words
    return Share(alone, total)
