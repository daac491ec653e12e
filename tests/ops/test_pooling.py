"""A sequence as one vector: against a loop over rows, and padding that counts for nothing whatever it holds."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops.pooling import POOLING

B, L, D = 4, 5, 3
ORACLE = {"mean": lambda rows: rows.mean(0), "max": lambda rows: rows.max(0)}


def by_hand(name, x, lengths):
    return np.stack([ORACLE[name](row[:n]) if n else np.zeros(D) for row, n in zip(x, lengths, strict=True)])


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(0, L), min_size=B, max_size=B), low=st.booleans())
@pytest.mark.parametrize("name", POOLING)
def test_real_steps_alone_are_pooled(name, seed, lengths, low):
    x = np.random.default_rng(seed).normal(-9 if low else 0, 1, (B, L, D)).astype(np.float32)
    padded = x.copy()
    for b, n in enumerate(lengths):
        padded[b, n:] = np.nan if name == "max" else 1e6
    found = POOLING[name](padded, np.array(lengths))
    np.testing.assert_allclose(found, by_hand(name, x, lengths), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(POOLING[name](x), by_hand(name, x, [L] * B), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLING)
def test_padding_gets_no_gradient(name):
    x, lengths = np.random.default_rng(0).normal(size=(B, L, D)).astype(np.float32), np.array([5, 3, 1, 0])
    slope = np.asarray(jax.grad(lambda x: POOLING[name](x, lengths).sum())(x))
    assert all((slope[b, n:] == 0).all() for b, n in enumerate(lengths))
    np.testing.assert_allclose(slope.sum((1, 2)), [D, D, D, 0], rtol=1e-6)
