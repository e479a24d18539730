"""Several corpora in one training, drawn by weight (data.more, data.mix).

Of corpora of n_i pairs, a pair of corpus i is drawn with the share

    p_i = n_i^(1/T) / sum_j n_j^(1/T)          data.mix.temperature=T (Arivazhagan et al. 2019, section 4.2)
    p_i = w_i / sum_j w_j                      data.mix.weights={NAME: w, ...}

T = 1 leaves the shares as they are, a large T makes them equal.  An epoch has as many pairs as all corpora together:
round(p_i sum_j n_j) of corpus i, as many whole copies of it as fit into that, and the rest drawn without replacement,
anew for every epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nmt.errors import ConfigError
from nmt.settings import check_ranges, setting

if TYPE_CHECKING:
    from nmt.data.text import DataConfig


@dataclass
class MixConfig:
    """How often each corpus is drawn (data.mix.*)."""

    temperature: float | None = setting(
        None, "T: corpora of n pairs are drawn by n^(1/T); 1: as they are; null: each pair once an epoch", above=0
    )
    weights: dict[str, float] = setting(
        {},
        "how often each corpus is drawn, by its name: data.mix.weights.NAME=W for each, and for multi30k, files, ...",
    )

    def __post_init__(self) -> None:
        check_ranges(self, "data.mix")
        if not isinstance(self.weights, dict):
            return
        if self.weights and self.temperature is not None:
            raise ConfigError(
                "data.mix.temperature and data.mix.weights each say how often a corpus is drawn: type one"
            )
        for name, weight in self.weights.items():
            if not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
                raise ConfigError(f"data.mix.weights.{name} must be at least 0 and finite, got {weight}")
        if self.weights and not any(self.weights.values()):
            raise ConfigError("data.mix.weights are all 0: nothing would be drawn")

    def __bool__(self) -> bool:
        return self.temperature is not None or bool(self.weights)

    def check(self, names: Sequence[str]) -> None:
        """Raise ConfigError unless the weights are those of the corpora of these names."""
        if self.weights and self.weights.keys() != set(names):
            raise ConfigError(
                f"data.mix.weights names {', '.join(self.weights)}, and the corpora are {', '.join(names)}: type a "
                "weight for each"
            )


@dataclass(frozen=True)
class Mixture:
    """How many pairs of each corpus an epoch has."""

    counts: Mapping[str, int]  # pairs of each corpus, in the order in which they lie one after another
    drawn: Mapping[str, int]  # how many of them an epoch has

    @classmethod
    def of(cls, config: MixConfig, counts: Mapping[str, int]) -> "Mixture":
        """Raises ConfigError where ``config`` names other corpora, or a corpus that is to be drawn is empty."""
        config.check([*counts])
        for name, count in counts.items():
            if count == 0 and config.weights.get(name, 1):
                raise ConfigError(f"data.mix: no pairs are left of {name}, which therefore cannot be drawn")
        power, largest = 1 / (config.temperature or 1), max(counts.values())  # no power of a share overflows
        weights = np.array([config.weights.get(name, (count / largest) ** power) for name, count in counts.items()])
        return cls(counts, dict(zip(counts, portions(weights / weights.sum(), sum(counts.values())), strict=True)))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The pairs of an epoch, by their places in the text: int32, sorted within each corpus."""
        found, begin = [], 0
        for name, count in self.counts.items():
            copies, rest = divmod(self.drawn[name], count) if count else (0, 0)
            some = rng.choice(count, rest, replace=False, shuffle=False)
            found.append(begin + np.sort(np.concatenate([np.tile(np.arange(count), copies), some])))
            begin += count
        return np.concatenate(found).astype(np.int32)

    def __str__(self) -> str:
        total = sum(self.drawn.values())
        return "\n".join(
            f"{'mix' if place == 0 else '':14}{name}: {count:,} pairs, of which an epoch has {self.drawn[name]:,} "
            f"({self.drawn[name] / total:.1%} of all)"
            for place, (name, count) in enumerate(self.counts.items())
        )


def portions(shares: np.ndarray, total: int) -> list[int]:
    """``total`` divided by shares that sum to 1, in whole numbers: the largest remainders are rounded up."""
    exact = shares * total
    whole = np.floor(exact).astype(int)
    for place in np.argsort(whole - exact, kind="stable")[: total - whole.sum()]:
        whole[place] += 1
    return whole.tolist()


def training_files(config: "DataConfig") -> "dict[str, Any]":
    """The names of data.more with a configuration of files each, whose held-out sets are not asked for."""
    from nmt.data.files import FilesConfig  # here: it imports nmt.data.text, which imports this module

    return {
        name: FilesConfig(
            source=config.source, target=config.target, train=files, validation=replace(files), checks=config.checks
        )
        for name, files in config.more.items()
    }


def marked(name: str, pairs: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The same pairs with the name of their corpus as the last element."""
    return ((*pair, name) for pair in pairs)
