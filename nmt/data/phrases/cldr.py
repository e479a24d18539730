"""Short pieces of text in two languages at once, from CLDR (through babel) and num2words.

A piece is a date, an amount of money, the name of a country.  It consists of fragments, so that every target word can
be traced to the words of the source that it renders: fragments with the same key mean the same.
"""
# ruff: noqa: SIM905 - lists of codes read better as text

import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from babel import Locale
from babel.dates import TIMEDELTA_UNITS, DateTimeFormat, format_timedelta, tokenize_pattern
from babel.numbers import format_currency, format_decimal
from babel.units import format_unit
from num2words import CONVERTER_CLASSES, num2words

from nmt.languages import without_spaces

TERRITORIES = """AE AF AL AM AR AT AU AZ BD BE BG BO BR BY CA CH CL CM CN CO CR CU CY CZ DE DK DO DZ EC EE EG ES ET FI
FR GB GE GH GR GT HN HR HU ID IE IL IN IQ IR IS IT JM JO JP KE KH KR KW KZ LA LB LT LU LV LY MA MD MG ML MN MT MX MY MZ
NA NE NG NI NL NO NP NZ OM PA PE PH PK PL PT PY QA RO RS RU SA SE SG SI SK SN SO SV SY TD TH TN TR TW TZ UA UG US UY UZ
VE VN YE ZA ZM ZW""".split()
LANGUAGES = """ar az be bg bn ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn
ko la lt lv mk ml mn mr ms mt ne nl pa pl pt ro ru sk sl sq sr sv sw ta te th tr uk ur uz vi zh zu""".split()
CURRENCIES = "EUR USD GBP JPY CHF CNY INR KRW PLN SEK CZK TRY BRL CAD MXN".split()
UNITS = """length-kilometer length-meter length-centimeter length-mile length-foot mass-kilogram mass-gram mass-tonne
volume-liter volume-milliliter volume-cubic-meter area-square-kilometer area-square-meter area-hectare
temperature-celsius temperature-fahrenheit speed-kilometer-per-hour speed-meter-per-second energy-kilowatt-hour
power-watt electric-volt digital-megabyte digital-gigabyte angle-degree""".split()
DURATIONS = ("day", "hour", "minute", "second")

# Values are few and mostly round, so that a small model meets each of them often enough to learn it.
AMOUNTS = [0.5, 1.5, 2.5, *range(2, 13), 15, 25, 75, *range(20, 100, 10), *range(100, 1000, 100)]
AMOUNTS += [1000, 1500, 2000, 5000]
PRICES = [0.5, 1.5, 2, 3, 5, 8, 9.99, 10, 12, 15, 20, 25, 30, 40, 50, 80, 100, 200, 500, 1000]
COUNTS = [*range(2, 13), 15, 20, 25, 30, 50]
NUMBERS = [*range(2, 100), *range(100, 1000, 50)]
YEARS = range(2010, 2030)

# What babel and num2words raise for what a locale lacks.
MISSING_IN_LOCALE = (LookupError, ValueError, TypeError, AttributeError, NotImplementedError)

Fragments = tuple[tuple[str | None, str], ...]  # (key, text): the same key means the same on both sides; None is glue


Render = Callable[[Locale], Fragments]


class Piece(NamedTuple):
    """A text in the two languages."""

    source: Fragments
    target: Fragments


def plain(text: str) -> str:
    """Every kind of space as U+0020, and no direction marks: CLDR sets these for the eye alone."""
    return re.sub(r"\s", " ", re.sub("[\u200e\u200f\u061c]", "", text))


def text_of(fragments: Sequence[tuple[str | None, str]]) -> str:
    """The fragments run together."""
    return "".join([text for _, text in fragments])


def around(number: str, text: str, key: str) -> Fragments:
    """Split ``text`` at the number in it: keys ``number`` and ``key``; unsplit where the number shows otherwise."""
    before, found, after = text.partition(number)
    if not found:
        return ((key, text),)
    return tuple(part for part in ((key, before), ("number", found), (key, after)) if part[1])


def in_fields(pattern: str, value: datetime.date, locale: Locale) -> Fragments:
    """A CLDR date pattern filled field by field: weekday, month, day and year can each be traced."""
    names = {"E": "weekday", "c": "weekday", "M": "month", "L": "month", "d": "day", "y": "year"}
    fields: Any = DateTimeFormat(value, locale)
    parts = []
    for kind, token in tokenize_pattern(pattern):
        if kind == "field":
            letter, count = token
            parts.append((names.get(str(letter)), plain(fields[str(letter) * int(count)])))
        else:
            parts.append((None, plain(str(token))))
    return tuple(parts)


