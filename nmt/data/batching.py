"""Grouping sentence pairs into batches, and the order of the batches."""

import contextlib
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmt.batch import Batch, collate
from nmt.data.both_directions import BothDirections
from nmt.data.encode import EncodedCorpus
from nmt.data.mixing import Mixture
from nmt.errors import DataError, RunError
from nmt.settings import check_ranges, setting

TEXT = "training text"  # the key of its digest in the state that a training is resumed from
PREFETCH = 4  # batches prepared ahead of the one in use
PAIRS_AT_ONCE = 100_000  # pairs processed at once, because arrays for all of them would take too much memory


@dataclass
class BatchingConfig:
    """How sentence pairs become batches (data.batching.*)."""

    tokens: int = setting(
        4096, "budget of a batch: sentences * max(longest source, longest target + 1), padding included", least=1
    )
    sentences: int | None = setting(None, "make batches of so many sentences instead, whatever their length", least=1)

    def __post_init__(self) -> None:
        check_ranges(self, "data.batching")


@dataclass(frozen=True)
class Plan:
    """The batches of one epoch, in the order in which they are used."""

    corpus: EncodedCorpus  # as it is segmented in this epoch
    order: np.ndarray  # (pairs,) int32, the corpus sorted by noisy length
    bounds: np.ndarray  # (batches + 1,) group k is order[bounds[k]:bounds[k + 1]]
    shuffled: np.ndarray  # (batches,) which group is the n-th batch
    both: BothDirections | None = None  # makes batches of 2 pairs for each pair

    def __len__(self) -> int:
        return len(self.shuffled)

    def pairs(self, batch: int) -> np.ndarray:
        """Places in the corpus of the pairs of a batch."""
        group = self.shuffled[batch]
        return self.order[self.bounds[group] : self.bounds[group + 1]]

    def batch(self, number: int) -> Batch:
        """Batch ``number`` of the epoch, as tensors."""
        pairs = self.pairs(number)
        make = self.both.collate if self.both else collate
        return make(*self.corpus.read(pairs), ids=pairs.tolist(), links=self.corpus.links(pairs))

    def padding(self) -> float:
        """The share of padding among all ids of the batches, both sides, the target with one id at its end."""
        real = sum(int(side[self.order].sum(dtype=np.int64)) for side in self.corpus.lengths) + len(self.order)
        source, target = self.longest_of_batches()
        # In both directions there are twice as many real ids, and twice as many of all.
        return 1 - real / int((np.diff(self.bounds) * (source + target + 1)).sum())

    def longest(self) -> int:
        """The number of the batch that takes the most memory.

        Of the batches whose padded tokens are within a tenth of the most, the one with the most attention weights.
        """
        source, target = self.longest_of_batches()
        sentences = np.diff(self.bounds)
        tokens = sentences * (source + target + 1)
        weights = np.where(tokens >= 0.9 * tokens.max(), sentences * source * (target + 1), -1)
        return int(np.flatnonzero(self.shuffled == weights.argmax())[0])

    def longest_of_batches(self) -> tuple[np.ndarray, np.ndarray]:
        """How many ids the longest source and the longest target of each group have, without its end: (batches,)."""
        source, target = (np.maximum.reduceat(side[self.order], self.bounds[:-1]) for side in self.corpus.lengths)
        return self.both.longest(source, target) if self.both else (source, target)


