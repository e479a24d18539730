"""Fonts that are installed after matplotlib made its list are found."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from nmt.eval.figures import fonts

CHARACTER = "\u3400"  # Chinese


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A font with CHARACTER, which DejaVu Sans lacks, that the system has and matplotlib's list lacks."""
    pen = TTGlyphPen(None)
    for point, draw in (((0, 0), pen.moveTo), ((0, 500), pen.lineTo), ((500, 0), pen.lineTo)):
        draw(point)
    pen.closePath()
    glyph = pen.glyph()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "letter"])
    made.setupCharacterMap({ord(CHARACTER): "letter"})
    made.setupGlyf({".notdef": glyph, "letter": glyph})
    made.setupHorizontalMetrics({".notdef": (600, 0), "letter": (600, 0)})
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": "Own Han", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    path = tmp_path / "own.ttf"
    made.save(path)
    base = [face for face in font_manager.fontManager.ttflist if face.name == fonts.BASE]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", base)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path), str(tmp_path / "gone.ttf")])
    fonts._add_new_fonts.cache_clear()
    yield path
    fonts._add_new_fonts.cache_clear()


def test_a_font_that_was_just_installed_is_used(installed):
    """matplotlib reads its list from a cache that nothing renews."""
    assert fonts.families_for([CHARACTER]) == ([fonts.BASE, "Own Han"], set())
    assert font_manager.findfont("Own Han") == str(installed)


def test_fonts_are_looked_for_only_where_one_is_missing(installed):
    assert fonts.families_for(["a"]) == ([fonts.BASE], set())
    assert len(font_manager.fontManager.ttflist) == len({f.fname for f in font_manager.fontManager.ttflist})
    assert {face.name for face in font_manager.fontManager.ttflist} == {fonts.BASE}
