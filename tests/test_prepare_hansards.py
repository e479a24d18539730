"""scripts/prepare_hansards.py on an archive of the shared task's layout, small and invented."""

import subprocess
import sys
from pathlib import Path

from nmt.data.pharaoh import parse_pharaoh

SCRIPT = Path(__file__).parents[1] / "scripts" / "prepare_hansards.py"


def archive(folder: Path) -> Path:
    """1,010 short pairs, one long one and two gold pairs, in Latin-1."""
    for name in ("training", "test", "answers"):
        (folder / name).mkdir(parents=True)
    long = " ".join(["word"] * 19)
    sides = {
        "e": [*(f"question {i} ." for i in range(1010)), long],
        "f": [*(f"été numéro {i} ." for i in range(1010)), "court ."],
    }
    for end, lines in sides.items():
        half = len(lines) // 2
        for number, part in enumerate((lines[:half], lines[half:])):
            text = "".join(line + "\n" for line in part)
            (folder / f"training/debates.{number:03}.{end}").write_text(text, encoding="latin-1")
    marked = "<s snum=0001> {} </s>\n<s snum=0002> {} </s>\n"
    (folder / "test/test.e").write_text(marked.format("hear , hear !", "no ."), encoding="latin-1")
    (folder / "test/test.f").write_text(marked.format("très bien !", "non ."), encoding="latin-1")
    answers = "0001 1 1 S\n0001 4 3 P\n0002 1 1 S\n0002 2 2 S\n"
    (folder / "answers/test.wa.nonullalign").write_text(answers, encoding="latin-1")
    return folder


def test_everything_that_the_corpus_needs_is_made(tmp_path):
    """Accents are folded, a long pair is left out, dev is what comes last, and links count from 0."""
    subprocess.run([sys.executable, SCRIPT, archive(tmp_path / "in"), tmp_path / "out"], check=True)
    made = {path.name: path.read_text(encoding="utf-8").splitlines() for path in (tmp_path / "out").iterdir()}
    assert made["train.fr"] == [f"ete numero {i} ." for i in range(10)]
    assert made["dev.en"] == [f"question {i} ." for i in range(10, 1010)]
    sizes = {stem: {len(made[f"{stem}.{side}"]) for side in ("en", "fr")} for stem in ("train", "dev", "gold")}
    assert sizes == {"train": {10}, "dev": {1000}, "gold": {2}}
    assert made["gold.fr"] == ["tres bien !", "non ."]
    first, second = parse_pharaoh(made["gold.align"], "gold.align")
    assert (first.sure, first.possible - first.sure) == ({(0, 0)}, {(3, 2)})
    assert second.sure == second.possible == {(0, 0), (1, 1)}
