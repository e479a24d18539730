"""From a data config to tokenizers, encoded training text and validation text, cached under ``config.cache``.

Three folders, each named after everything that it depends on: text-KEY (the training text that passed the checks, and
their table), tokenizer-KEY and ids-KEY.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nmt.atomic import passing_folder
from nmt.checksum import json_with_checksum, parse_json
from nmt.data import corpus, encode
from nmt.data.checks import CheckCounts, Side, blank, clean
from nmt.data.directions import tags_of
from nmt.data.encode import EncodedCorpus, SampledCorpus
from nmt.data.mixing import Mixture, marked
from nmt.data.pieces import SUBWORDS
from nmt.data.text import DataConfig, ParallelText
from nmt.data.tokenizer import Tokenizers, train_tokenizers
from nmt.errors import DataError, refusal

if TYPE_CHECKING:
    from datasets import Dataset

SUMS = "sums.json"  # the file in a folder of the cache with the checksum of each of the others


@dataclass(frozen=True)
class SideReport:
    """The training text of one language, as ids."""

    vocabulary: int  # pieces
    ids: int
    longest: int  # ids in a sentence
    unknown: int  # ids that are UNK


@dataclass(frozen=True)
class Report:
    """Statistics of the prepared data; ``print(report)`` shows them, ``as_dict`` gives them for the log."""

    checks: CheckCounts
    pairs: int
    tokenizer: str
    joint: bool
    source: SideReport
    target: SideReport
    folder: str  # of the ids
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the log."""
        return asdict(self) | {"checks": self.checks.as_dict()}

    def __str__(self) -> str:
        sides = "one for both languages" if self.joint else "one a language"
        lines = [f"{'tokenizer':14}{self.tokenizer}, {sides}"]
        for name, side in (("source ids", self.source), ("target ids", self.target)):
            lines.append(
                f"{name:14}{side.ids:,}, vocabulary of {side.vocabulary:,}, {side.ids / self.pairs:.1f} a sentence, "
                f"at most {side.longest}, {side.unknown / max(side.ids, 1):.2%} unknown"
            )
        return "\n".join([str(self.checks), *lines, f"{'cached in':14}{self.folder}", *self.notes])


@dataclass(frozen=True)
class Prepared:
    """Tokenizers, training and validation data, and a report on them (``table``)."""

    tokenizers: Tokenizers
    train: EncodedCorpus
    validation: ParallelText
    table: Report
    mixture: Mixture | None = None  # how many pairs of each corpus an epoch has; None: each pair once


def prepare(
    config: DataConfig, seed: int, tokenizers: Tokenizers | None = None, progress: bool = False, linked: bool = False
) -> Prepared:
    """Read, check, learn the tokenizers (unless given) and encode; steps done before are read from the cache.

    ``seed`` draws the corpus that is generated, and the sample that the tokenizers are learnt from if there is more
    text than that.  ``progress`` shows a bar on a terminal.  ``linked``: with the word alignment of the training text.
    Raises UserError for text and settings that cannot work.
    """
    cache = Path(config.cache)
    validation = corpus.validation_text(config)  # first, so that faults in it are reported at once
    if all(blank(source) or blank(target) for source, target in zip(validation.source, validation.target, strict=True)):
        raise DataError(f"{validation.name}: a side of every pair is blank, and nothing can be validated on it")
    text_key = {
        "text": corpus.fingerprint(config, seed),
        "checks": {name: getattr(value, "name", value) for name, value in asdict(config.checks).items()},
        "made by": code_versions(),
    }
    if linked:
        text_key["links"] = corpus.links_fingerprint(config)
    notes: list[str] = []
    folder = build_once(
        cache / f"text-{digest(text_key)}", lambda part: write_checked_text(config, seed, part, progress, linked), notes
    )
    text = encode.open_text(folder)
    own = tokenizers or cached_tokenizers(config, text, text_key, seed, notes)
    key = digest({"text": text_key, "tokenizers": own.digest()})
    ids = build_once(
        cache / f"ids-{key}",
        # SentencePiece works on all cores by itself, a chunk at a time.
        lambda part: encode.write_ids(
            text, own, part, lambda side, texts, _: own.sides[side].encode(texts), progress=progress
        ),
        notes,
    )
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    train = EncodedCorpus.open(ids, table["text_digest"])
    sampling = config.tokenizer.sampling if own.source.kind in SUBWORDS else 0.0
    if sampling or config.noise:
        train = SampledCorpus(train, text, own, cache, sampling, config.noise, tags_of(config))
    asked = config.tokenizer.vocab_size if tokenizers is None else None
    mixture = None
    if config.mix:
        mixture = Mixture.of(config.mix, {name: table["parts"].get(name, 0) for name in config.corpora()})
        notes.append(str(mixture))
    shown = report(config, CheckCounts(**table["checks"]), own, train, ids, asked, notes)
    return Prepared(own, train, validation, shown, mixture)


def cached_tokenizers(
    config: DataConfig, text: "Dataset", text_key: dict[str, Any], seed: int, notes: list[str]
) -> Tokenizers:
    """The tokenizers that ``config`` asks for, from the cache if they are there.

    ``seed`` matters only if they are learnt from a sample of the text.  For ``notes`` see ``build_once``.
    """
    symbols = tags_of(config)
    asked = asdict(config.tokenizer) | {"kind": config.tokenizer.kind.name, "symbols": symbols}
    del asked["sampling"]  # it changes how training uses the tokenizers, not the tokenizers
    drawn = seed if len(text) > config.tokenizer.sample_sentences else None
    folder = Path(config.cache) / f"tokenizer-{digest({'text': text_key, 'tokenizer': asked, 'seed': drawn})}"

    def learn(part: Path) -> None:
        sides = (encode.read_side(text, side) for side in ("source", "target"))
        train_tokenizers(config.tokenizer, *sides, seed=seed, symbols=symbols).save(part)

    return Tokenizers.load(build_once(folder, learn, notes))


