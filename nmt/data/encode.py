"""The text and the ids of a training corpus in memory-mapped Arrow files, written once and read a batch at a time."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from nmt.atomic import passing_folder
from nmt.batch import UNK
from nmt.data.noise import NoiseConfig, add_noise
from nmt.data.pharaoh import piece_links
from nmt.data.tokenizer import Tokenizers
from nmt.errors import DataError, refusal

if TYPE_CHECKING:
    from datasets import Dataset

# Pairs in an Arrow record batch.  Larger ones are faster to read from (0.3 ms for 64 pairs of 3 million at 100,000,
# 0.6 ms at 10,000), smaller ones take less memory to write.
RECORD_BATCH_PAIRS = 20_000
TEXT = pa.schema({"source": pa.string(), "target": pa.string()})
IDS = pa.schema({"source": pa.list_(pa.int32()), "target": pa.list_(pa.int32())})
# A further column where word alignments were asked for: in the text Pharaoh lines, in the ids flat ``piece_links``.
TEXT_LINKS, ID_LINKS = pa.field("links", pa.string()), pa.field("links", pa.list_(pa.int32()))


class EncodedCorpus:
    """Sentence pairs as ids, without BOS, EOS and PAD.

    ``lengths`` (2, pairs) int32 holds how many ids the source and the target of each pair have.  ``text_digest`` is
    that of ``write_text``, where the corpus was made of a text.
    """

    def __init__(self, ids: "Dataset", lengths: np.ndarray, text_digest: str | None = None) -> None:
        linked = ID_LINKS.name in ids.column_names
        self.text_digest = text_digest
        self._ids, self.lengths = ids.remove_columns(ID_LINKS.name) if linked else ids, lengths
        self._links = ids.select_columns(ID_LINKS.name) if linked else None

    @classmethod
    def open(cls, folder: Path, text_digest: str | None = None) -> "EncodedCorpus":
        """Open what ``write_ids`` wrote, memory-mapped."""
        ids, lengths = memory_map(folder / "ids.arrow"), np.load(folder / "lengths.npy", mmap_mode="r")
        return EncodedCorpus(ids, lengths, text_digest)

    @classmethod
    def of(
        cls, sources: list[list[int]], targets: list[list[int]], links: list[list[int]] | None = None
    ) -> "EncodedCorpus":
        """A corpus in memory."""
        from datasets import Dataset  # here: see ``memory_map``

        sides = {"source": sources, "target": targets}
        linked = {} if links is None else {ID_LINKS.name: links}
        ids = Dataset(pa.table(sides | linked, schema=IDS.append(ID_LINKS) if linked else IDS))
        return EncodedCorpus(ids, np.array([[len(row) for row in rows] for rows in (sources, targets)], dtype=np.int32))

    def __len__(self) -> int:
        return self.lengths.shape[1]

    def read(self, pairs: np.ndarray) -> tuple[list[list[int]], list[list[int]]]:
        """Source and target ids of some pairs: 64 of 3 million take 0.5 ms, one at a time 1.3 ms."""
        rows = self._ids[pairs.tolist()]
        return rows["source"], rows["target"]

    def links(self, pairs: np.ndarray) -> list[list[int]] | None:
        """The same pairs' links as ``piece_links`` has them; None in a corpus without."""
        return None if self._links is None else self._links[pairs.tolist()][ID_LINKS.name]

    def resegmented(self, seed: int) -> "EncodedCorpus":
        """The corpus as it is segmented in one epoch, a function of ``seed``; here always the same."""
        return self


