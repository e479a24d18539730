"""Which installed fonts hold the characters of a text, and what to say when none does."""

import contextlib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, Georgian, ...

# Families that claim characters which they draw as something else, or as boxes that name the script.
_UNFIT = ("Last Resort", "cm", "STIX")


def families_for(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """Font families that together hold all characters of ``texts``, and the characters that no installed font holds.

    The first family is BASE; matplotlib falls back on the next for a character that one lacks.
    """
    missing = {c for text in texts for c in text if ord(c) not in _characters(_path(BASE))}
    families, missing = _cover(missing)
    return _cover(missing, families) if missing and _add_new_fonts() else (families, missing)


def _cover(missing: set[str], families: Sequence[str] = (BASE,)) -> tuple[list[str], set[str]]:
    """``families`` and those others that hold some of ``missing``, and what none of them holds."""
    families, missing = list(families), set(missing)
    for name, path in _others() if missing else ():
        found = {c for c in missing if ord(c) in _characters(path)}
        if found:
            families.append(name)
            missing -= found
        if not missing:
            break
    return families, missing


@cache
def _add_new_fonts() -> bool:
    """Let matplotlib know the fonts that were installed after it made its list, and say whether there are any.

    The list lies in matplotlib's cache, where nothing renews it.  The fonts are looked for once a process.
    """
    known = {face.fname for face in font_manager.fontManager.ttflist}
    new = [path for path in font_manager.findSystemFonts() if path not in known]
    for path in new:
        with contextlib.suppress(OSError, RuntimeError):  # a file that is no font, or of a kind it cannot read
            font_manager.fontManager.addfont(path)
    return bool(new)


def advice(missing: set[str]) -> str:
    """One line that says which scripts cannot be drawn, and what to install; empty where nothing is missing."""
    scripts = sorted({_script(c) for c in missing})
    wanted = sorted({_FONTS.get(script, f"Noto Sans {script}") for script in scripts})
    return f"no installed font has {', '.join(scripts)}: install {', '.join(wanted)}" if scripts else ""


_FONTS = {
    "Chinese or Japanese": "Noto Sans CJK",
    "Korean": "Noto Sans CJK",
    "symbols": "Noto Sans Symbols2, Noto Emoji",
}


def _script(character: str) -> str:
    """The script that a character belongs to, as its Unicode name tells."""
    name = unicodedata.name(character, "symbols")
    if not unicodedata.category(character).startswith(("L", "M")) and not name.startswith(("CJK", "IDEOGRAPHIC")):
        return "symbols"
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO")):
        return "Chinese or Japanese"
    return "Korean" if name.startswith("HANGUL") else name.split()[0].title()


def _path(family: str) -> str:
    return font_manager.findfont(family, fallback_to_default=True)


def _others() -> list[tuple[str, str]]:
    """Name and path of each other family, by its plainest face; Noto first, sans-serif before others."""
    return _in_order(len(font_manager.fontManager.ttflist))


@cache
def _in_order(count: int) -> list[tuple[str, str]]:
    """What ``_others`` gives, found once for each number of faces that matplotlib knows."""
    faces = [f for f in font_manager.fontManager.ttflist if not f.name.startswith((*_UNFIT, BASE))]
    plain = {f.name: f.fname for f in sorted(faces, key=_fancy, reverse=True)}
    return sorted(plain.items(), key=lambda f: (not f[0].startswith("Noto Sans"), "Sans" not in f[0], f[0]))


def _fancy(face: font_manager.FontEntry) -> tuple[bool, int]:
    """How far a face is from upright and of normal weight."""
    weight = face.weight if isinstance(face.weight, int) else font_manager.weight_dict.get(face.weight, 400)
    return face.style != "normal", abs(weight - 400)


@cache
def _characters(path: str) -> frozenset[int]:
    """Code points that a font file can draw at any size; none if it cannot be read."""
    try:
        face = FT2Font(path)
        return frozenset(face.get_charmap()) if face.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()
