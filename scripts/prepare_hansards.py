"""Make data=hansards_enfr of the archives of the NAACL 2003 shared task on word alignment (data/README.md says how).

    python scripts/prepare_hansards.py ARCHIVE FOLDER

ARCHIVE is the folder English-French that the task's archives unpack into: training/*.e and *.f, test/test.e and test.f,
and answers/test.wa.nonullalign, all of them in Latin-1.  FOLDER gets train, dev and gold in UTF-8 without accents, and
gold.align in Pharaoh form.  Training pairs have at most 18 words a side; the last 1,000 of them are dev.
"""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST, DEV = 18, 1000
LANGUAGES = {"en": "e", "fr": "f"}  # by their endings in the archive


def sentences(paths: Iterable[Path]) -> Iterator[str]:
    """The lines of Latin-1 files, without the marks <s snum=...> and </s>, accents and superfluous spaces."""
    for path in sorted(paths):
        for line in path.read_text(encoding="latin-1").split("\n")[:-1]:
            words = [word for word in line.split() if not word.startswith(("<s", "snum=", "</s"))]
            spelled = unicodedata.normalize("NFD", " ".join(words))
            yield "".join(c for c in spelled if not unicodedata.combining(c))


def pharaoh(answers: Path, pairs: int) -> list[str]:
    """The links of each pair, from lines "pair English French [S|P]" that count from 1."""
    links: list[list[str]] = [[] for _ in range(pairs)]
    for line in answers.read_text(encoding="latin-1").splitlines():
        pair, english, french, *kind = line.split()
        between = "p" if kind == ["P"] else "-"
        links[int(pair) - 1].append(f"{int(english) - 1}{between}{int(french) - 1}")
    return [" ".join(row) for row in links]


def write(folder: Path, stem: str, pairs: list[tuple[str, ...]]) -> None:
    """Both sides of a set."""
    for language, side in zip(LANGUAGES, zip(*pairs, strict=True), strict=True):
        (folder / f"{stem}.{language}").write_text("".join(line + "\n" for line in side), encoding="utf-8")


def prepare(archive: Path, folder: Path) -> None:
    """Write everything into ``folder``."""
    endings = LANGUAGES.values()
    training = zip(*(sentences((archive / "training").glob(f"*.{end}")) for end in endings), strict=True)
    short = [pair for pair in training if all(1 <= len(side.split()) <= LONGEST for side in pair)]
    gold = list(zip(*(sentences([archive / "test" / f"test.{end}"]) for end in endings), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "train", short[:-DEV])
    write(folder, "dev", short[-DEV:])
    write(folder, "gold", gold)
    links = pharaoh(archive / "answers" / "test.wa.nonullalign", len(gold))
    (folder / "gold.align").write_text("".join(row + "\n" for row in links), encoding="utf-8")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
