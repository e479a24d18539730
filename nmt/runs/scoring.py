"""A run's model scored on sets of sentences; the results are written into the run directory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from nmt.config import to_tree
from nmt.data import corpus
from nmt.data.text import DataConfig, ParallelText
from nmt.device import resolve_precision
from nmt.eval.evaluate import Evaluation, EvaluationOptions, count_of, evaluate, languages_of
from nmt.eval.metrics import EvalConfig
from nmt.runs.directory import Run, alignment_config
from nmt.runs.ensemble import EnsembleRun
from nmt.runs.results import HYPOTHESES, Way, difference_from, folder_of, put_aside, set_folder, way, write_results
from nmt.search import DecodeConfig


def languages(data: DataConfig) -> tuple[str, str]:
    """The codes of both languages."""
    return data.source, data.target


def last_line(scored: Sequence[tuple[Evaluation, Path]], names: Sequence[str] = ()) -> str:
    """The number that is wanted of each evaluation, by its first metric, and the file of the translations.

    BLEU on test: 31.63 (runs/a/scores/test/hypotheses.txt).  ``names`` are those of several systems.
    """
    found = []
    for number, (evaluation, folder) in enumerate(scored):
        of = f" of {names[number]}" if names else ""
        for metric in list(evaluation.scores.values())[:1]:
            part = count_of(evaluation.sentences, evaluation.set_sentences)
            limited = f", {part} sentences" if evaluation.sentences < evaluation.set_sentences else ""
            file = folder / HYPOTHESES
            found.append(f"{metric.name} on {evaluation.name}{of}: {metric.value:.2f}{limited} ({file})")
    return "; ".join(found)


class Scorer:
    """The model of a run or ensemble, with which sets are scored; the results are written into ``run.scores``."""

    def __init__(
        self,
        run: Run | EnsembleRun,
        data: DataConfig,
        decode: DecodeConfig,
        device: torch.device,
        which: str = "best",
        measure: EvalConfig | None = None,
        known: Callable[[str], bool] | None = None,
    ) -> None:
        """``known``: whether the training target has a word, in lower case; None where that is not known."""
        self.run, self.data, self.decode, self.device, self.which = run, data, decode, device, which
        self.measure, self.known = measure or EvalConfig(), known
        self.weights = [path.name for path in run.weights(which)]
        self.model, self.step = run.load_model(which, device)

    def validation(self) -> ParallelText:
        """The run's validation set."""
        return corpus.validation_text(self.data)

    def score(self, text: ParallelText) -> Evaluation:
        """Evaluate, and write the results into ``folder``."""
        total = self.limit(text) or len(text)
        options = EvaluationOptions(
            self.device,
            self.decode,
            metrics=self.measure.metrics,
            languages=languages(self.data),
            limit=self.measure.limit,
            alignment=alignment_config(self.run.config),
            challenges=True,
            known=self.known,
        )
        with tqdm(total=total, desc=text.name, unit=" sentences", leave=False, disable=None) as bar:
            found = evaluate(self.model, self.run.tokenizers, text, options, progress=bar.update)
        self.write(text, found)
        return found

    def limit(self, text: ParallelText) -> int | None:
        """How many sentences of a set are scored; None: all."""
        limit = self.measure.limit
        return None if limit is None or limit >= len(text) else limit

    def ways(self, text: ParallelText) -> tuple[Way, Way]:
        """How the set is scored, and how training scores sets."""
        usual = self.run.config.decode
        precision, usual_precision = (resolve_precision(d.precision, self.device) for d in (self.decode, usual))
        return way(self.which, self.limit(text), precision, self.decode), way("best", None, usual_precision, usual)

    def difference(self, text: ParallelText) -> Way:
        """How the set is scored differently from how training scores sets."""
        return difference_from(self.run.scores / set_folder(text.name), *self.ways(text))

    def folder(self, text: ParallelText) -> Path:
        """Where the results of a set belong (nmt.runs.results)."""
        return folder_of(self.run.scores / set_folder(text.name), self.difference(text))

    def write(self, text: ParallelText, found: Evaluation) -> None:
        """Write the results and the sentences that were scored into ``folder``."""
        put_aside(self.run.scores / set_folder(text.name), self.ways(text)[1], len(text))
        folder, difference = self.folder(text), self.difference(text)
        texts = (
            [text.source[i] for i in found.indices],
            [text.target[i] for i in found.indices],
            found.hypotheses,
        )
        how = {
            "run": self.run.name,
            "languages": languages_of(text, languages(self.data)),
            "checkpoint": self.which,
            "weights": self.weights,
            "step": self.step,
            "decode": to_tree(self.decode),
            "precision": resolve_precision(self.decode.precision, self.device).name,
            "device": str(self.device),
            "difference": difference,
        }
        write_results(folder, {**found.to_dict(), **how}, texts)