@cache
def template(pattern: str, spaced: bool) -> tuple[int | Fragments, ...]:
    """A CLDR pattern such as ``{0}, and {1}`` as places and glue; words of the glue have the key ``joint``.

    ``spaced``: set a space wherever glue without one would run two members together.
    """
    parts: list[int | Fragments] = []
    for part in re.split(r"(\{\d\})", plain(pattern.replace("'", ""))):
        if re.fullmatch(r"\{\d\}", part):
            parts.append(int(part[1]))
        elif part:
            before, word, after = re.fullmatch(r"(\W*)(.*?)(\W*)", part).groups()  # type: ignore[union-attr]
            if spaced:
                before, after = f"{before.rstrip()} ", f"{after.rstrip()} " if word else ""
            parts.append(tuple(p for p in ((None, before), ("joint", word), (None, after)) if p[1]))
    return tuple(parts)


def glue(locale: Locale, pattern: str, items: Sequence[Fragments], place: int = 0) -> Fragments:
    """``items`` set into the places of a CLDR pattern; ``place`` tells its joints from those of other patterns."""
    # Where a language has no spaces between words, the members of a list get one, so that they are words of the text.
    parts = template(pattern, without_spaces(locale.language))
    filled = (items[p] if isinstance(p, int) else [(key and f"{key} {place}", text) for key, text in p] for p in parts)
    return tuple(fragment for part in filled for fragment in part)


def list_of(locale: Locale, items: Sequence[Fragments], style: str) -> Fragments:
    """A CLDR list: ``A, B, and C`` (style standard) or ``A, B, or C`` (style or)   (Unicode TR35, list patterns)."""
    if len(items) == 1:
        return items[0]
    patterns = locale.list_patterns[style]
    if len(items) == 2:
        return glue(locale, patterns["2"], items)
    result = glue(locale, patterns["start"], items[:2])
    for place, item in enumerate(items[2:-1], 1):
        result = glue(locale, patterns["middle"], (result, item), place)
    return glue(locale, patterns["end"], (result, items[-1]), len(items) - 2)


def list_styles(*locales: Locale) -> list[str]:
    """The styles of list that all of ``locales`` have."""
    wanted = {"2", "start", "middle", "end"}
    return [s for s in ("standard", "or") if all(wanted <= set(locale.list_patterns.get(s, ())) for locale in locales)]


@lru_cache(maxsize=4)
def pieces(source: Locale, target: Locale) -> dict[str, list[Piece]]:
    """Every piece there is, by kind, in a fixed order; what either language lacks is left out.

    The text of a source piece occurs once in all kinds together, so source to target is a function.
    """
    seen: set[str] = set()
    pool: dict[str, list[Piece]] = {}
    for kind, renderings in KINDS:
        found = []
        for render in renderings():
            try:
                piece = Piece(render(source), render(target))
            except MISSING_IN_LOCALE:
                continue
            text = text_of(piece.source)
            if text.strip() and text_of(piece.target).strip() and text not in seen:
                seen.add(text)
                found.append(piece)
        if found:
            pool[kind] = found
    return pool


def names(table: str, codes: Sequence[str]) -> Iterator[Render]:
    """Names of countries or languages."""
    for code in codes:
        yield lambda locale, code=code: (("name", plain(getattr(locale, table)[code])),)


def numbers() -> Iterator[Render]:
    """Numbers in words."""

    def words(locale: Locale, number: int) -> Fragments:
        code = str(locale)
        return (("number", plain(num2words(number, lang=code if code in CONVERTER_CLASSES else locale.language))),)

    for number in NUMBERS:
        yield lambda locale, number=number: words(locale, number)


def money(form: str) -> Iterator[Render]:
    """Amounts of money: form ``standard`` (with a symbol) or ``name`` (in full)."""

    def render(locale: Locale, amount: float, currency: str) -> Fragments:
        text = plain(format_currency(amount, currency, locale=locale, format_type=form))  # type: ignore[arg-type]
        digits = re.search(r"\d+(?:\D\d+)*", text)
        return around(digits[0] if digits else "", text, "currency")

    for currency in CURRENCIES:
        for amount in PRICES:
            yield lambda locale, amount=amount, currency=currency: render(locale, amount, currency)