def load_tests(config: DataConfig, names: list[str] | None = None) -> list[ParallelText]:
    """The test sets by name, or those of data.test, or all there are, as they stand in their files."""
    return corpus.test_texts(config, names)


def write_checked_text(config: DataConfig, seed: int, folder: Path, progress: bool, linked: bool) -> None:
    """Write the pairs that pass the checks to text.arrow, and how many did not to table.json."""
    table, opened = CheckCounts(), corpus.open_corpus(config)
    raw = chain.from_iterable(marked(name, pairs) for name, pairs in opened.parts(seed))
    if linked:  # the pairs alone are read a second time, for the name of each one's corpus
        raw = ((*pair, name) for pair, (*_, name) in zip(corpus.linked_pairs(opened, seed), raw, strict=True))
    pairs = tqdm(raw, desc="reading", unit="pair", leave=False, disable=None if progress else True)
    held_out, counts = corpus.held_out_sentences(config), Counter[str]()
    kept = opened.with_tags(counted(clean(pairs, config.checks, table, held_out, opened.locate), counts))
    text_digest = encode.write_text(kept, folder, linked)
    if table.read == 0:
        raise DataError(f"data={config.name} has nothing to train on: there is no {opened.locate(0, Side.source)}")
    if table.kept == 0:
        raise DataError(f"no training pairs are left of data={config.name}:\n{table}")
    found = {"checks": table.as_dict(), "text_digest": text_digest, "parts": counts}
    (folder / "table.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def counted(pairs: Iterator[tuple[str, ...]], counts: Counter[str]) -> Iterator[tuple[str, ...]]:
    """The pairs without what ``marked`` has added to them, counted by it."""
    for *pair, name in pairs:
        counts[name] += 1
        yield tuple(pair)


def build_once(folder: Path, build: Callable[[Path], None], notes: list[str]) -> Path:
    """Make ``folder`` with ``build`` unless it exists, and return it; it never exists in part.

    A folder whose files are not what was written into it is made anew, and a line in ``notes`` says so.  If two
    processes build it at the same time, the folder of the first to finish is used by both.  Raises DataError if it
    cannot be written.
    """
    damage = find_damage(folder) if folder.exists() else None
    if folder.exists() and damage is None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with passing_folder(folder.parent, ".building-") as place:
            part = place / folder.name
            part.mkdir()
            build(part)
            sums = {path.name: file_sum(path) for path in sorted(part.iterdir())}
            (part / SUMS).write_text(json_with_checksum(sums), encoding="utf-8")
            if damage is not None:
                notes.append(f"note: {folder} was damaged ({damage}) and has been made anew")
                folder.rename(place / "damaged")
            part.rename(folder)
    except OSError as error:  # of writing: what cannot be read is a DataError already
        if not folder.exists():
            raise DataError(f"data.cache={folder.parent} cannot be written: {refusal(error)}") from error
    return folder


def find_damage(folder: Path) -> str | None:
    """Which file of a folder that ``build_once`` made is not as it was written; None if all are."""
    try:
        sums = parse_json((folder / SUMS).read_text(encoding="utf-8"))
        for name, written in sums.items():
            if file_sum(folder / name) != written:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is gone"
    except (OSError, ValueError, AttributeError):
        return f"{SUMS} cannot be read"
    return None


def file_sum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(parts: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits of a hash of some JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code_versions() -> dict[str, str]:
    """Versions of everything that turns files into ids: the code of nmt.data, SentencePiece, and Unicode for NFC."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    return {
        "code": hashlib.sha256(sources).hexdigest(),
        "sentencepiece": version("sentencepiece"),
        "unicode": unicodedata.unidata_version,
    }


def report(
    config: DataConfig,
    checks: CheckCounts,
    tokenizers: Tokenizers,
    train: EncodedCorpus,
    ids: Path,
    asked: int | None,
    notes: list[str],
) -> Report:
    """Statistics of ``train``; ``asked`` is the vocabulary size that was to be learnt, None for given tokenizers.

    ``notes`` are those on the cache, to which others are added.
    """
    unknown = json.loads((ids / "unknown.json").read_text(encoding="utf-8"))
    sides = {
        name: SideReport(tokenizer.size, int(n.sum(dtype=np.int64)), int(n.max()), unknown[name])
        for name, tokenizer, n in zip(
            ("source", "target"), (tokenizers.source, tokenizers.target), train.lengths, strict=True
        )
    }
    kind, notes = tokenizers.source.kind, [*notes]
    if config.tokenizer.sampling and kind not in SUBWORDS:
        notes.append(f"note: data.tokenizer.sampling does nothing with data.tokenizer.kind={kind.name}")
    if kind in SUBWORDS and asked is not None and min(s.vocabulary for s in sides.values()) < asked:
        notes.append(f"note: data.tokenizer.vocab_size={asked} is more than the text gives")
    if config.noise:
        notes.append(f"noise         {config.noise}, drawn anew for every epoch; the ids above are those without")
    longest = max(sides["source"].longest, sides["target"].longest + 1)
    if config.batching.sentences is None and longest > config.batching.tokens:
        notes.append(
            f"note: the longest sentence has {longest} ids, more than data.batching.tokens={config.batching.tokens}"
        )
    return Report(checks, len(train), kind.name, tokenizers.joint, sides["source"], sides["target"], str(ids), notes)