def plan_epoch(
    corpus: EncodedCorpus,
    config: BatchingConfig,
    seed: int,
    epoch: int,
    mixture: Mixture | None = None,
    both: BothDirections | None = None,
) -> Plan:
    """Batches of pairs of nearly equal length; which of them go together, and the order of the batches, is random.

    Each pair stands in one of them, or as often as ``mixture`` draws it, and with ``both`` there also turned round.  A
    function of the arguments alone, on every machine with this NumPy.
    """
    rng = np.random.default_rng([seed, epoch])
    corpus = corpus.resegmented(int(rng.integers(2**32)))
    drawn = None if mixture is None else mixture.draw(rng)
    lengths = corpus.lengths if drawn is None else corpus.lengths[:, drawn]  # (2, pairs)
    if config.sentences is not None:
        pairs = lengths.shape[1]
        order = noisy_order(lengths, pairs / config.sentences, rng)
        bounds = np.append(np.arange(0, pairs, config.sentences), pairs)
    else:
        order = noisy_order(lengths, lengths.sum(dtype=np.int64) / 2 / config.tokens, rng)
        rows = lengths[1, order] + 1
        np.maximum(rows, lengths[0, order], out=rows)
        bounds = split_by_budget(rows, config.tokens)
    if drawn is not None:
        order = drawn[order]
    return Plan(corpus, order, bounds, rng.permutation(len(bounds) - 1).astype(np.int32), both)


def noisy_order(lengths: np.ndarray, batches: float, rng: np.random.Generator) -> np.ndarray:
    """Sort by target length, then source length (back and forth, so that neighbours are alike), then at random.

    Where that leaves less than a batch for each target length, the longer side and then the shorter one count: at
    16,000 ids a batch 88% instead of 85% are real.  Either length may count as one more than it is: of the sentences
    that share a batch of 4096, 17% instead of 59% meet again in the next epoch, and 92% instead of 95% of the ids are
    real (Multi30k, both sides).  ``batches`` is about how many there will be.
    """
    pairs = lengths.shape[1]
    by_target = batches >= lengths[1].max()
    # One unique int64 for each pair, sorted in place: 8 bytes a pair where argsort would take 24.
    keys = np.empty(pairs, np.int64)
    for start in range(0, pairs, PAIRS_AT_ONCE):
        count = min(PAIRS_AT_ONCE, pairs - start)
        source, target = lengths[:, start : start + count] + rng.integers(0, 2, (2, count))
        target += 1  # the end of the sentence
        first, second = (target, source) if by_target else (np.maximum(target, source), np.minimum(target, source))
        first, second = first.clip(max=4095), second.clip(max=4095)  # 12 bits each
        second = np.where(first % 2 == 1, 4095 - second, second)
        chance = rng.integers(0, 256, len(first))
        place = np.arange(start, start + len(first))  # 31 bits
        keys[start : start + PAIRS_AT_ONCE] = (((first << 12 | second) << 8 | chance) << 31) | place
    keys.sort()
    keys &= (1 << 31) - 1
    return keys.astype(np.int32)


