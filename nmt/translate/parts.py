"""What is translated at once: a text, or the sentences of a paragraph, or the parts of a text that is too long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nmt.data.checks import blank
from nmt.data.pieces import Tokenizer
from nmt.translate.prefix import NO_PREFIX, Prefix
from nmt.translate.sentence_split import Span, describe_split, sentence_spans, split_long


class TextPart(NamedTuple):
    """What is translated at once: a text, or a part of a long one."""

    text: str
    ids: list[int]
    start: int = 0  # its first character in the whole text
    prefix: Prefix = NO_PREFIX


@dataclass(frozen=True)
class TextDivider:
    """Divides texts into parts that a model can read."""

    tokenizer: Tokenizer  # of the source
    language: str
    paragraphs: bool  # whether the sentences of a text are translated one by one
    limit: int  # the most pieces translated at once, unless there is no place to split
    ceiling: int | None  # the most pieces that the model reads; None: any number

    def parts(self, texts: Sequence[str]) -> Iterator[tuple[list[TextPart], list[str]]]:
        """The parts of each text, none of a blank one and one of most, and what its reader should be warned of."""
        spans = [self.sentences(text) for text in texts]
        sentences = [text[a:b] for text, inside in zip(texts, spans, strict=True) for a, b in inside]
        encoded = iter(self.tokenizer.encode(sentences))
        for text, inside in zip(texts, spans, strict=True):
            parts: list[TextPart] = []
            warnings: list[str] = []
            for a, b in inside:
                ids = next(encoded)
                if len(ids) <= self.limit:
                    parts.append(TextPart(text[a:b], ids, a))
                else:
                    more, message = self.split(text[a:b], len(ids), a)
                    parts += more
                    warnings.append(message)
            yield parts, warnings

    def sentences(self, text: str) -> list[Span]:
        """Where the sentences of a text lie that are translated one by one: with ``paragraphs`` all, else one."""
        if blank(text):
            return []
        return sentence_spans(text, self.language) if self.paragraphs else [(0, len(text))]

    def split(self, text: str, total: int, start: int) -> tuple[list[TextPart], str]:
        """The parts of a text of ``total`` pieces that is over the limit, and a message that says what was done.

        ``start`` is where it begins in the whole text.
        """
        encode = self.tokenizer.encode

        def sizes(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in encode(texts)]

        spans, where = split_long(text, self.limit, sizes, self.ceiling)
        rows = encode([text[a:b] for a, b in spans])
        message = describe_split(total, self.limit, [len(row) for row in rows], where, self.ceiling)
        parts = [TextPart(text[a:b], row[: self.ceiling], start + a) for (a, b), row in zip(spans, rows, strict=True)]
        return parts, message
