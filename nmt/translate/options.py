"""What nmt.translate reads and writes beside plain text (translate.*)."""

from dataclasses import dataclass
from enum import Enum

from nmt.data.pieces import SUBWORDS, Tokenizer, TokenizerKind
from nmt.errors import ConfigError
from nmt.languages import without_spaces
from nmt.settings import check_ranges, setting

# Unless translate.max_source says otherwise, a source of so many pieces is translated in one piece even where
# decode.max_length is less.
ORDINARY = 250


class InputFormat(Enum):
    """What a line of input is."""

    text = "text"  # a source text
    jsonl = "jsonl"  # a JSON object with the source text and perhaps a prefix


class AlignmentOutput(Enum):
    """How word alignments are given."""

    none = "none"
    hard = "hard"  # each target word with the source word of greatest weight
    soft = "soft"  # all weights


class Format(Enum):
    """What a line of output is."""

    text = "text"  # the best translation; with decode.n_best above 1 a line for each, in the form of Moses
    jsonl = "jsonl"  # a JSON object with all of decode.n_best


@dataclass
class TranslateOptions:
    """What is made of each line (translate.*)."""

    input_format: InputFormat = setting(
        InputFormat.text,
        'text: a source; jsonl: {"source": ..., "prefix": ...} a line, prefix optional, others ignored',
    )
    into: str | None = setting(
        None, "of a run with data.tags=true: the language to translate into; null: that of its first direction"
    )
    prefix_file: str | None = setting(
        None,
        "a line for each line of input: the text its translation begins with, blank: any; the prefix is "
        "tokenized by itself; subword and character models may continue its last word",
        path=True,
    )
    format: Format = setting(
        Format.text,
        "text: the best translation or, with decode.n_best=2 and more, lines NUMBER ||| TEXT ||| logprob= LOG_PROB ||| "
        "SCORE, as Moses lists them; jsonl: a JSON object a line",
    )
    token_scores: bool = setting(False, "jsonl: the pieces and the log-probability of each")
    alignments: AlignmentOutput = setting(
        AlignmentOutput.none, "words of source and translation: none, hard (links) or soft (weights)"
    )
    alignments_file: str | None = setting(
        None, "write alignments here, a line for each line: Pharaoh form, or all weights", path=True
    )
    replace_unknown: bool = setting(False, "word-level models: replace each <unk> by the source word it attends to")
    dictionary: str | None = setting(
        None, "for replace_unknown: a file of two columns, source word and translation", path=True
    )
    paragraphs: bool = setting(
        False, "a line is a paragraph: its sentences are translated one by one and put together again"
    )
    tags: bool = setting(
        False,
        "tags (<b>, <br/>) and placeholders ({name}, %s, __NAME__) are taken out, and put back where attention says",
    )
    max_source: int | None = setting(
        None, f"split lines of more pieces; null: decode.max_length, but at least {ORDINARY}", least=1
    )

    def __post_init__(self) -> None:
        check_ranges(self, "translate")
        if self.prefix_file is not None and self.input_format is InputFormat.jsonl:
            raise ConfigError(
                'translate.prefix_file is for translate.input_format=text; with jsonl each line has its own "prefix"'
            )
        if self.dictionary is not None and not self.replace_unknown:
            raise ConfigError("translate.dictionary is for translate.replace_unknown=true")
        if self.token_scores and self.format is not Format.jsonl:
            raise ConfigError("translate.token_scores=true needs translate.format=jsonl")
        if self.alignments_file is not None and self.alignments is AlignmentOutput.none:
            raise ConfigError("translate.alignments_file needs translate.alignments=hard or soft")
        if self.alignments is not AlignmentOutput.none and self.alignments_file is None and self.format is Format.text:
            raise ConfigError(
                f"translate.alignments={self.alignments.name} has nowhere to go: type "
                "translate.alignments_file=FILE or translate.format=jsonl"
            )

    @property
    def reads_attention(self) -> str | None:
        """An option, with its value, for which attention is read; None where none is set."""
        if self.alignments is not AlignmentOutput.none:
            return f"translate.alignments={self.alignments.name}"
        return next((f"translate.{key}=true" for key in ("replace_unknown", "tags") if getattr(self, key)), None)


def check_words(name: str, tokenizer: Tokenizer) -> None:
    """Raise ConfigError unless the target vocabulary is made of words, so that <unk> stands for a whole one."""
    if tokenizer.kind is TokenizerKind.word:
        return
    reason = (
        "its pieces spell every word, so it never writes <unk>"
        if tokenizer.kind in SUBWORDS
        else "what it does not know are characters, not words"
    )
    raise ConfigError(
        f"translate.replace_unknown is for models of whole words; {name} has "
        f"data.tokenizer.kind={tokenizer.kind.name}: {reason}"
    )


def check_spaces(*languages: str) -> None:
    """Raise ConfigError for a language that has no spaces between words, which tags are put around."""
    for language in languages:
        if without_spaces(language):
            raise ConfigError(f"translate.tags=true puts tags around words, and {language} has no spaces between words")
