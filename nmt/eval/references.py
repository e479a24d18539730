"""What a user should know of references before believing a score that is computed against them."""

from collections.abc import Sequence

from nmt.eval.metrics import bleu_tokenizer
from nmt.languages import language_of, language_without_spaces


def notes_on_references(references: Sequence[str], target_language: str) -> list[str]:
    """Whatever makes scores against these references mislead, a sentence each; usually nothing.

    ``target_language`` is the code that chooses BLEU's tokenizer (nmt.languages).
    """
    notes = []
    likely = language_without_spaces("".join(references)) if bleu_tokenizer(target_language) == "13a" else ""
    if likely:
        reason = "a language with spaces between words" if language_of(target_language) else "unknown"
        notes.append(
            f"the references have no spaces between words, and data.target={target_language} is {reason}, so that BLEU "
            f"takes clauses for words; type the language of the text, data.target={likely} perhaps"
        )
    return notes
