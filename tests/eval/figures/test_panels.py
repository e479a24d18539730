"""Which maps are drawn: the right ones, by their names, none twice and none lost."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nmt.eval.figures.heatmap import COLOURS, draw_heatmap
from nmt.eval.figures.panels import Heads, Layers, arrange
from nmt.eval.figures.picture import Picture
from nmt.models.seq2seq import AttentionMaps

RNG = np.random.default_rng(0)
L, H, T, S = 5, 4, 3, 6
WEIGHTS = RNG.random((L, H, T, S))
CENTRES = RNG.random((L, H, T)) * S


def by_name(grid):
    flat = grid.maps.reshape(-1, *grid.maps.shape[2:])
    assert np.isnan(flat[len(grid.names) :]).all()
    return dict(zip(grid.names, flat, strict=False))


def test_all_layers_and_heads_stand_in_rows_and_columns():
    grid = arrange(WEIGHTS, CENTRES, Layers.all, Heads.all)
    assert grid.maps.shape == WEIGHTS.shape
    assert grid.note == ""
    found = by_name(grid)
    assert len(found) == L * H
    for i, k in np.ndindex(L, H):
        np.testing.assert_array_equal(found[f"layer {i + 1} head {k + 1}"], WEIGHTS[i, k])
    np.testing.assert_array_equal(grid.centres, CENTRES)


@pytest.mark.parametrize(
    ("layers", "heads", "names", "note"),
    [
        (Layers.all, Heads.mean, [f"layer {i}" for i in range(1, L + 1)], "mean of 4 heads"),
        (Layers.last, Heads.all, [f"head {k}" for k in range(1, H + 1)], "layer 5 of 5"),
        (Layers.mean, Heads.all, [f"head {k}" for k in range(1, H + 1)], "mean of 5 layers"),
        (Layers.last, Heads.mean, [""], "layer 5 of 5, mean of 4 heads"),
        (Layers.mean, Heads.mean, [""], "mean of 5 layers, mean of 4 heads"),
    ],
)
def test_what_is_averaged_and_what_is_left(layers, heads, names, note):
    grid = arrange(WEIGHTS, CENTRES, layers, heads)
    assert (grid.names, grid.note) == (names, note)
    assert grid.maps.shape[0] <= grid.maps.shape[1]  # wider than high, as screens are
    assert (grid.centres is None) == ("mean" in note)
    for i, (_, found) in enumerate(by_name(grid).items()):
        chosen = [
            WEIGHTS[a, b]
            for a, b in np.ndindex(L, H)
            if (layers is not Layers.last or a == L - 1)
            and (layers is not Layers.all or a == i)
            and (heads is not Heads.all or b == i)
        ]
        np.testing.assert_allclose(found, sum(chosen) / len(chosen))


def test_one_map_is_itself_whatever_is_asked():
    for layers in Layers:
        for heads in Heads:
            grid = arrange(WEIGHTS[:1, :1], CENTRES[:1, :1], layers, heads)
            np.testing.assert_array_equal(grid.maps, WEIGHTS[:1, :1])
            np.testing.assert_array_equal(grid.centres, CENTRES[:1, :1])
            assert (grid.names, grid.note) == ([""], "")


def test_a_wrapped_grid_is_drawn_with_its_empty_place():
    """Five layers in two rows of three: five panels of colour, their names, and a last place that is white."""
    weights = np.ones((L, H, T, S))
    pieces = [f"p{i}" for i in range(S)]
    figure = draw_heatmap(
        AttentionMaps(torch.from_numpy(weights)), pieces, pieces[:T], layers=Layers.all, heads=Heads.mean
    )
    texts = {text.get_text() for text in figure.texts}
    assert {"mean of 4 heads", *(f"layer {i}" for i in range(1, L + 1))} <= texts
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    full = np.asarray(np.isclose(pixels, COLOURS(1.0)[:3], atol=0.02).all(2))
    (image,) = figure.axes[0].images
    left, right, bottom, top = image.get_extent()
    middle = round((top + bottom) / 2)
    thirds = [round(left + (right - left) * k / 3) for k in range(4)]
    for row, part in enumerate((slice(round(top), middle), slice(middle, round(bottom)))):
        for column in range(3):
            share = full[part, thirds[column] : thirds[column + 1]].mean()
            assert (share > 0.3) == ((row, column) != (1, 2))


def test_a_picture_passes_the_choice_on():
    picture = Picture(3, "reference", ["a", "b"], ["c"], AttentionMaps(torch.from_numpy(WEIGHTS[:, :, :1, :2])))
    texts = {text.get_text() for text in picture.draw(7, Layers.last, Heads.mean).texts}
    assert {"layer 5 of 5, mean of 4 heads", "sentence 3, step 7: reference"} <= texts
