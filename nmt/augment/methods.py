"""Which text is translated by which models, and what pairs come of it.

x is text of the source language and y of the target language of the model to be trained; f translates x, and b y.

    back       (b(y), y)   of more text of the target language (Sennrich et al. 2016, Improving NMT Models with
               Monolingual Data)
    forward    (x, f(x))   of more text of the source language (Zhang and Zong 2016)
    distill    (x, f(x))   of the training text of f itself (Kim and Rush 2016, section 3.2: sequence-level)
    diversify  (x, f_k(x)) and (b_k(y), y), k = 1 ... K, of the training text (Nguyen et al. 2020)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from nmt.data.corpus import fingerprint, open_corpus
from nmt.data.files import paths, stamp
from nmt.data.text import DataConfig
from nmt.data.textfile import lines
from nmt.errors import ConfigError
from nmt.languages import canonical


class Method(Enum):
    """How text becomes pairs; the formulas are those of the module."""

    back = "back"
    forward = "forward"
    distill = "distill"
    diversify = "diversify"


class Line(NamedTuple):
    """A text to be translated."""

    text: str
    origin: str  # the file or the corpus
    number: int  # of the line or the pair there, from 1
    other: str | None = None  # what stands beside it in the training text


@dataclass(frozen=True)
class Text:
    """A text that can be read again: files, or one side of the training text of a run."""

    files: tuple[Path, ...] = ()
    data: DataConfig | None = None
    seed: int = 1
    side: int = 0  # of the training text: 0 source, 1 target

    def lines(self) -> Iterator[Line]:
        """All lines, streamed."""
        if self.data is None:
            each = (enumerate(lines(path), 1) for path in self.files)
            named = zip(map(str, self.files), each, strict=True)
            yield from (Line(text.strip(), name, number) for name, found in named for number, text in found)
            return
        for number, pair in enumerate(open_corpus(self.data).untagged(self.seed), 1):
            both = pair[0].strip(), pair[1].strip()
            yield Line(both[self.side], self.data.name, number, both[1 - self.side])

    def key(self) -> Any:
        """What the lines depend on, in JSON types."""
        if self.data is None:
            return [stamp(path) for path in self.files]
        return [fingerprint(self.data, self.seed), self.side]


@dataclass(frozen=True)
class Job:
    """One model, or an ensemble, that translates one text."""

    runs: tuple[str, ...]
    text: Text
    backward: bool  # whether what it translates is the target side of the new pairs

    def pair(self, line: str, translation: str) -> tuple[str, str]:
        """Source and target of a new pair."""
        return (translation, line) if self.backward else (line, translation)


class Model(NamedTuple):
    """What is known of a run, or of an ensemble, before it is opened."""

    runs: tuple[str, ...]
    data: DataConfig  # what it was trained on
    seed: int


def jobs_of(method: Method, models: Sequence[Model], reverse: Sequence[Model], given: Any) -> list[Job]:
    """What is to be translated; ``given`` is the value of ``input``, None for the training text.

    Raises ConfigError for what does not go with the method.
    """
    refuse_unfitting(method, models, reverse, given)
    if given is not None:
        text = Text(files=tuple(paths(given, "input")))
        return [Job(model.runs, text, method is Method.back) for model in models]
    data = models[0].data
    if len(data.directions()) > 1:
        raise ConfigError(f"{models[0].runs[0]} was trained in several directions: name the text, input=FILE")
    side = partial(Text, data=data, seed=models[0].seed)
    forward = [Job(model.runs, side(side=0), method is Method.back) for model in models]
    return forward + [Job(model.runs, side(side=1), backward=True) for model in reverse]


def refuse_unfitting(method: Method, models: Sequence[Model], reverse: Sequence[Model], given: Any) -> None:
    """Raise ConfigError for models or text that do not go with the method."""
    if method is Method.diversify and not reverse:
        raise ConfigError("method=diversify needs runs of both directions: reverse=[C,D], those that translate back")
    if method is not Method.diversify and reverse:
        raise ConfigError(f"reverse goes with method=diversify; method={method.name} takes run alone")
    if method in (Method.distill, Method.diversify) and given is not None:
        raise ConfigError(
            f"method={method.name} translates the training text: leave input out (method=forward takes it)"
        )
    wanted = languages(models[0])
    for model in models:
        if languages(model) != wanted:
            raise ConfigError(
                f"run: {model.runs[0]} translates {shown(model)}, and {models[0].runs[0]} {shown(models[0])}"
            )
    for model in reverse:
        if languages(model) != wanted[::-1]:
            raise ConfigError(
                f"reverse: {model.runs[0]} translates {shown(model)}, which is not the other direction of "
                f"{shown(models[0])}"
            )


def languages(model: Model) -> tuple[str, str]:
    """Source and target language of a model, each by one spelling."""
    return canonical(model.data.source), canonical(model.data.target)


def shown(model: Model) -> str:
    """The direction of a model, for messages."""
    return f"{model.data.source}-{model.data.target}"


def original_pairs(job: Job) -> Iterator[tuple[str, str]]:
    """The pairs of the training text in the direction of the new pairs, where that is what is translated."""
    if job.text.data is None:
        return iter(())
    return (job.pair(line.text, str(line.other)) for line in job.text.lines())


def all_originals(jobs: Sequence[Job]) -> Iterator[tuple[str, str]]:
    """Those of all jobs, the text that several translate once."""
    texts = {(str(job.text.key()), job.backward): job for job in jobs}
    return chain.from_iterable(original_pairs(job) for job in texts.values())
