"""What a client asks for: read from JSON and checked, with a message for everything that cannot be."""

import json
from typing import Any, NamedTuple

from nmt.errors import shown
from nmt.serve.config import ServeOptions
from nmt.translate.arguments import has_half_pair

KEYS = ("text", "texts", "n_best", "attention")
FORM = 'send {"text": TEXT} or {"texts": [TEXT, ...]}'
# A character of a text is at most twelve bytes of JSON: an escaped surrogate pair, \ud83d\ude00.
BYTES_PER_CHARACTER = 12
BYTES_BESIDE = 4096  # keys, spaces and numbers


class RefusedError(Exception):
    """A request that is not answered as asked: HTTP status, a message, and perhaps when to come again (seconds)."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


class TranslationRequest(NamedTuple):
    """What is to be translated, and how."""

    texts: list[str]
    listed: bool  # whether the answer is a list
    n_best: int
    attention: bool


def most_bytes(options: ServeOptions) -> int:
    """The size above which a body holds more than the limits allow, however it is written."""
    return BYTES_BESIDE + BYTES_PER_CHARACTER * options.max_chars + 4 * options.max_texts


def read_request(body: bytes, options: ServeOptions, n_best: int, most: int) -> TranslationRequest:
    """The request in a body; ``n_best`` is the number of translations unless it names one, up to ``most``.

    Raises RefusedError: 400 for what is no such request, 413 for one that is too large.
    """
    tree = parse(body)
    if not isinstance(tree, dict):
        raise RefusedError(400, f"the body is no JSON object: {FORM}")
    for key in tree:
        if key not in KEYS:
            raise RefusedError(400, f"unknown key {shown(key)}; there are {', '.join(KEYS)}")
    if ("text" in tree) == ("texts" in tree):
        raise RefusedError(400, f"one of text and texts is needed: {FORM}")
    texts = given_texts(tree)
    check_size(texts, options)
    count, attention = tree.get("n_best", n_best), tree.get("attention", False)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise RefusedError(400, f"n_best must be a whole number from 1 to {most}, got {as_json(count)}")
    if not isinstance(attention, bool):
        raise RefusedError(400, f"attention must be true or false, got {as_json(attention)}")
    return TranslationRequest(texts, "texts" in tree, count, attention)


def parse(body: bytes) -> Any:
    """The JSON in a body."""
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise RefusedError(400, "the body is no JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # json.JSONDecodeError, or a number of thousands of digits
        raise RefusedError(400, f"the body is no JSON: {error}") from None


def given_texts(tree: dict[str, Any]) -> list[str]:
    """The texts of a request; raises RefusedError for what is no text."""
    if "text" in tree:
        named = {"text": tree["text"]}
    elif isinstance(tree["texts"], list):
        named = {f"texts[{number}]": text for number, text in enumerate(tree["texts"])}
    else:
        raise RefusedError(400, f"texts must be a list, got {as_json(tree['texts'])}")
    for name, text in named.items():
        if not isinstance(text, str):
            raise RefusedError(400, f"{name} must be a text, got {as_json(text)}")
        if has_half_pair(text):
            raise RefusedError(400, f"{name} has half of a surrogate pair, which is no character")
    return list(named.values())


def check_size(texts: list[str], options: ServeOptions) -> None:
    """Raise RefusedError for more texts or characters than the limits allow."""
    if len(texts) > options.max_texts:
        raise RefusedError(413, f"{len(texts):,} texts are too many; at most {options.max_texts:,} a request")
    total = sum(map(len, texts))
    if total > options.max_chars:
        raise RefusedError(413, f"{total:,} characters are too many; at most {options.max_chars:,} a request")


def as_json(value: Any) -> str:
    """A value as a message quotes it, in the notation in which it was sent, and cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
