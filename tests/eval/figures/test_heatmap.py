"""Heatmaps: what is drawn is what was given, for any text and any size."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection

from nmt.eval.figures import fonts, heatmap
from nmt.eval.figures.heatmap import CELL, COLOURS, STRONG, cell_size, draw_heatmap, visible
from nmt.eval.figures.picture import Picture
from nmt.models.seq2seq import AttentionMaps

RNG = np.random.default_rng(0)
JAPANESE = ["▁二人", "の", "若い", "男性", "</s>"]


def attention(*shape: int) -> np.ndarray:
    a = RNG.random(shape) ** 4
    return a / a.sum(-1, keepdims=True)


def maps(weights, centre=None, half_width: int | None = None) -> AttentionMaps:
    """Weights (T, S) or (layers, heads, T, S) and centres, of one layer and head where none are given."""
    weights = torch.from_numpy(np.asarray(weights, dtype=np.float64))
    weights = weights[None, None] if weights.ndim == 2 else weights
    if centre is not None:
        centre = torch.from_numpy(np.asarray(centre, dtype=np.float64)).expand(weights.shape[:3])
    return AttentionMaps(weights, centre, half_width)


def pixels_of(figure) -> np.ndarray:
    """(height, width, 3) uint8"""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def pieces(count: int, name: str = "p") -> list[str]:
    return [f"\u2581{name}{i}" for i in range(count)]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def panels(figure) -> tuple[float, float]:
    """Left and top of the image, in pixels."""
    (image,) = figure.axes[0].images
    left, _, _, top = image.get_extent()
    return left, top


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 12), (40, 37)])
def test_every_cell_has_the_colour_of_its_weight(shape):
    """Read from the pixels, near the corner of a cell, where nothing is written."""
    weights = attention(*shape)
    figure = draw_heatmap(maps(weights), pieces(shape[1]), pieces(shape[0]), "title")
    pixels, cell = pixels_of(figure), cell_size(max(shape), 1, 1)
    left, top = panels(figure)
    for t, s in np.ndindex(shape):
        found = pixels[round(top + t * cell) + 2, round(left + s * cell) + 2] / 255
        np.testing.assert_allclose(found, COLOURS(weights[t, s])[:3], atol=0.03)


def test_figures_are_as_large_as_their_cells():
    pixels = pixels_of(draw_heatmap(maps(attention(4, 6)), pieces(6), pieces(4)))
    assert pixels.shape[1] > 6 * CELL
    assert (pixels[-1, -1] == 255).all()


def test_all_pieces_and_the_title_are_written():
    source, target = [*pieces(7, "s"), "</s>"], [*pieces(6, "t"), "</s>"]
    figure = draw_heatmap(maps(attention(7, 8)), source, target, "sentence 3, step 200: reference")
    assert {*map(visible, source), *map(visible, target), "sentence 3, step 200: reference"} <= set(texts(figure))


def test_labels_stand_at_their_rows_and_columns():
    figure = draw_heatmap(maps(attention(3, 4)), pieces(4, "s"), pieces(3, "t"))
    left, top = panels(figure)
    for text in figure.texts:
        x, y = text.get_position()
        name, number = text.get_text()[1:2], int(text.get_text()[2:] or -1)
        if name == "s":
            assert number == (x - left) // CELL
            assert text.get_rotation() == 90
            assert y < top
        elif name == "t":
            assert number == (y - top) // CELL
            assert x < left


def test_strong_cells_tell_their_percentage():
    weights = np.array([[0.97, 0.03, 0.0], [STRONG, STRONG - 0.01, 0.5]])
    figure = draw_heatmap(maps(weights), ["a", "b", "c"], ["d", "e"])
    left, top = panels(figure)
    found = {}
    for text in figure.texts:
        if text.get_text().isdigit():
            x, y = text.get_position()
            found[int((y - top) // CELL), int((x - left) // CELL)] = int(text.get_text())
    assert found == {(0, 0): 97, (1, 0): 15, (1, 2): 50}


def test_nothing_of_pyplot_is_touched():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()  # what others of this process opened
    figure = draw_heatmap(maps(attention(2, 2)), pieces(2), pieces(2))
    assert plt.get_fignums() == before
    assert isinstance(figure.canvas, FigureCanvasAgg)


def test_the_window_is_drawn_around_its_centre():
    """Between the two lines of a row are the positions of the window, and no others."""
    S, D = 30, 3
    centre = np.array([0.2, 5.9, 14.0, 13.2, 27.5, 29.9])
    figure = draw_heatmap(maps(attention(len(centre), S), centre, D), pieces(S), pieces(len(centre)))
    left, top = panels(figure)
    cell = cell_size(S, 1, 1)
    (marks,) = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose((np.asarray(marks.get_offsets())[:, 0] - left) / cell - 0.5, centre, atol=1e-6)
    vertical = [
        segment
        for lines in figure.axes[0].collections[1:]
        if isinstance(lines, LineCollection)
        for segment in np.asarray(lines.get_segments())
        if segment[0, 0] == segment[1, 0]
    ]
    for t, p in enumerate(centre):
        edges = sorted(round((s[0, 0] - left) / cell) for s in vertical if round((s[0, 1] - top) / cell) == t)
        inside = [s for s in range(S) if abs(s - int(p)) <= D]
        assert edges == [e for e in (inside[0], inside[-1] + 1) if 0 < e < S]
    assert any("±3" in text for text in texts(figure))


def test_a_centre_beyond_the_sentence_is_drawn_at_its_last_word():
    """local_m has centre t, also where t is beyond the source."""
    figure = draw_heatmap(maps(attention(9, 3), np.arange(9), 1), pieces(3), pieces(9))
    assert pixels_of(figure).shape[1] < 400


def test_layers_and_heads_are_panels_of_their_own():
    weights = attention(2, 3, 5, 4)
    figure = draw_heatmap(maps(weights, np.zeros((2, 3, 5)), 1), pieces(4), pieces(5))
    names = {f"layer {i} head {k}" for i in (1, 2) for k in (1, 2, 3)}
    assert names <= set(texts(figure))
    pixels, cell = pixels_of(figure), cell_size(5, 6, 3)
    left, top = panels(figure)
    image = np.asarray(figure.axes[0].images[0].get_array())
    for layer, head, t, s in np.ndindex(weights.shape):
        row = layer * image.shape[0] // 2 + t
        column = head * image.shape[1] // 3 + s
        found = pixels[round(top + row * cell) + 3, round(left + column * cell) + 3] / 255
        np.testing.assert_allclose(found, COLOURS(weights[layer, head, t, s])[:3], atol=0.03)


def test_many_heads_and_endless_translations_stay_of_a_size():
    many = pixels_of(draw_heatmap(maps(attention(6, 8, 10, 10)), pieces(10), pieces(10)))
    endless = draw_heatmap(maps(attention(300, 90)), pieces(90), pieces(300))
    assert max(many.shape) < 2500
    assert max(pixels_of(endless).shape) < 1000
    assert any("the first 80 of 90 source and 80 of 300 target pieces" in text for text in texts(endless))


def test_missing_fonts_become_numbered_boxes_and_a_note(monkeypatch):
    monkeypatch.setattr(fonts, "_others", lambda: [])
    monkeypatch.setattr(heatmap, "families_for", fonts.families_for)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_heatmap(maps(attention(3, 5)), JAPANESE, ["▁दो", "한국", "▁дом"])
        pixels_of(figure)
    note = " ".join(texts(figure))
    for script in ("Chinese or Japanese", "Devanagari", "Korean", "install", "Noto Sans CJK"):
        assert script in note
    assert {"□2", "□□3", "</s>", "•дом"} <= set(texts(figure))


def test_installed_fonts_are_found_for_what_the_base_lacks(monkeypatch):
    """A family is taken only for characters that are still missing, and no other is asked afterwards."""
    held = {"base": {"a"}, "1": {"a", "b"}, "2": {"は"}, "3": {"は"}}
    monkeypatch.setattr(fonts, "_path", lambda family: "base")
    monkeypatch.setattr(fonts, "_others", lambda: [("One", "1"), ("Two", "2"), ("Three", "3")])
    monkeypatch.setattr(fonts, "_characters", lambda path: {ord(c) for c in held[path]})
    assert fonts.families_for(["a"]) == ([fonts.BASE], set())
    assert fonts.families_for(["aは"]) == ([fonts.BASE, "Two"], set())
    assert fonts.families_for(["bは?"]) == ([fonts.BASE, "One", "Two"], {"?"})


@pytest.mark.filterwarnings("ignore:Glyph")
def test_wide_characters_stand_upright_above_their_column(monkeypatch):
    monkeypatch.setattr(heatmap, "families_for", lambda _: ([fonts.BASE], set()))
    figure = draw_heatmap(maps(attention(2, 5)), JAPANESE, ["a", "b"])
    assert {"•\n二\n人", "若\nい", "</s>"} <= set(texts(figure))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=30))
def test_no_text_raises_or_warns(labels, title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels_of(draw_heatmap(maps(attention(len(labels), len(labels))), labels, labels, title))


def test_labels_are_visible_and_short():
    assert visible("\u2581the") == "•the"
    assert visible("\n\u200b ") == "\\u000a\\u200b␣"
    assert len(visible("x" * 99)) == 16


def test_odd_weights_are_drawn_and_wrong_shapes_refused():
    pixels_of(draw_heatmap(maps(np.full((2, 2), np.nan), np.full(2, np.nan), 1), pieces(2), pieces(2)))
    for shape in ((2, 3), (3, 2, 2), (0, 2), (1, 1, 2, 3)):
        with pytest.raises(ValueError, match="do not fit"):
            draw_heatmap(maps(np.zeros(shape)), pieces(2), pieces(2))


def test_a_picture_is_titled_with_its_sentence_and_step():
    picture = Picture(17, "translation", pieces(2), pieces(2), maps(attention(1, 1, 2, 2)))
    assert "sentence 17, step 3000: translation" in texts(picture.draw(3000))
    assert "sentence 17: translation" in texts(picture.draw())
