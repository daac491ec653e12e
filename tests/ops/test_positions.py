"""Sinusoidal and rotary positions against the formulas of their papers, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops.positions import rotary, sinusoidal


@pytest.mark.parametrize("d_model", [6, 7, 1])
def test_table_alternates_sine_and_cosine_over_dimensions(d_model):
    """Dimensions alternate, not time steps; an odd width ends on a sine."""
    table = np.asarray(jax.jit(lambda at: sinusoidal(at, d_model))(jnp.arange(9)))
    assert table.shape == (9, d_model) and table.dtype == np.float32
    for t, dim in np.ndindex(9, d_model):
        angle = t / 10000 ** (2 * (dim // 2) / d_model)
        assert table[t, dim] == pytest.approx(np.cos(angle) if dim % 2 else np.sin(angle), abs=1e-6)


def test_table_of_the_paper():
    table = np.asarray(sinusoidal(np.arange(100), 512))
    np.testing.assert_array_equal(table[0], np.tile([0, 1], 256))
    assert table[99, 511] == pytest.approx(np.cos(99 / 10000 ** (510 / 512)), abs=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 300), st.integers(-50, 50))
def test_a_shift_is_one_linear_map(t, shift):
    """PE(t + k) = M_k PE(t), where M_k turns each (sin, cos) pair by k times its frequency."""
    table = np.asarray(sinusoidal(np.arange(401), 8), np.float64)
    turned = t + shift if t + shift >= 0 else t
    k = turned - t
    frequency = 10000 ** (-np.arange(0, 8, 2) / 8)
    sin, cos = table[t, 0::2], table[t, 1::2]
    np.testing.assert_allclose(
        table[turned, 0::2], sin * np.cos(k * frequency) + cos * np.sin(k * frequency), atol=1e-4
    )
    np.testing.assert_allclose(
        table[turned, 1::2], cos * np.cos(k * frequency) - sin * np.sin(k * frequency), atol=1e-4
    )


def test_rotary_turns_pairs():
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    at = np.array([[0, 1, 2, 3, 4], [7, 7, 9, 11, 0]])
    turned = np.asarray(rotary(jnp.asarray(x), jnp.asarray(at)))
    for b, t, h, i in np.ndindex(2, 5, 3, 2):
        pair = complex(x[b, t, h, i], x[b, t, h, i + 2]) * np.exp(1j * at[b, t] * 10000 ** (-2 * i / 4))
        np.testing.assert_allclose([turned[b, t, h, i], turned[b, t, h, i + 2]], [pair.real, pair.imag], atol=1e-6)


def test_rotary_scores_depend_on_distance_alone():
    q, k = np.random.default_rng(1).normal(size=(2, 1, 1, 1, 8)).astype(np.float32)
    score = lambda i, j: float((rotary(q, jnp.array([i])) * rotary(k, jnp.array([j]))).sum())  # noqa: E731
    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(3, 2), abs=1e-3)


def test_rotary_keeps_dtype_and_refuses_odd_heads():
    assert rotary(jnp.ones((1, 2, 1, 4), jnp.bfloat16), jnp.arange(2)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="even, not 5"):
        rotary(jnp.ones((1, 2, 1, 5)), jnp.arange(2))