def split_by_budget(rows: np.ndarray, tokens: int) -> np.ndarray:
    """Split lengths ``rows`` into groups as long as number * max(group) <= tokens allows, and of at least 1.

    Returns the bounds (groups + 1,): group k is rows[bounds[k]:bounds[k + 1]].
    """
    bounds = [0]
    while (start := bounds[-1]) < len(rows):
        part = rows[start : start + max(1, tokens // int(rows[start]))].astype(np.int64)
        padded = np.maximum.accumulate(part) * np.arange(1, len(part) + 1)
        bounds.append(start + max(1, int(np.searchsorted(padded, tokens, side="right"))))
    return np.array(bounds)


class TrainBatches:
    """Endless batches for training, made in a thread, with a position that can be saved and restored.

    The order is a function of (seed, epoch); each epoch holds every pair once, or as often as ``mixture`` draws it.  Of
    ``world_size`` processes, each takes every ``world_size``-th batch and all take the same number: where the last
    batches of an epoch do not suffice for all processes, its first ones are used again.  With ``both`` each batch also
    holds its pairs turned round, beyond its budget.  There must be one iterator at a time.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        config: BatchingConfig,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        mixture: Mixture | None = None,
        both: BothDirections | None = None,
    ) -> None:
        if len(corpus) == 0:
            raise DataError("there are no sentence pairs to train on")
        self._corpus, self._config, self._seed = corpus, config, seed % 2**32
        self._rank, self._world_size, self._mixture, self._both = rank, world_size, mixture, both
        self._epoch, self._batch = 0, 0  # of the batches of all processes together
        self._planned: tuple[int, Plan] | None = None
        self._sizes: dict[int, int] = {}
        self._planning = threading.Lock()

    def __iter__(self) -> Generator[Batch, None, None]:
        ready: queue.Queue[tuple[int, int, Batch] | BaseException] = queue.Queue(PREFETCH)
        stop = threading.Event()

        def work(epoch: int, batch: int) -> None:
            try:
                while not stop.is_set():
                    plan = self._plan(epoch)
                    while batch < len(plan) and not stop.is_set():
                        made = plan.batch((batch + self._rank) % len(plan))
                        batch += self._world_size
                        ready.put((epoch, batch, made) if batch < len(plan) else (epoch + 1, 0, made))
                    epoch, batch = epoch + 1, 0
                    del plan  # the next one needs its memory
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=work, args=(self._epoch, self._batch), name="batches", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                self._epoch, self._batch, made = item
                yield made
        finally:
            stop.set()
            with contextlib.suppress(
                queue.Empty
            ):  # makes place in the queue for the batch that the thread may be waiting to put
                while True:
                    ready.get_nowait()
            thread.join()

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self._epoch

    @property
    def progress(self) -> float:
        """Epochs finished, with the fraction of the present one."""
        return self._epoch + (self._batch / self._size(self._epoch) if self._batch else 0.0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches that each process takes in the present epoch; the number varies a little with the epoch."""
        return -(-self._size(self._epoch) // self._world_size)

    def padding(self) -> float:
        """The share of padding in the present epoch: ``Plan.padding``."""
        return self._plan(self._epoch).padding()

    def longest(self) -> Batch:
        """The batch to try first, so that memory runs out at the start or not at all: ``Plan.longest``."""
        plan = self._plan(self._epoch)
        return plan.batch(plan.longest())

    def __str__(self) -> str:
        """The line of the table of the data that tells of them."""
        return f"{'batches':14}{self._size(self._epoch):,} an epoch, {self.padding():.1%} of their ids are padding"

    def state_dict(self) -> dict[str, Any]:
        """The position of the next batch, and what the order of batches depends on."""
        return {"epoch": self._epoch, "batch": self._batch, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from that position, with any number of processes.  Raises RunError if the order was another one."""
        for key, now in self._identity().items():
            if key == TEXT and state.get(key, now) != now:  # absent in runs of earlier versions
                raise RunError(
                    "cannot continue in the order of the batches: the training text has changed since (as many pairs, "
                    "other text); put the old text back, or start a new run from these weights with init_from=DIR"
                )
            if key != TEXT and state.get(key) != now:
                raise RunError(f"cannot continue in the order of the batches: {key} was {state.get(key)} and is {now}")
        self._epoch, self._batch = state["epoch"], state["batch"]

    def _identity(self) -> dict[str, Any]:
        mixed = {} if self._mixture is None else {"data.mix": dict(self._mixture.drawn)}
        return mixed | {
            "seed": self._seed,
            "sentence pairs": len(self._corpus),
            "data.batching.tokens": self._config.tokens,
            "data.batching.sentences": self._config.sentences,
            TEXT: self._corpus.text_digest,
        }

    def _plan(self, epoch: int) -> Plan:
        """The plan of an epoch.  One is kept at a time, and a lock makes sure that one thread at a time computes it."""
        with self._planning:
            if self._planned is None or self._planned[0] != epoch:
                self._planned = None
                plan = plan_epoch(self._corpus, self._config, self._seed, epoch, self._mixture, self._both)
                self._planned = epoch, plan
                self._sizes[epoch] = len(self._planned[1])
            return self._planned[1]

    def _size(self, epoch: int) -> int:
        """The number of batches of an epoch, which may not be the one whose plan is kept."""
        return self._sizes.get(epoch) or len(self._plan(epoch))
