"""A run's model scored on sets of sentences; the results are written into the run directory."""

import torch
from tqdm import tqdm

from nmt.config import to_tree
from nmt.data import corpus
from nmt.data.text import DataConfig, ParallelText
from nmt.device import resolve_precision
from nmt.eval.evaluate import Evaluation, EvaluationOptions, evaluate
from nmt.eval.metrics import EvalConfig
from nmt.runs.directory import Run, alignment_config, run_name, write_json, write_text_file
from nmt.runs.ensemble import EnsembleRun
from nmt.search import DecodeConfig


def languages(data: DataConfig) -> tuple[str, str]:
    """The codes of both languages."""
    return data.source, data.target


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
    ) -> None:
        self.run, self.data, self.decode, self.device, self.which = run, data, decode, device, which
        self.measure = measure or EvalConfig()
        self.weights = [path.name for path in run.weights(which)]
        self.model, self.step = run.load_model(which, device)

    def validation(self) -> ParallelText:
        """The run's validation set."""
        return corpus.validation_text(self.data)

    def score(self, text: ParallelText) -> Evaluation:
        """Evaluate, and write scores/SET/."""
        total = len(text) if self.measure.limit is None else min(len(text), self.measure.limit)
        options = EvaluationOptions(
            self.device,
            self.decode,
            metrics=self.measure.metrics,
            languages=languages(self.data),
            limit=self.measure.limit,
            alignment=alignment_config(self.run.config),
        )
        with tqdm(total=total, desc=text.name, unit=" sentences", leave=False, disable=None) as bar:
            found = evaluate(self.model, self.run.tokenizers, text, options, progress=bar.update)
        self.write(text, found)
        return found

    def write(self, text: ParallelText, found: Evaluation) -> None:
        """results.json, and the sentences that were scored: `sacrebleu reference.txt -i hypotheses.txt` agrees."""
        folder = self.run.scores / run_name([text.name])
        lines = {
            "source.txt": [text.source[i] for i in found.indices],
            "reference.txt": [text.target[i] for i in found.indices],
            "hypotheses.txt": found.hypotheses,
        }
        for name, rows in lines.items():
            write_text_file(folder / name, "".join(f"{row}\n" for row in rows))
        how = {
            "run": self.run.name,
            "checkpoint": self.which,
            "weights": self.weights,
            "step": self.step,
            "decode": to_tree(self.decode),
            "precision": resolve_precision(self.decode.precision, self.device).name,
            "device": str(self.device),
        }
        write_json(folder / "results.json", {**found.to_dict(), **how})
