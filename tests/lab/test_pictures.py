"""Pictures of positions and vectors: what is drawn is the formula's."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.lab import pictures
from transformer_jax.report.plots import png, render


def drawn(figure):
    """The axes of a figure, colour bars included."""
    import matplotlib.figure

    canvas = matplotlib.figure.Figure()
    figure.draw(canvas)
    return canvas.axes


def test_the_table_is_that_of_the_paper_dimension_by_dimension():
    """Axes and title of the usual picture; dimensions, not time steps, alternate between sine and cosine."""
    one = drawn(pictures.positions(6, 9)[0])[0]
    table = one.images[0].get_array()
    for t in range(9):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(table[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)
    assert (one.get_xlabel(), one.get_ylabel()) == ("Embedding Dimension", "Position")
    assert one.images[0].get_cmap().name == "coolwarm" and "d_model 6" in one.get_title()


def test_a_dimension_repeats_after_its_wavelength():
    for pair, wavelength in enumerate(pictures.wavelengths(8)):
        frequency = 10000 ** (-2 * pair / 8)
        np.testing.assert_allclose(np.sin(frequency * (3 + wavelength)), np.sin(frequency * 3), atol=1e-9)
    (line, _) = drawn(pictures.positions(8, 100)[1])[0].lines
    np.testing.assert_allclose(line.get_ydata(), pictures.wavelengths(8))


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 9))
def test_cosines_are_symmetric_at_most_one_and_blind_to_length(rows, width, seed):
    x = np.random.default_rng(seed).normal(size=(rows, width))
    found = pictures.cosines(x)
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, found.T)
    assert np.abs(found).max() <= 1 + 1e-12
    np.testing.assert_allclose(found, pictures.cosines(x * np.arange(1, rows + 1)[:, None]))


def test_zeros_are_like_nothing():
    assert pictures.cosines(np.array([[0.0, 0], [1, 1]])).tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_tokens_stand_on_both_axes_before_and_after():
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    before, after, _ = drawn(pictures.vectors(x, ["a", "station"]))
    assert (before.get_title(), after.get_title()) == ("before the first block", "after block 2")
    assert [label.get_text() for label in after.get_yticklabels()] == ["a", "station"]
    np.testing.assert_allclose(after.images[0].get_array(), pictures.cosines(x[2]))
    learned, sinusoidal, _ = drawn(pictures.learned(x[0]))
    assert (learned.get_title(), sinusoidal.get_title()) == ("learned", "sinusoidal")
    for figure in (*pictures.positions(6, 5), pictures.attention(np.full((1, 2, 2, 2), 0.5), ["a", "b"])):
        assert render(figure)[1].startswith(b"\x89PNG")


def test_positions_are_counted():
    for one in (drawn(figure)[0] for figure in pictures.positions(4, 3)):
        assert all(tick == int(tick) for tick in one.get_xticks())


def test_a_space_and_the_end_of_a_line_are_seen_as_tokens():
    tokens, seen = ["a", " ", "\n", " b", "\t"], ["a", "␣", "↵", " b", "⇥"]
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    for figure in (pictures.vectors(x, tokens), pictures.attention(np.full((1, 1, 5, 5), 0.2), tokens)):
        for axis in (drawn(figure)[0].xaxis, drawn(figure)[0].yaxis):
            assert [label.get_text() for label in axis.get_ticklabels()] == seen


@pytest.mark.parametrize("length", [16, 128, 512])
def test_titles_and_labels_are_inside_the_picture_however_many_positions_there_are(length):
    from matplotlib.image import imread

    table = np.random.default_rng(length).normal(size=(length, 8))
    pixels = imread(io.BytesIO(png(pictures.learned(table))))[..., :3]
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert edge.min() == 1.0  # white: nothing is cut off there
