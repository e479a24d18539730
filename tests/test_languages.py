"""One table of languages, whatever form their codes have."""

import pytest

from nmt.languages import language_of, without_spaces


@pytest.mark.parametrize("code", ["zh", "ZH", "zh_Hant_TW", "zh-Hans", " zh\n", "Zh-hant-TW"])
def test_the_language_of_a_code(code):
    assert language_of(code) == "zh"
    assert without_spaces(code)


@pytest.mark.parametrize(("code", "language"), [("", ""), ("de_AT", "de"), ("yue-Hant", "yue"), ("zhx", "zhx")])
def test_a_code_is_not_taken_for_another(code, language):
    assert language_of(code) == language


@pytest.mark.parametrize("code", ["", "de", "en-US", "ko", "vi", "zhx", "hi_IN"])
def test_other_languages_have_spaces(code):
    assert not without_spaces(code)
