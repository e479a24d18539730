"""What a user should know of references and translations before believing a score that is computed of them."""

import unicodedata
from collections.abc import Sequence

from nmt.eval.metrics import bleu_tokenizer
from nmt.languages import language_without_spaces, script_of

TOKENIZED_LINES = 100  # from so many lines on sacreBLEU, too, takes a text for tokenized


def notes_on_references(references: Sequence[str], target_language: str, file: str = "") -> list[str]:
    """Whatever makes scores against these references mislead, a sentence each; usually nothing.

    ``target_language`` is the code that chooses BLEU's tokenizer (nmt.languages); ``file`` is where they stand.
    """
    notes = []
    decomposed = sum(not unicodedata.is_normalized("NFC", line) for line in references)
    if decomposed:
        notes.append(
            f"{decomposed:,} of {len(references):,} lines of {file or 'the references'} are not in Unicode's composed "
            "form NFC, in which translations are written, so that equal text counts as different; convert the file "
            "to NFC (uconv -x any-nfc)"
        )
    likely = language_without_spaces("".join(references)) if bleu_tokenizer(target_language) == "13a" else ""
    if likely:
        reason = "a language with spaces between words" if script_of(target_language) else "unknown"
        notes.append(
            f"the references have no spaces between words, and data.target={target_language} is {reason}, so that BLEU "
            f"takes clauses for words; type the language of the text, data.target={likely} perhaps"
        )
    return notes


def notes_on_translations(hypotheses: Sequence[str]) -> list[str]:
    """What makes scores of these translations mislead, a sentence each; usually nothing."""
    tokenized = sum(line.endswith(" .") for line in hypotheses)
    if tokenized < TOKENIZED_LINES:
        return []
    return [
        f"{tokenized:,} of {len(hypotheses):,} lines of hypotheses.txt end in a full stop with a space before it, as "
        "in tokenized text; the scores are meant for text as people write it, so train on text that is not tokenized"
    ]
