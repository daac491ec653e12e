"""Linear CKA against its definition over kernels, and what it must not see."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops.similarity import linear_cka, pairwise_cka

N = 9


def hsic(k, m):
    """The Hilbert-Schmidt independence criterion of two kernels, by its definition."""
    centring = np.eye(N) - np.ones((N, N)) / N
    return np.trace(k @ centring @ m @ centring) / (N - 1) ** 2


def oracle(x, y):
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def normal(seed, *shape):
    return np.random.default_rng((seed, *shape)).normal(2, 1, shape).astype(np.float32)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1, 4]), st.sampled_from([2, 5]))
def test_it_is_the_ratio_of_independence_criteria(seed, P, Q):
    x, y = normal(seed, N, P), normal(seed + 1, N, Q)
    expected = oracle(x.astype(np.float64), y.astype(np.float64))
    found = float(jax.jit(linear_cka)(x, y))
    assert found == pytest.approx(expected, abs=1e-4) and -1e-5 < found < 1 + 1e-5


def test_rotation_scale_and_shift_change_nothing():
    x = normal(0, N, 4)
    turned = 3 * x @ np.linalg.qr(normal(1, 4, 4))[0] + 7
    assert float(linear_cka(x, turned)) == pytest.approx(1, abs=1e-4)


def test_what_has_nothing_in_common_has_none():
    x, y = np.zeros((2, N, 1), np.float32)
    x[:4, 0], y[4:8, 0] = (1, -1, 1, -1), (1, -1, 1, -1)
    assert float(linear_cka(x, y)) == pytest.approx(0, abs=1e-6)
    assert np.isnan(float(linear_cka(x, np.ones((N, 1), np.float32))))


def test_every_two_of_several():
    x = normal(3, 3, N, 2)
    found = np.asarray(pairwise_cka(x))
    for i, j in np.ndindex(3, 3):
        assert found[i, j] == pytest.approx(oracle(*x[[i, j]].astype(np.float64)), abs=1e-4)
