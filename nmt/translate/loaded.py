"""What nmt.load gives: a Translator that also scores, aligns and evaluates given translations."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from nmt.data.text import ParallelText
from nmt.device import resolve_device
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import hard_alignment
from nmt.eval.evaluate import Evaluation, EvaluationOptions, evaluate
from nmt.eval.forced import align
from nmt.eval.metrics import METRICS
from nmt.export.engines import EngineKind, open_engine
from nmt.plugins import load_plugins, trusting
from nmt.runs.ensemble import open_run
from nmt.search import ForcedOptions, Scored
from nmt.translate.arguments import check_characters, check_str, given_directories, list_of
from nmt.translate.options import TranslateOptions
from nmt.translate.translator import Translator

Links = list[tuple[int, int]]  # (source word, target word), counted from 0, in order


class LoadedModel(Translator):
    """The model of a run, or of several as an ensemble: ``translate``, ``attention`` and so on of Translator, and more.

    Threads may share one: no method changes the model or settings of the process.  What sampling draws then depends on
    the order of the calls.
    """

    @property
    def forced(self) -> ForcedOptions:
        """How given translations are read."""
        return ForcedOptions(self.device, self.decode.precision)

    # A str is an iterable of str, too: the first that fits counts.
    @overload
    def score(  # pyright: ignore[reportOverlappingOverload]
        self, sources: str, targets: str
    ) -> Scored: ...

    @overload
    def score(self, sources: Iterable[str], targets: Iterable[str]) -> list[Scored]: ...

    def score(self, sources: str | Iterable[str], targets: str | Iterable[str]) -> Scored | list[Scored]:
        """log P(target | source) = sum over t of log p(y_t | y_1 ... y_(t-1), source), end-of-sentence included.

        ``Scored`` has ``tokens`` (the summands, natural logarithm), ``log_prob`` (their sum) and ``score`` (with the
        penalties of ``decode``, what search ranks by).  One str each gives one, lists give a list.

        Raises TypeError for what is no text, and DataError where there are not as many targets as sources.
        """
        pairs = given_pairs(sources, targets)
        ids = self.tokenizers.source.encode(pairs[0]), self.tokenizers.target.encode(pairs[1])
        found = [row[0] for row in self.engine.score_ids(ids[0], [[target] for target in ids[1]], replace(self.decode))]
        return found[0] if isinstance(sources, str) else found

    @overload
    def align(  # pyright: ignore[reportOverlappingOverload]
        self, sources: str, targets: str
    ) -> Links: ...

    @overload
    def align(self, sources: Iterable[str], targets: Iterable[str]) -> list[Links]: ...

    def align(self, sources: str | Iterable[str], targets: str | Iterable[str]) -> Links | list[Links]:
        """For each pair the links (source word, target word), counted from 0: each target word and the source word of
        greatest attention, as ``python -m nmt.eval.align`` writes them.  Words end at spaces.

        Raises TypeError and DataError as ``score`` does, NoAttentionError for a model without attention, and
        ConfigError where another program than torch runs the model.
        """
        pairs = given_pairs(sources, targets)
        matrices = align(self.model, self.tokenizers, *pairs, self.forced, self.align_config)
        found = [sorted(hard_alignment(words).sure) for words in matrices]
        return found[0] if isinstance(sources, str) else found

    def evaluate(
        self, sources: Iterable[str], references: Iterable[str], metrics: Sequence[str] = ("bleu", "chrf")
    ) -> Evaluation:
        """Translate, and compare with one reference a sentence, as ``python -m nmt.eval`` does; nothing is written.

        ``Evaluation.scores["bleu"].value`` is a score, ``.loss`` the mean loss (nats a target token), ``.hypotheses``
        has the translations, and ``.numbers()`` every figure as a dict.

        Raises TypeError for what is no text, DataError for no sentences or unequal counts, ConfigError for a metric
        that is not known, and where another program than torch runs the model.
        """
        source = list_of("sources", "a list of str", (str,), sources)
        target = list_of("references", "a list of str", (str,), references)
        check_counts("references", source, target)
        check_characters("sources", source)
        check_characters("references", target)
        if not source:
            raise DataError("sources is empty: there is nothing to evaluate")
        for name in (names := list_of("metrics", "a list of str", (str,), metrics)):
            if name not in METRICS:
                raise ConfigError(f"metrics: {name!r} is not one of {', '.join(METRICS)}")
        options = EvaluationOptions(
            self.device, self.decode, names, (self.source_language, self.language), alignment=self.align_config
        )
        return evaluate(self.model, self.tokenizers, ParallelText("given", source, target), options)


def given_pairs(sources: Any, targets: Any) -> tuple[list[str], list[str]]:
    """Sources and targets as lists.  Raises TypeError for anything but two str or two lists of str, and DataError."""
    if isinstance(sources, str):
        check_str("targets", targets)
        listed = [sources], [targets]
    else:
        wanted = "a str or a list of str"
        listed = list_of("sources", wanted, (str,), sources), list_of("targets", wanted, (str,), targets)
        check_counts("targets", *listed)
    check_characters("sources", listed[0])
    check_characters("targets", listed[1])
    return listed


def check_counts(name: str, sources: Sequence[str], others: Sequence[str]) -> None:
    """Raise DataError unless there are as many ``others``, which are called ``name``, as sources."""
    if len(sources) != len(others):
        raise DataError(f"{name}: there are {len(others)} of them, and {len(sources)} sources")


def load(
    directory: str | Path | Sequence[str | Path],
    device: str = "auto",
    checkpoint: str = "best",
    engine: str = "torch",
    into: str | None = None,
    plugins: Sequence[str] = (),
    trust: bool = False,
) -> LoadedModel:
    """The model of a run directory, or an ensemble of several, decoding as the (first) config.yaml says.

    Args:
        directory: one run directory, or several, whose models must have the same vocabularies.  hf://OWNER/NAME is what
            to=huggingface exported and somebody uploaded to the hub; it is downloaded once.
        device: auto, cpu, cuda or cuda:N.
        checkpoint: best, last, or the mean of K retained ones: avg:K the latest, best:K the best.
        engine: the program that runs the model: torch, ctranslate2 or onnx.  For another one than torch the model is
            exported once, into the run directory.
        into: of a run of several directions (data.tags=true), the language to translate into; None: that of the first.
        plugins: files or modules that the run was trained with, which are executed as ``plugins=[...]`` of a command.
        trust: execute the copies of plug-ins that lie in the run directory.

    Raises:
        TypeError: an argument is something else.
        RunError: a directory or its weights are missing or cannot be read.
        ConfigError: the device or the engine's library is not there, the engine cannot run the model, or the
            vocabularies of several runs differ.
    """
    directories = given_directories(directory)
    check_str("device", device)
    check_str("checkpoint", checkpoint)
    check_str("engine", engine)
    if into is not None:
        check_str("into", into)
    if engine not in EngineKind.__members__:
        raise ConfigError(f"engine={engine} is not one of {', '.join(EngineKind.__members__)}")
    if not isinstance(trust, bool):  # "false" would execute code
        raise TypeError(f"trust must be True or False, got {trust!r}")
    own = load_plugins(list_of("plugins", "a list of files or modules (str)", (str,), plugins))
    with trusting(trust, own):
        run = open_run(directories)
    where = resolve_device(device)
    runner = open_engine(EngineKind[engine], run, checkpoint, where, run.config.decode)
    return LoadedModel(run, run.config.decode, where, checkpoint, TranslateOptions(into=into), engine=runner)
