"""Translating a text chunk by chunk, so that a killed command goes on, and writing the corpus at the end."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nmt.atomic import whole_file, whole_folder
from nmt.augment.methods import Job, Line, all_originals
from nmt.checksum import json_with_checksum, parse_json
from nmt.data.checks import SURROGATE, blank
from nmt.errors import DataError, RunError, refusal
from nmt.translate.translator import Translator

CHUNK = 1000  # texts translated between two files: what a kill can lose
SETTINGS = "settings.json"
DROPPED = {
    "blank": "blank",
    "no translation": "translated to nothing",
    "cut": "cut at the limit of length",
    "as the original": "as the pair they were made of",
    "duplicate": "there already",
}


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    jobs: Sequence[Job]
    open_translator: Callable[[Job], Translator]
    output: Path
    suffixes: tuple[str, str]  # languages of the new pairs, source and target
    tag: str | None  # stands in front of each new source
    settings: dict[str, Any]  # all that the translations depend on, in JSON types

    @property
    def parts(self) -> Path:
        """The folder of what is translated already; it is gone when the corpus is there."""
        return self.output.with_name(f"{self.output.name}.parts")


def augment(request: Request, say: Callable[[str], object], progress: Callable[[int], object]) -> dict[str, int]:
    """Translate what is not translated yet, write the corpus, and return how many pairs it has and why others fell.

    ``progress`` is called with the number of lines done since its last call.  Raises RunError where the output is
    there already, belongs to other settings, or cannot be written, DataError where no pair is left.
    """
    if request.output.exists():
        raise RunError(f"output={request.output} is there already; type another folder, or remove it")
    try:
        claim(request, say)
        for number, job in enumerate(request.jobs):
            translate(request, number, job, progress)
        counts = write_corpus(request)
    except OSError as error:
        raise RunError(f"output={request.output}: {refusal(error)}") from None
    shutil.rmtree(request.parts)
    return counts


def claim(request: Request, say: Callable[[str], object]) -> None:
    """Make the folder of parts, or go on in it; raises RunError if it is that of another command."""
    path = request.parts / SETTINGS
    if path.exists():
        try:
            same = parse_json(path.read_text(encoding="utf-8")) == json.loads(json.dumps(request.settings))
        except ValueError:
            same = False
        if not same:
            raise RunError(
                f"output={request.output}: {request.parts} holds the beginning of another command, or of other text; "
                "type another folder, or remove it"
            )
        done = len([*request.parts.glob("*.jsonl")])
        say(f"going on with {request.parts}: {done} parts of up to {CHUNK:,} lines are translated")
        return
    request.parts.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(json_with_checksum(request.settings))


def chunks(job: Job) -> Iterator[tuple[int, list[Line]]]:
    """The lines of a job in numbered chunks; raises DataError for bytes that are not UTF-8."""
    rest, number = job.text.lines(), 0
    while chunk := list(islice(rest, CHUNK)):
        for line in chunk:
            if not line.text.isascii() and SURROGATE.search(line.text):
                raise DataError(f"{line.origin} line {line.number}: bytes that are not UTF-8")
        yield number, chunk
        number += 1


def part_file(request: Request, job: int, chunk: int) -> Path:
    """Where the translations of a chunk are."""
    return request.parts / f"{job:02}-{chunk:08}.jsonl"


def translate(request: Request, number: int, job: Job, progress: Callable[[int], object]) -> None:
    """Translate the chunks of a job that have no file yet; the model is opened for the first of them."""
    translator: Translator | None = None
    for place, chunk in chunks(job):
        path = part_file(request, number, place)
        if not path.exists():
            translator = translator or request.open_translator(job)
            translator.translated = place * CHUNK  # so that sampling draws the same whatever was translated before
            found = translator.hypotheses([line.text for line in chunk], warn=lambda place, message: None)
            rows = [(best[0].text, best[0].finished) if best else ("", True) for best in found]
            with whole_file(path) as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        progress(len(chunk))


def read_part(path: Path, count: int) -> list[tuple[str, bool]]:
    """What ``translate`` wrote; raises RunError where the file is not what it was."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        if len(rows) == count:
            return [(str(text), bool(finished)) for text, finished in rows]
    except (ValueError, TypeError):
        pass
    raise RunError(f"{path} is damaged; remove it and type the command again")


def new_pairs(request: Request) -> Iterator[tuple[tuple[str, str], Job, Line, bool]]:
    """Every pair with its job and the line it was made of; False where its translation was cut."""
    for number, job in enumerate(request.jobs):
        for place, chunk in chunks(job):
            found = read_part(part_file(request, number, place), len(chunk))
            for line, (translation, finished) in zip(chunk, found, strict=True):
                yield job.pair(line.text, translation), job, line, finished


def write_corpus(request: Request) -> dict[str, int]:
    """Filter the pairs and write the folder: both sides, the origin of each pair, and a summary."""
    counts = Counter[str](kept=0)
    originals, seen = {digest(pair) for pair in all_originals(request.jobs)}, set[bytes]()
    source, target = (f"train.{suffix}" for suffix in request.suffixes)
    with whole_folder(request.output) as folder:
        with (
            (folder / source).open("w", encoding="utf-8", newline="\n") as sources,
            (folder / target).open("w", encoding="utf-8", newline="\n") as targets,
            (folder / "origin.tsv").open("w", encoding="utf-8", newline="\n") as origins,
        ):
            for pair, job, line, finished in new_pairs(request):
                key = digest(pair)
                fault = fault_of(pair, line, finished, key in originals, key in seen)
                counts[fault or "kept"] += 1
                if fault is None:
                    seen.add(key)
                    sources.write(f"{request.tag} {pair[0]}\n" if request.tag else f"{pair[0]}\n")
                    targets.write(f"{pair[1]}\n")
                    origins.write(f"{' '.join(job.runs)}\t{line.origin}\t{line.number}\n")
        if not counts["kept"]:
            left_out = ", ".join(f"{DROPPED[name]}: {count:,}" for name, count in counts.items() if count)
            raise DataError(f"output={request.output}: no pair is kept ({left_out or 'the text has no lines'})")
        summary = {"pairs": counts, "settings": request.settings}
        (folder / "augment.json").write_text(json_with_checksum(summary), encoding="utf-8")
    return dict(counts)


def fault_of(pair: tuple[str, str], line: Line, finished: bool, original: bool, seen: bool) -> str | None:
    """Why a pair is left out, a key of DROPPED; None for one that is kept."""
    if blank(line.text):
        return "blank"
    if any(map(blank, pair)):
        return "no translation"
    if not finished:
        return "cut"
    return "as the original" if original else "duplicate" if seen else None


def digest(pair: tuple[str, str]) -> bytes:
    """Sixteen bytes that stand for a pair."""
    return hashlib.blake2b("\n".join(pair).encode("utf-8", "surrogatepass"), digest_size=16).digest()
