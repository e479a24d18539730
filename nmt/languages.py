"""What the code of a language says about its text.

Codes are those that users type into data.source and data.target: ISO 639-1 or -3, in either case, with or without
script and country after a hyphen or an underscore (zh, ZH, zh-Hans, zh_Hant_TW).
"""

# Languages whose words are written without spaces between them: Tibetan, Dzongkha, Japanese, Khmer, Lao, Burmese,
# Thai, Cantonese, Chinese.  (Korean puts spaces between phrases, and Tibetan a dot between syllables.)
WITHOUT_SPACES = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th", "yue", "zh"})


def language_of(code: str) -> str:
    """The language alone, in lower case, without script and country: zh for zh_Hant_TW; "" for ""."""
    return code.strip().replace("_", "-").partition("-")[0].lower()


def without_spaces(code: str) -> bool:
    """Whether the language's words are written without spaces between them."""
    return language_of(code) in WITHOUT_SPACES
