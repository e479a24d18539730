"""A corpus with more training text beside it (data.more)."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from nmt.data.checks import Side
from nmt.data.files import Files
from nmt.data.mixing import training_files
from nmt.data.text import Corpus, ParallelText, locate_in
from nmt.errors import ConfigError


class Mixed(Corpus):
    """The training text of a corpus and then that of data.more, in its order; validation and tests are the corpus's."""

    def __init__(self, config: Any, first: Corpus) -> None:
        super().__init__(config)
        self.first = first
        self.corpora: dict[str, Corpus] = {config.name: first}
        self.corpora |= {name: Files(one) for name, one in training_files(config).items()}

    def parts(self, seed: int) -> Iterator[tuple[str, Iterator[tuple[str, ...]]]]:
        return ((name, corpus.untagged(seed)) for name, corpus in self.corpora.items())

    def untagged(self, seed: int) -> Iterator[tuple[str, ...]]:
        """data.limit is of the first corpus alone."""
        return chain.from_iterable(pairs for _, pairs in self.parts(seed))

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        return chain.from_iterable(corpus.pairs(seed) for corpus in self.corpora.values())

    def linked_pairs(self, seed: int) -> Iterator[tuple[str, str, str]]:
        raise ConfigError(
            "trainer.guided_alignment needs word alignments of all training text, and data.more brings none: "
            "data.alignments=FILE, a line of Pharaoh links for each pair of the corpus and then of data.more"
        )

    def validation(self) -> ParallelText:
        return self.first.validation()

    def validation_has_gold(self) -> bool:
        return self.first.validation_has_gold()

    def test_names(self) -> list[str]:
        return self.first.test_names()

    def test(self, name: str) -> ParallelText:
        return self.first.test(name)

    def chosen(self, name: str) -> list[str]:
        return self.first.chosen(name)

    def fingerprint(self, seed: int) -> dict[str, Any]:
        """Of all text; the order of data.more is that of the pairs."""
        return {"corpora": [[name, corpus.fingerprint(seed)] for name, corpus in self.corpora.items()]}

    def locate(self, number: int, side: Side) -> str:
        return locate_in(self.corpora.values(), number, side)
