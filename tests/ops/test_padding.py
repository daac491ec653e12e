"""Padding at the end of rows: left out, turned around, looked behind."""

import jax
import numpy as np

from transformer_jax.ops import padding

B, S, D = 4, 5, 3
LENGTHS = np.array([5, 3, 1, 0])
X = np.random.default_rng(0).normal(size=(B, S, D)).astype(np.float32)


def by_hand(x, change):
    out = x.copy()
    for b, length in enumerate(LENGTHS):
        out[b] = change(x[b], length)
    return out


def test_real_steps_are_turned_and_padding_stays():
    expected = by_hand(X, lambda x, n: np.concatenate([x[:n][::-1], x[n:]]))
    np.testing.assert_array_equal(padding.turned(X, LENGTHS), expected)
    np.testing.assert_array_equal(padding.turned(padding.turned(X, LENGTHS), LENGTHS), X)
    np.testing.assert_array_equal(padding.turned(X, None), X[:, ::-1])


def test_the_gradient_of_turning_turns_back():
    upstream = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    grad = jax.grad(lambda x: (padding.turned(x, LENGTHS) * upstream).sum())(X)
    np.testing.assert_array_equal(grad, by_hand(upstream, lambda g, n: np.concatenate([g[:n][::-1], g[n:]])))


def test_what_padding_holds_is_forgotten():
    garbage = by_hand(X, lambda x, n: np.concatenate([x[:n], np.full_like(x[n:], np.nan)]))
    expected = by_hand(X, lambda x, n: np.concatenate([x[:n], 0 * x[n:]]))
    np.testing.assert_array_equal(padding.zeroed(garbage, LENGTHS), expected)
    np.testing.assert_array_equal(padding.zeroed(garbage[..., 0], LENGTHS), expected[..., 0])
    np.testing.assert_array_equal(padding.real(LENGTHS, S), np.isfinite(garbage[..., 0]))
    last = [x[n - 1] if n else np.zeros(D) for x, n in zip(X, LENGTHS, strict=True)]
    np.testing.assert_array_equal(padding.last(garbage, LENGTHS), last)
    assert padding.real(None, S) is None and padding.zeroed(X, None) is X
    np.testing.assert_array_equal(padding.last(X, None), X[:, -1])