class SampledCorpus(EncodedCorpus):
    """A corpus that every epoch sees otherwise: with noise in its text, in random segmentations, or both.

    The whole corpus is segmented before the epoch is planned, so that batches are planned by the lengths that sentences
    will have.  With Multi30k and BPE-dropout of 0.1, 92% of the ids in batches are then no padding; where batches were
    planned by the lengths of another segmentation, 70% were none.
    """

    def __init__(
        self,
        plain: EncodedCorpus,
        text: "Dataset",
        tokenizers: Tokenizers,
        folder: Path,
        sampling: float = 0.0,
        noise: NoiseConfig | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__(plain._ids, plain.lengths, plain.text_digest)
        self._text, self._tokenizers, self._folder = text, tokenizers, folder
        self._sampling, self._noise, self._tags = sampling, noise, tags

    def resegmented(self, seed: int) -> EncodedCorpus:
        """The new segmentation, in files in ``folder`` that are already unlinked and vanish when they are closed."""
        seeds = dict(zip(self._tokenizers.sides, np.random.SeedSequence(seed).generate_state(2).tolist(), strict=True))

        def segment(side: str, texts: list[str], first: int) -> list[list[int]]:
            return self._tokenizers.sides[side].sample(texts, self._sampling, seeds[side], first)

        def change(side: str, texts: list[str], first: int) -> list[str]:
            return add_noise(texts, side, self._noise, seed, first, self._tags) if self._noise else texts

        try:
            with passing_folder(self._folder, ".drawn-") as folder:
                write_ids(self._text, self._tokenizers, folder, segment, change)
                return EncodedCorpus.open(folder)
        except OSError as error:
            raise DataError(f"data.cache={self._folder} cannot be written: {refusal(error)}") from error


def write_text(pairs: Iterable[tuple[str, ...]], folder: Path, linked: bool = False) -> str:
    """Write text.arrow; if ``linked``, a Pharaoh line comes with each pair.  Returns a digest of both sides."""
    rest, schema, digest = iter(pairs), TEXT.append(TEXT_LINKS) if linked else TEXT, hashlib.sha256()
    with pa.OSFile(str(folder / "text.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        while chunk := list(islice(rest, RECORD_BATCH_PAIRS)):
            stream.write_batch(pa.record_batch(list(zip(*chunk, strict=True)), schema=schema))
            digest.update("".join(f"{pair[0]}\n{pair[1]}\n" for pair in chunk).encode())
    return digest.hexdigest()


def memory_map(path: Path) -> "Dataset":
    """A file of Arrow record batches, memory-mapped."""
    from datasets import Dataset  # here: it brings pandas and takes a second, and most commands read no corpus

    return Dataset.from_file(str(path))


def open_text(folder: Path) -> "Dataset":
    """Columns source, target and perhaps links of text.arrow, memory-mapped."""
    return memory_map(folder / "text.arrow")


def read_side(text: "Dataset", side: str) -> Iterator[str]:
    """One side of a text, streamed."""
    for chunk in chunks(text.select_columns([side])):
        yield from chunk[side]


def chunks(text: "Dataset") -> Iterator[dict[str, list[str]]]:
    """RECORD_BATCH_PAIRS rows at a time."""
    return cast(Iterator[dict[str, list[str]]], text.iter(batch_size=RECORD_BATCH_PAIRS))


def write_ids(
    text: "Dataset",
    tokenizers: Tokenizers,
    folder: Path,
    segment: Callable[[str, list[str], int], list[list[int]]],
    change: Callable[[str, list[str], int], list[str]] = lambda side, texts, first: texts,
    progress: bool = False,
) -> None:
    """Write ids.arrow, lengths.npy and unknown.json, which counts UNK on each side.

    ``segment(side, texts, first)`` makes the ids of some pairs' texts, the first of which is pair number ``first``;
    ``change``, called likewise, makes the texts of those that are in the corpus, word for word where there are links.
    Where the text has links, so has ids.arrow, between the pieces that the words have become.
    """
    linked = TEXT_LINKS.name in text.column_names
    schema = IDS.append(ID_LINKS) if linked else IDS
    sides = tokenizers.sides
    unknown = dict.fromkeys(sides, 0)
    lengths = np.lib.format.open_memmap(folder / "lengths.npy", "w+", np.int32, (2, len(text)))
    with (
        pa.OSFile(str(folder / "ids.arrow"), "wb") as file,
        pa.ipc.new_stream(file, schema) as stream,
        tqdm(total=len(text), desc="encoding", unit="pair", leave=False, disable=None if progress else True) as bar,
    ):
        start = 0
        for chunk in chunks(text):
            texts = {side: change(side, chunk[side], start) for side in sides}
            ids = {side: segment(side, texts[side], start) for side in sides}
            rows = {side: pa.array(ids[side], IDS.field(side).type) for side in sides}
            if linked:
                words = (list(map(t.words, ids[side], texts[side])) for side, t in sides.items())
                rows[ID_LINKS.name] = pa.array(map(piece_links, chunk[TEXT_LINKS.name], *words), ID_LINKS.type)
            stream.write_batch(pa.record_batch(rows, schema=schema))
            stop = start + len(chunk["source"])
            for row, side in enumerate(sides):
                lengths[row, start:stop] = np.diff(rows[side].offsets)
                unknown[side] += int(np.count_nonzero(np.asarray(rows[side].values) == UNK))
            bar.update(stop - start)
            start = stop
    lengths.flush()
    (folder / "unknown.json").write_text(json.dumps(unknown) + "\n", encoding="utf-8")
