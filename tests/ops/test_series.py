"""A series against its own mean, its patches and its trend, each against the formula written as a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops import series


def values(rows: int, length: int) -> np.ndarray:
    return np.random.default_rng((rows, length)).normal(3, 5, (rows, length))


def test_each_series_is_normalised_by_itself_and_comes_back():
    x = values(3, 11) * np.array([[1e-2], [1.0], [50.0]])
    found, mean, deviation = series.normalised(jnp.asarray(x, jnp.bfloat16))
    x = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)
    assert found.dtype == mean.dtype == deviation.dtype == jnp.float32
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found * deviation + mean, x, rtol=1e-5)


def test_a_series_that_does_not_vary_is_zero_and_has_a_gradient():
    found, mean, _ = series.normalised(jnp.full((1, 7), 4.0))
    assert not found.any() and mean == 4
    gradient = jax.grad(lambda x: series.normalised(x)[0][0, 0])(jnp.full((1, 7), 4.0))
    assert np.isfinite(gradient).all()


@settings(max_examples=12)
@given(data=st.data(), size=st.integers(1, 6))
def test_patches_are_read_off_with_the_last_step_repeated(data, size):
    stride, more = data.draw(st.integers(1, size)), data.draw(st.integers(0, 9))
    length = size + more
    x = values(2, length)
    found = np.asarray(jax.jit(series.patches, static_argnums=(1, 2))(x, size, stride))
    assert found.shape == (2, series.num_patches(length, size, stride), size)
    for row in range(2):
        for patch in range(found.shape[1]):
            steps = [min(patch * stride + i, length - 1) for i in range(size)]
            np.testing.assert_allclose(found[row, patch], x[row, steps], rtol=1e-6)
    first_of_last = (found.shape[1] - 1) * stride
    assert length <= first_of_last + size  # each step is in a patch


def test_the_patches_of_the_published_setting():
    """Nie et al. 2023, table 3: 336 steps make 42 patches and 512 make 64, of 16 steps, 8 apart."""
    assert [series.num_patches(length, 16, 8) for length in (336, 512)] == [42, 64]


@pytest.mark.parametrize(("length", "size", "stride"), [(5, 6, 1), (9, 2, 3), (9, 3, 0)])
def test_patches_that_cannot_be(length, size, stride):
    with pytest.raises(ValueError, match="stride <= size <= length"):
        series.patches(jnp.zeros((1, length)), size, stride)


@settings(max_examples=12)
@given(length=st.integers(1, 12), half=st.integers(0, 4))
def test_the_trend_is_the_mean_around_each_step(length, half):
    x = values(2, length)
    found = np.asarray(jax.jit(series.trend, static_argnums=1)(x, 2 * half + 1))
    around = [[min(max(at + i, 0), length - 1) for i in range(-half, half + 1)] for at in range(length)]
    np.testing.assert_allclose(found, x[:, around].mean(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_without_a_middle(window):
    with pytest.raises(ValueError, match="it must be odd"):
        series.trend(jnp.zeros((1, 9)), window)