def counted(amount: float, unit: str, locale: Locale) -> Fragments:
    """A number and a unit of measurement, written out, or short where CLDR writes none out."""
    for length in ("long", "short"):
        text = plain(format_unit(amount, unit, length=length, locale=locale))  # type: ignore[arg-type]
        if unit not in text:  # babel shows the code of a unit that it cannot name
            return around(plain(format_decimal(amount, locale=locale)), text, "unit")
    raise LookupError(f"{locale} has no name for {unit}")


def measures() -> Iterator[Render]:
    """Amounts with a unit of measurement."""
    for unit in UNITS:
        for amount in AMOUNTS:
            yield lambda locale, amount=amount, unit=unit: counted(amount, unit, locale)


def durations() -> Iterator[Render]:
    """Durations in two units: 3 hours and 20 minutes."""

    def render(locale: Locale, large: int, unit: int, small: int) -> Fragments:
        both = [
            counted(n, f"duration-{u}", locale) for n, u in ((large, DURATIONS[unit]), (small, DURATIONS[unit + 1]))
        ]
        # The keys are told apart, so that the second number is not traced to the first.
        both[1] = tuple((k and f"{k} 2", text) for k, text in both[1])
        return glue(locale, locale.list_patterns["standard"]["2"], both)

    for unit in range(len(DURATIONS) - 1):
        for large in range(2, 13):
            for small in (2, 5, 10, 15, 20):
                yield lambda locale, large=large, unit=unit, small=small: render(locale, large, unit, small)


def relative() -> Iterator[Render]:
    """Distances in time: in 3 days, 2 weeks ago."""

    def render(locale: Locale, count: int, unit: str, seconds: int) -> Fragments:
        # With a threshold this high and this granularity, babel neither rounds nor changes to another unit.
        text = format_timedelta(count * seconds, unit, threshold=1e9, add_direction=True, locale=locale)  # type: ignore[arg-type]
        return around(str(abs(count)), plain(text), "unit")

    for unit, seconds in TIMEDELTA_UNITS:
        for count in COUNTS:
            for sign in (1, -1):
                yield lambda locale, count=sign * count, unit=unit, seconds=seconds: render(
                    locale, count, unit, seconds
                )


def days() -> Iterator[datetime.date]:
    """Dates spread over months, weekdays and years: steps of 11 days meet no short cycle of any of them."""
    day = datetime.date(YEARS[0], 1, 1)
    while day.year in YEARS:
        yield day
        day += datetime.timedelta(days=11)


def dates(length: str) -> Iterator[Render]:
    """Dates: length ``full`` (with the weekday) or ``long``."""
    for day in days():
        yield lambda locale, day=day: in_fields(str(locale.date_formats[length].pattern), day, locale)


def clock(locale: Locale, value: datetime.time) -> Fragments:
    """A time of day, by the locale's own clock of 12 or 24 hours."""
    return (("time", plain(locale.time_formats["short"].apply(value, locale))),)


def times() -> Iterator[Render]:
    """Times of day, a quarter of an hour apart."""
    for minutes in range(0, 24 * 60, 15):
        yield lambda locale, value=datetime.time(minutes // 60, minutes % 60): clock(locale, value)


def moments() -> Iterator[Render]:
    """A date and a time of day."""

    def render(locale: Locale, day: datetime.date, value: datetime.time) -> Fragments:
        date = in_fields(str(locale.date_formats["long"].pattern), day, locale)
        return glue(locale, str(locale.datetime_formats["long"]), (clock(locale, value), date))

    for i, day in enumerate(days()):
        value = datetime.time(i % 24, i // 24 * 15 % 60)
        yield lambda locale, day=day, value=value: render(locale, day, value)


# The kinds, in the order in which a text that could be two things is given to the first.
KINDS: tuple[tuple[str, Callable[[], Iterator[Render]]], ...] = (
    ("territory", lambda: names("territories", TERRITORIES)),
    ("language", lambda: names("languages", LANGUAGES)),
    ("number", numbers),
    ("measure", measures),
    ("money", lambda: money("standard")),
    ("money in words", lambda: money("name")),
    ("duration", durations),
    ("date", lambda: dates("full")),
    ("short date", lambda: dates("long")),
    ("time", times),
    ("moment", moments),
    ("relative", relative),
)
