"""The results of scoring sets, below ``scores`` in a run directory: where they lie and how they are written.

scores/SET/ has those that are made as training makes them: of the whole set, with the best checkpoint, decoding as
config.yaml says.  Results made in another way lie in a folder inside it that is named by what is different
(scores/SET/limit_20-beam_size_3), so that they never take the place of the run's own.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmt.config import to_tree
from nmt.device import Precision
from nmt.errors import RunError
from nmt.runs.directory import read_json, run_name, short_hash, write_json, write_text_file
from nmt.runs.lock import one_after_another
from nmt.search import DecodeConfig

RESULTS_FILE = "results.json"
SOURCE, REFERENCE, HYPOTHESES = "source.txt", "reference.txt", "hypotheses.txt"
TEXTS = (SOURCE, REFERENCE, HYPOTHESES)
# Keys of decode that say how fast a translation is found, or that are written otherwise.
NOT_A_WAY = ("batch_size", "precision")

Way = dict[str, Any]


def set_folder(name: str) -> str:
    """The folder of a set: its name, or one that no other set has where the name holds what a folder's cannot."""
    folder = run_name([name])
    return folder if folder == name else f"{folder}-{short_hash(name)}"


def way(checkpoint: str, limit: int | None, precision: Precision, decode: DecodeConfig) -> Way:
    """What a run's results on a set depend on besides the set: checkpoint, limit, precision and the keys of decode.

    ``limit`` is None for a whole set, ``precision`` that which was used, never auto.
    """
    keys = {key: value for key, value in to_tree(decode).items() if key not in NOT_A_WAY}
    return {"checkpoint": checkpoint, "limit": limit, "precision": precision.name, **keys}


def different(made: Way, usual: Way) -> Way:
    """What of one way is otherwise in another; a key that only one of them has, because a version lacks it, is not."""
    return {key: value for key, value in made.items() if key in usual and usual[key] != value}


def read_results(folder: Path) -> dict[str, Any]:
    """FOLDER/results.json; empty where there is none that can be read."""
    with contextlib.suppress(RunError):
        found = read_json(folder / RESULTS_FILE)
        return found if isinstance(found, dict) else {}
    return {}


def difference_from(of_set: Path, made: Way, usual: Way) -> Way:
    """How results are made differently from those that belong in the folder of their set.

    Where the usual precision depends on the machine (auto), it is that of the results that are there.
    """
    there = read_results(of_set).get("precision")
    return different(made, usual | {"precision": there or usual["precision"]})


def folder_of(of_set: Path, difference: Way) -> Path:
    """Where results belong: in the folder of their set, or in one inside it if they are made differently."""
    return of_set / run_name([f"{key}_{value}" for key, value in difference.items()]) if difference else of_set


def comparison_file(of_run: Path, of_baseline: Path) -> Path:
    """Where the paired tests of two runs' results are written: beside the results of the first."""
    return of_run / f"{run_name(['against', str(of_baseline)])}.json"


def put_aside(of_set: Path, usual: Way, total: int) -> None:
    """Move results that lie in the folder of a set of ``total`` sentences, and do not belong there, to where they do.

    Earlier versions wrote there whatever was made last, and a run that is resumed may decode differently from then on.
    Raises RunError where the disk refuses.
    """
    found = read_results(of_set)
    if not {"checkpoint", "sentences", "decode"} <= found.keys():
        return
    limit = None if found["sentences"] == found.get("set_sentences", total) else found["sentences"]
    decode = {key: value for key, value in found["decode"].items() if key not in NOT_A_WAY}
    difference = different({"checkpoint": found["checkpoint"], "limit": limit, **decode}, usual)
    folder = folder_of(of_set, difference)
    if difference and not folder.exists():
        try:
            folder.mkdir()
            for name in TEXTS:
                (of_set / name).rename(folder / name)
            write_json(folder / RESULTS_FILE, found | {"difference": difference})
            (of_set / RESULTS_FILE).unlink()
        except OSError as error:
            raise RunError(f"{folder} could not be written: {error.strerror}") from None


def write_results(folder: Path, tree: Mapping[str, Any], texts: Sequence[Sequence[str]]) -> None:
    """Write results.json and the sentences: `sacrebleu reference.txt -i hypotheses.txt` agrees with it.

    ``texts`` are the lines of the files TEXTS.  Scores by other metrics of the same sentences, which were there before,
    stay; so do those that another process writes at the same time.  Raises RunError where the disk refuses.
    """
    contents = {name: "".join(f"{line}\n" for line in lines) for name, lines in zip(TEXTS, texts, strict=True)}
    with one_after_another(folder):
        before, result = read_results(folder), dict(tree)
        if before and all(same_content(folder / name, text) for name, text in contents.items()):
            result["scores"] = before.get("scores", {}) | result["scores"]
            result["by_length"] = result["by_length"] or before.get("by_length", [])
        for name, text in contents.items():
            write_text_file(folder / name, text)
        write_json(folder / RESULTS_FILE, result)


def same_content(path: Path, text: str) -> bool:
    """Whether a text file is there and holds this text."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
