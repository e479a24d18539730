"""Tags and placeholders, which are taken out of a text before it is translated; put_back.py puts them back.

What is taken out:

    tags            <b>  </b>  <br/>  <a href="x">  and comments, declarations and CDATA sections
    placeholders    {name}  {0:.2f}  {{ name }}  ${name}  %s  %d  %.2f  %1$s  %(name)s  __NAME__

A text that has a tag or a character reference (&amp; &#233;) is read as XML or HTML: its references become characters,
and in its translation & < and > are written as references.
"""

import html
import re
from collections import Counter
from dataclasses import dataclass, field

# Bounded, so that a line of many beginnings without an end is not read again and again.
COMMENT = r"<!--.{0,2000}?-->|<!\[CDATA\[.{0,2000}?\]\]>|<\?.{0,2000}?\?>|<![A-Za-z][^<>]*>"
TAG = r"<(?P<close>/)?(?P<name>[A-Za-z_][\w.:-]*)(?:[^<>\"'\w.:-](?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*)?>"
PLACEHOLDER = (
    r"\{\{[^{}]*\}\}|\$?\{[^{}\s]*\}"
    r"|(?<![\d%])%(?:\d+\$|\(\w+\))?[-+0#]*(?:\d+|\*)?(?:\.\d+)?(?:hh?|ll?|[Lzjt])?[sdiufeEgGxXocp@](?!\w)"
    r"|(?<!\w)__[^\W_]+(?:_[^\W_]+)*__(?!\w)"
)
MARK = re.compile(f"(?P<comment>{COMMENT})|{TAG}|(?P<placeholder>{PLACEHOLDER})", re.DOTALL)
REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
ENDS_CLAUSE = (",", ".", ";", ":", "!", "?", ")", "]")
# HTML elements that end a word where they begin or end; other tags may stand inside one.
BETWEEN_WORDS = re.compile(
    "address|article|aside|blockquote|body|br|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|"
    "head|header|hr|html|legend|li|main|nav|ol|option|p|pre|section|summary|table|tbody|td|tfoot|th|thead|title|tr|ul"
)


@dataclass
class Mark:
    """A tag or placeholder."""

    raw: str
    at: int  # the character of the text without marks before which it stood
    before: bool  # whether white space stood before it
    after: bool  # whether white space stood after it
    joined_before: bool = False  # whether it, and marks between, followed text without white space
    joined_after: bool = False  # whether text followed it, and marks between, without white space


@dataclass
class Marked:
    """A text without its tags and placeholders, and these."""

    text: str
    is_markup: bool  # whether it was read as XML or HTML
    marks: list[Mark] = field(default_factory=list)
    pairs: dict[int, int] = field(default_factory=dict)  # opening tags and the tags that close them, by their places

    def written(self, text: str) -> str:
        """A piece of translation in the form of the source: with references where that was XML or HTML."""
        return html.escape(text, quote=False) if self.is_markup else text


def take_out(text: str) -> Marked:
    """A text without its marks.

    No white space is left twice where a mark was, and none before the punctuation that followed a placeholder.  Tags
    that are not closed, or close nothing, are marks without a partner.
    """
    found = list(MARK.finditer(text))
    is_markup = any(m["placeholder"] is None for m in found) or any(map(characters, REFERENCE.finditer(text)))
    marked, end, plain = Marked("", is_markup), 0, ""
    for number, match in enumerate(found):
        plain = joined(plain, piece(marked, text[end : match.start()]), marked.marks, found[number - 1 : number])
        end = match.end()
        before, after = text[: match.start()][-1:].isspace(), text[end : end + 1].isspace()
        marked.marks.append(Mark(match[0], len(plain), before, after))
    marked.text = joined(plain, piece(marked, text[end:]), marked.marks, found[-1:])
    marked.pairs = pairs_of(found)
    set_joined(text, found, marked.marks)
    return marked


def set_joined(text: str, found: list[re.Match[str]], marks: list[Mark]) -> None:
    """Say of each mark whether it is joined to text before it and after it."""
    for k, (match, mark) in enumerate(zip(found, marks, strict=True)):
        follows = k > 0 and found[k - 1].end() == match.start()
        mark.joined_before = marks[k - 1].joined_before if follows else match.start() > 0 and not mark.before
    for k in reversed(range(len(marks))):
        end = found[k].end()
        follows = k + 1 < len(marks) and found[k + 1].start() == end
        marks[k].joined_after = marks[k + 1].joined_after if follows else end < len(text) and not marks[k].after


def piece(marked: Marked, text: str) -> str:
    """Text between marks as the model reads it."""
    return REFERENCE.sub(characters, text) if marked.is_markup else text


def characters(reference: re.Match[str]) -> str:
    """What a character reference stands for; of an unknown one the reference itself."""
    found = html.unescape(reference[0])
    return reference[0] if len(found) > 2 else found


def joined(plain: str, more: str, marks: list[Mark], last: list[re.Match[str]]) -> str:
    """The text before a mark and the text after it, ``last`` being that mark (empty: there is none yet)."""
    if not last or not more:
        return plain + more
    (match,) = last
    if not plain or plain[-1].isspace():
        more = more.lstrip()
        if match["placeholder"] is not None and more.startswith(ENDS_CLAUSE):
            plain = plain.rstrip()
            for mark in marks:
                mark.at = min(mark.at, len(plain))
    elif not more[:1].isspace() and BETWEEN_WORDS.fullmatch((match["name"] or "").lower()):
        more = " " + more
    return plain + more


def pairs_of(found: list[re.Match[str]]) -> dict[int, int]:
    """Which opening tag is closed by which; a tag closes the last open one of its name, and what that held."""
    pairs: dict[int, int] = {}
    opened: list[tuple[str, int]] = []
    counts: Counter[str] = Counter()
    for number, match in enumerate(found):
        name = match["name"]
        if name is None or match[0].endswith("/>"):
            continue
        if not match["close"]:
            opened.append((name, number))
            counts[name] += 1
        elif counts[name]:
            while True:
                other, begin = opened.pop()
                counts[other] -= 1
                if other == name:
                    break
            pairs[begin] = number
    return pairs
