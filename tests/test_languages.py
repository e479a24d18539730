"""One notion of language, however its code is spelt."""

import re

import pytest

from nmt.languages import canonical, language_of, language_without_spaces, spellings, without_spaces

# ISO 639-1, the two codes of ISO 639-2 and FLORES/NLLB for the same language (from the lists of these standards).
SAME = """zh zho chi zho_Hans    ja jpn jpn jpn_Jpan    th tha tha tha_Thai    lo lao lao lao_Laoo
my mya bur mya_Mymr
km khm khm khm_Khmr    bo bod tib bod_Tibt    dz dzo dzo dzo_Tibt    ko kor kor kor_Hang    de deu ger deu_Latn
fr fra fre fra_Latn    cs ces cze ces_Latn    el ell gre ell_Grek    fa fas per pes_Arab    nl nld dut nld_Latn
ro ron rum ron_Latn    sq sqi alb als_Latn    ms msa may zsm_Latn    ar ara ara arb_Arab    sw swa swa swh_Latn"""


@pytest.mark.parametrize("four", re.split(r"    |\n", SAME))
def test_every_spelling_of_a_language_is_that_language(four):
    codes = four.split()
    short = codes[0]
    spelt = [*codes, *(c.upper() for c in codes), *(c.replace("_", "-").title() for c in codes), f" {codes[1]}\n"]
    assert {language_of(code) for code in spelt} == {short}
    assert len({without_spaces(code) for code in spelt}) == 1


@pytest.mark.parametrize("code", ["zh", "ZH", "zh_Hant_TW", "zh-Hans", " zh\n", "Zh-hant-TW", "cmn", "zh-cmn-Hans-CN"])
def test_chinese(code):
    assert language_of(code) == "zh"
    assert without_spaces(code)


@pytest.mark.parametrize(
    ("code", "written"),
    [("", ""), ("GER-at", "de_AT"), ("yue-hant", "yue_Hant"), ("zh-yue", "yue"), ("zhx", "zhx"), ("es-419", "es_419")],
)
def test_a_code_is_written_as_in_cldr_and_not_taken_for_another(code, written):
    assert canonical(code) == written


@pytest.mark.parametrize("code", ["yue", "wuu_Hans", "lzh", "shn_Mymr", "nod_Lana", "jav_Java"])
def test_the_script_tells_of_languages_without_a_short_code(code):
    assert without_spaces(code)


@pytest.mark.parametrize("code", ["", "de", "en-US", "ko", "vi", "zhx", "hi_IN", "xx", "zh_Latn", "jav_Latn"])
def test_other_languages_and_romanized_text_have_spaces(code):
    assert not without_spaces(code)


def test_how_files_may_be_named():
    assert spellings("eng_Latn") == ["eng_Latn", "en_Latn", "en"]
    assert spellings("en") == ["en"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我喜欢猫。", "zh"),
        ("猫が好きです。", "ja"),
        ("ฉันชอบแมว ABC", "th"),
        ("Ich mag 猫.", ""),
        ("안녕하세요", ""),
        ("12 %", ""),
        ("", ""),
    ],
)
def test_text_without_spaces_is_known_by_its_letters(text, language):
    assert language_without_spaces(text) == language
