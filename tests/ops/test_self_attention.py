"""Self-attention without weights: the formula, and the four properties that its source notes of it."""

import inspect

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops.scores import SCORES
from transformer_jax.ops.self_attention import self_attention, weights

FREE = [name for name, score in SCORES.items() if not score.weights(1, 1, 5, 5)]
seeds = st.integers(0, 2**32 - 1)


def steps(seed, T, D=5):
    return np.random.default_rng(seed).normal(size=(1, T, D)).astype(np.float32)


def test_equals_the_formula():
    """Of the source: w_ij = v_i . v_j, normalised; y_i = sum_j w_ij v_j."""
    x = steps(0, 7).astype(np.float64)[0]
    for score, scale in (("dot", 1.0), ("scaled_dot", np.sqrt(5)), ("cosine", None)):
        unit = x if scale else x / np.linalg.norm(x, axis=1, keepdims=True)
        w = np.exp(unit @ unit.T / (scale or 1.0))
        y = np.array([sum(w[i, j] * x[j] for j in range(7)) / w[i].sum() for i in range(7)])
        np.testing.assert_allclose(self_attention(x[None].astype(np.float32), score=score)[0], y, atol=1e-5)


def test_no_weights_have_been_trained():
    """It is a function of x alone, and scores that need weights are refused."""
    needed = [p for p in inspect.signature(self_attention).parameters.values() if p.default is p.empty]
    assert [p.name for p in needed] == ["x_BxTxD"] and FREE == ["scaled_dot", "dot", "cosine"]
    for score in set(SCORES) - set(FREE):
        with pytest.raises(ValueError, match="weights"):
            self_attention(steps(0, 3), score=score)


@settings(max_examples=15)
@given(seed=seeds, order=st.permutations(range(6)), score=st.sampled_from(FREE))
def test_order_has_no_influence(seed, order, score):
    """Steps in another order give the same results in that order."""
    x = steps(seed, 6)
    np.testing.assert_allclose(
        self_attention(x[:, order], score=score), self_attention(x, score=score)[:, order], atol=1e-5
    )


@settings(max_examples=15)
@given(seed=seeds, between=st.sampled_from([0, 1, 4, 9]), score=st.sampled_from(FREE))
def test_proximity_has_no_influence(seed, between, score):
    """However many steps stand between the first and two others, what it takes of these keeps its proportion."""
    x = steps(seed, 3)
    far = np.concatenate([x[:, :1], steps(seed + 1, between), x[:, 1:]], 1)
    near, spread = weights(x, score=score)[0, 0], weights(far, score=score)[0, 0]
    np.testing.assert_allclose(np.log(spread[-2] / spread[-1]), np.log(near[-2] / near[-1]), atol=1e-4)


@settings(max_examples=10)
@given(seed=seeds, T=st.integers(1, 12), D=st.integers(1, 9), score=st.sampled_from(FREE))
def test_any_length_and_width_will_do(seed, T, D, score):
    """And what comes out lies among what went in: each result is a mean of steps."""
    x = steps(seed, T, D)
    y = self_attention(x, score=score)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert (y <= x.max(1) + 1e-5).all() and (y >= x.min(1) - 1e-5).all()
    np.testing.assert_allclose(weights(x, score=score).sum(-1), np.ones((1, T)), atol=1e-6)


def test_a_step_moves_towards_those_like_it():
    """Context: of one vector in two surroundings two results come, each nearer to what stands around it."""
    word, one, other = np.array([1.0, 1, 0]), np.array([2.0, 0, 0]), np.array([0, 2.0, 0])
    results = [
        np.asarray(jax.jit(self_attention)(np.stack([around, word, around])[None].astype(np.float32))[0, 1])
        for around in (one, other)
    ]
    assert results[0][0] > results[0][1] and results[1][1] > results[1][0]
