"""Several directions of translation in one training (data.pairs), told apart by tags (data.tags).

With data.tags=true each source begins with a word that names the language to translate into, ``<2de> A dog barks .``,
as in Johnson et al. 2017 (Google's Multilingual Neural Machine Translation System, section 3): the model is the usual
one, and what it learns of one direction serves the others.  The tag is part of the text that is trained on;
data.checks look at what is in the files, and held-out sets have their tags apart (``ParallelText.tags``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import chain, repeat, zip_longest
from operator import add
from typing import Any

from nmt.data.checks import Side
from nmt.data.mixing import MixConfig
from nmt.data.pieces import Tokenizer, TokenizerKind
from nmt.data.text import Corpus, DataConfig, ParallelText, TextFiles, locate_in, no_such_test, tagged
from nmt.data.tokenizer import Tokenizers
from nmt.errors import ConfigError
from nmt.languages import canonical


def tag_of(language: str) -> str:
    """The word that asks for a translation into a language: <2de>, <2zh_hans>."""
    return f"<2{canonical(language).lower()}>"


def tags_of(config: DataConfig) -> list[str]:
    """All tags of a configuration, each once; none without data.tags."""
    return list(dict.fromkeys(tag_of(target) for _, target in config.directions())) if config.tags else []


class Directions(Corpus):
    """A corpus for each direction, one after another; test sets have the direction in their names."""

    def __init__(self, config: Any, open_corpus: Callable[[DataConfig], Corpus]) -> None:
        super().__init__(config)
        self.corpora = {f"{c.source}-{c.target}": open_corpus(c) for c in single(config)}

    def tag(self, corpus: Corpus) -> str:
        """What stands in front of each source of a corpus."""
        return tag_of(corpus.config.target) if self.config.tags else ""

    def pairs(self, seed: int) -> Iterator[tuple[str, str]]:
        return self.with_tags(self.untagged(seed))

    def untagged(self, seed: int) -> Iterator[tuple[str, ...]]:
        """Source, target and tag: the checks look at text alone, as they do without tags."""
        return chain.from_iterable(pairs for _, pairs in self.parts(seed))

    def parts(self, seed: int) -> Iterator[tuple[str, Iterator[tuple[str, ...]]]]:
        for direction, corpus in self.corpora.items():
            for name, pairs in corpus.parts(seed):
                tags = repeat((self.tag(corpus),))
                yield direction if len(self.corpora) > 1 else name, map(add, pairs, tags)

    def linked_pairs(self, seed: int) -> Iterator[tuple[str, str, str]]:
        what = "data.tags=true puts a word before each source" if self.config.tags else "data.pairs names directions"
        raise ConfigError(f"trainer.guided_alignment: {what}, for which there are no links to learn from")

    def with_tags(self, pairs: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
        return ((tagged(source, tag), target) for source, target, tag in pairs)

    def apart(self) -> list[Corpus]:
        return [*self.corpora.values()]

    def validation(self) -> ParallelText:
        """A sentence of each direction in turn, so that the first hundred are of all."""
        first, *others = [self.with_tag(corpus, corpus.validation()) for corpus in self.corpora.values()]
        if not others:
            return first
        rows = zip_longest(*(zip(t.source, t.target, t.tags or [], strict=True) for t in (first, *others)))
        source, target, tags = zip(*(pair for row in rows for pair in row if pair is not None), strict=True)
        return ParallelText(first.name, [*source], [*target], tags=[*tags])

    def test_names(self) -> list[str]:
        return [f"{name}.{pair}" for pair, corpus in self.corpora.items() for name in corpus.test_names()]

    def test(self, name: str) -> ParallelText:
        known, _, pair = name.rpartition(".")
        if pair not in self.corpora:
            raise no_such_test(name, self.config, self.test_names())
        text = self.corpora[pair].test(known)
        return replace(self.with_tag(self.corpora[pair], text), name=name)

    def chosen(self, name: str) -> list[str]:
        """The test sets of this name, of every direction that has one."""
        return [test for test in self.test_names() if test.rpartition(".")[0] == name] or [name]

    def with_tag(self, corpus: Corpus, text: ParallelText) -> ParallelText:
        """A held-out set of the direction of a corpus, with its languages and its tag."""
        one = corpus.config
        return replace(text, language=one.target, source_language=one.source, tags=[self.tag(corpus)] * len(text))

    def fingerprint(self, seed: int) -> dict[str, Any]:
        return {"tags": self.config.tags} | {pair: c.fingerprint(seed) for pair, c in self.corpora.items()}

    def locate(self, number: int, side: Side) -> str:
        return locate_in(self.corpora.values(), number, side)


def single(config: DataConfig) -> list[Any]:
    """A configuration of each direction alone; raises ConfigError where files do not go with the directions."""
    directions, found = config.directions(), []
    for place, (source, target) in enumerate(directions):
        one = replace(
            config, source=source, target=target, pairs=None, tags=False, tests={}, test=None, mix=MixConfig()
        )
        for f in fields(config):
            value = getattr(config, f.name)
            if isinstance(value, TextFiles):
                setattr(one, f.name, files_of(value, place, len(directions), f"data.{f.name}"))
        found.append(one)
    return found


def files_of(files: TextFiles, place: int, count: int, key: str) -> TextFiles:
    """The files of one of ``count`` directions: the k-th of both lists."""
    chosen = []
    for side in ("source", "target"):
        value = getattr(files, side)
        listed = [value] if isinstance(value, str) else value
        if len(listed) != count:
            raise ConfigError(
                f"{key}.{side} names {len(listed)} file{'s' * (len(listed) != 1)} and data.pairs {count} "
                f"direction{'s' * (count != 1)}: the k-th file is of the k-th direction"
            )
        chosen.append(listed[place])
    return TextFiles(*chosen)


def of_direction(config: DataConfig, target: str) -> DataConfig:
    """The configuration of the direction into ``target`` alone, whose text has no tags; without data.pairs ``config``.

    Where several directions have that target, of the first.
    """
    if config.pairs is None:
        return config
    return next(one for one in single(config) if canonical(one.target) == canonical(target))


class TaggedTokenizer:
    """A tokenizer of source text that puts a tag in front of each text; words are counted without it."""

    def __init__(self, inner: Tokenizer, tag: str) -> None:
        self.inner, self.tag = inner, tag
        self.kind: TokenizerKind = inner.kind
        self.lowercase: bool = inner.lowercase

    @property
    def size(self) -> int:
        return self.inner.size

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.inner.encode([tagged(text, self.tag) for text in texts])

    def sample(self, texts: Sequence[str], sampling: float, seed: int, first: int = 0) -> list[list[int]]:
        return self.inner.sample([tagged(text, self.tag) for text in texts], sampling, seed, first)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [text.removeprefix(self.tag).lstrip() for text in self.inner.decode(rows)]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return self.inner.pieces(ids)

    def words(self, ids: Sequence[int], text: str | None = None) -> list[int]:
        """The tag goes with the word after it, as a space does."""
        whole = None if text is None else tagged(text, self.tag)
        return [max(0, word - 1) for word in self.inner.words(ids, whole)]

    def to_bytes(self) -> bytes:
        return self.inner.to_bytes()


def said_of_default(config: DataConfig, into: str | None, key: str) -> str:
    """A note where a run translates into several languages and none was named by ``key``; else ""."""
    known = list(dict.fromkeys(target for _, target in config.directions()))
    if into is not None or not config.tags or len(known) < 2:
        return ""
    return f"note: into {known[0]}, the first of {', '.join(known)}; {key}=LANGUAGE chooses"


def toward(tokenizers: Tokenizers, config: DataConfig, into: str | None, key: str) -> tuple[Tokenizers, str, str]:
    """The tokenizers for one direction of a run trained with ``config``, and its source and target language.

    ``into`` is the target language, None: that of the first direction; ``key`` is the setting that named it.  Raises
    ConfigError for a language that the run was not trained to translate into.
    """
    directions = config.directions()
    known = {canonical(target): (source, target) for source, target in reversed(directions)}
    wanted = canonical(directions[0][1] if into is None else into)
    if wanted not in known:
        raise ConfigError(
            f"{key}={into}: this run translates into {', '.join(dict.fromkeys(target for _, target in directions))}"
        )
    if not config.tags:
        return tokenizers, config.source, config.target
    source, target = known[wanted]
    return replace(tokenizers, source=TaggedTokenizer(tokenizers.source, tag_of(target))), source, target
