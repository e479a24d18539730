"""What the code of a language says about its text.

Codes are those that users type into data.source and data.target, in any case: ISO 639-1 (de), ISO 639-2 (deu, ger),
ISO 639-3 (cmn), these with a script and a country as BCP 47 (zh-Hans-CN) and locales (zh_CN) have them, and the codes
of FLORES and NLLB (zho_Hans).  Which of them mean the same language, and in which script a language is usually written,
is what Unicode's CLDR says, which comes with babel.
"""

import regex
from babel.core import get_global

# Scripts by their codes of ISO 15924.
HAN = frozenset({"Hani", "Hans", "Hant"})
KOREAN = frozenset({"Hang", "Kore"})
# Scripts that are written without spaces between words.  (Korean has spaces between phrases, and Tibetan a dot between
# syllables.)
WITHOUT_SPACES = HAN | frozenset(
    {"Bali", "Hira", "Java", "Jpan", "Kana", "Khmr", "Lana", "Laoo", "Mymr", "Tale", "Talu", "Tavt", "Thai", "Tibt"}
)
# Those of the scripts above that Unicode gives to characters; Hans, Hant and Jpan are made of them.
LETTERS = {code: regex.compile(rf"\p{{Script={code}}}") for code in sorted(WITHOUT_SPACES - {"Hans", "Hant", "Jpan"})}


def canonical(code: str) -> str:
    """The code as CLDR writes it: zh_Hans for zho_Hans, de_AT for GER-at, yue for zh-yue; "" for ""."""
    first, *rest = code.strip().replace("-", "_").split("_")
    language = first.lower()
    if rest and len(rest[0]) == 3 and rest[0].isalpha():  # BCP 47's extended language, which is a language by itself
        language, *rest = rest[0].lower(), *rest[1:]
    language, *implied = get_global("language_aliases").get(language, language).split("_")  # sh is sr_Latn
    rest = [part.title() if len(part) == 4 else part.upper() for part in rest if part]
    return "_".join([language, *(rest or implied)])


def language_of(code: str) -> str:
    """The language alone, by its shortest code, without script and country: zh for zh_Hant_TW, zho and cmn_Hans."""
    return canonical(code).partition("_")[0]


def script_of(code: str) -> str:
    """The script that the code names, or else the usual one of the language and country; "" where it is not known."""
    language, *rest = canonical(code).split("_")
    named = next((part for part in rest if len(part) == 4 and part.isalpha()), "")
    likely = get_global("likely_subtags")
    whole = likely.get("_".join([language, *rest[:1]])) or likely.get(language) or ""
    return named or (whole.split("_")[1] if whole else "")


def spellings(code: str) -> list[str]:
    """What a file's ending or a column's name may be for a language, the likelier first."""
    return list(dict.fromkeys([code, code.strip(), canonical(code), language_of(code)]))


def without_spaces(code: str) -> bool:
    """Whether the language's words are written without spaces between them."""
    return script_of(code) in WITHOUT_SPACES


def language_without_spaces(text: str) -> str:
    """A language without spaces whose script most letters of a text have, ja or th for example; "" where none has."""
    counts = {script: len(letters.findall(text)) for script, letters in LETTERS.items()}
    if 2 * sum(counts.values()) <= sum(map(str.isalpha, text)):
        return ""
    script = max(counts, key=lambda script: counts[script])
    japanese = script in HAN and 20 * (counts["Hira"] + counts["Kana"]) > counts[script]
    return "ja" if japanese else get_global("likely_subtags")[f"und_{script}"].partition("_")[0]
