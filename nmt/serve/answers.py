"""What is answered for a text: JSON, made in the thread that translates."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nmt.errors import UserError
from nmt.report.look import values
from nmt.serve.batching import Job
from nmt.translate.translation import Translation
from nmt.translate.translator import Translator


class Answers:
    """Translates jobs with a Translator, whose ``decode.n_best`` it changes: nobody else may use that Translator."""

    def __init__(self, translator: Translator, attention_chars: int) -> None:
        self.translator, self.decode, self.attention_chars = translator, translator.decode, attention_chars

    def __call__(self, jobs: Sequence[Job]) -> list[str]:
        """The answer for each job, a JSON object with ``translation``, ``hypotheses`` and ``warnings``.

        Those that want equally many translations are searched together.
        """
        answers: dict[int, str] = {}
        for n_best in sorted({job.n_best for job in jobs}):
            places = [place for place, job in enumerate(jobs) if job.n_best == n_best]
            warnings: dict[int, list[str]] = defaultdict(list)
            self.translator.decode = replace(self.decode, n_best=n_best)
            found = self.translator.hypotheses(
                [jobs[place].text for place in places], warn=lambda i, message, to=warnings: to[i].append(message)
            )
            for i, (place, hypotheses) in enumerate(zip(places, found, strict=True)):
                answers[place] = json.dumps(self.tree(jobs[place], hypotheses, warnings[i]), ensure_ascii=False)
        return [answers[place] for place in range(len(jobs))]

    def tree(self, job: Job, found: Sequence[Translation], warnings: list[str]) -> dict[str, Any]:
        """The answer in JSON types."""
        keys = ("text", "score", "log_prob", "finished")
        tree: dict[str, Any] = {
            "translation": found[0].text if found else "",
            "hypotheses": [{key: getattr(translation, key) for key in keys} for translation in found],
            "warnings": warnings,
        }
        if job.attention:
            tree["attention"] = None
            try:
                tree["attention"] = self.attention(job.text, tree["translation"])
            except UserError as error:
                warnings.append(f"no attention: {error}")
        return tree

    def attention(self, text: str, target: str) -> dict[str, Any]:
        """Tokens and weights[layer][head][target][source] of the best translation, and the window of local attention.

        Raises UserError for a model without attention, and for a text that is blank, above ``attention_chars`` or
        translated in parts.
        """
        if len(text) > self.attention_chars:
            raise UserError(f"the text has more than {self.attention_chars:,} characters")
        [ids] = self.translator.tokenizers.source.encode([text])
        if len(ids) > self.translator.source_limit():
            raise UserError("the text is translated in parts")
        picture = self.translator.attention(text, target).picture
        return {"source": picture.source, "target": picture.target, **values(picture)}
