"""Scores of queries and keys against formulas of one query and one key, in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ModelConfig
from transformer_jax.ops.scores import SCORES, normalised

B, L, S, H, K, Dq, Dk = 2, 3, 5, 4, 2, 6, 7

FORMULAS = {
    "scaled_dot": lambda q, k, h, g: q @ k / np.sqrt(len(k)),
    "dot": lambda q, k, h, g: q @ k,
    "cosine": lambda q, k, h, g: q @ k / np.linalg.norm(q) / np.linalg.norm(k),
    "general": lambda q, k, h, g, w: k @ w[g] @ q,
    "additive": lambda q, k, h, g, wq, wk, v: np.tanh(q @ wq[h] + k @ wk[g]) @ v[h, :, 0],
}


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def arguments(name):
    weightless = not SCORES[name].weights(H, K, Dq, Dk)
    q, k = normal(B, L, H, Dq), normal(B, S, K, Dq if weightless else Dk)
    return q, k, *(normal(*shape) for shape in SCORES[name].weights(H, K, Dq, k.shape[-1]).values())


def oracle(name, q, k, *weights):
    """One query and one key at a time."""
    q, k, *weights = (np.asarray(x, np.float64) for x in (q, k, *weights))
    out = np.zeros((B, H, L, S))
    for b, h, i, j in np.ndindex(out.shape):
        g = h // (H // K)
        out[b, h, i, j] = FORMULAS[name](q[b, i, h], k[b, j, g], h, g, *weights)
    return out


@pytest.mark.parametrize("name", SCORES)
def test_the_formula(name):
    scores = jax.jit(SCORES[name])(*arguments(name))
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, oracle(name, *arguments(name)), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", SCORES)
def test_the_gradient(name):
    """Along a random direction, against a difference quotient of the oracle."""
    args = arguments(name)
    upstream, directions = normal(B, H, L, S), [normal(*x.shape, seed=1) for x in args]
    grads = jax.jit(jax.grad(lambda args: jnp.sum(upstream * SCORES[name](*args))))(args)
    slope = sum(np.sum(np.float64(g) * d) for g, d in zip(grads, directions, strict=True))
    ends = [
        oracle(name, *(np.float64(x) + e * d for x, d in zip(args, directions, strict=True))) for e in (1e-5, -1e-5)
    ]
    np.testing.assert_allclose(slope, np.sum(upstream * (ends[0] - ends[1])) / 2e-5, rtol=1e-3)


@pytest.mark.parametrize("name", SCORES)
def test_low_precision_gives_scores_of_float32(name):
    low = [x.astype(jnp.bfloat16) for x in map(jnp.asarray, arguments(name))]
    scores = jax.jit(SCORES[name])(*low)
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, oracle(name, *low), rtol=0.05, atol=0.4)


@settings(max_examples=20)
@given(st.floats(-4, 4), st.integers(0, 3))
def test_cosine_does_not_feel_how_long_a_key_is(power, seed):
    q, k = normal(B, L, H, Dq, seed=seed), normal(B, S, K, Dq, seed=seed)
    one, other = (np.asarray(SCORES["cosine"](q, scale * k)) for scale in (1, np.float32(10**power)))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(one).max() <= 1 + 1e-6


def test_cosine_of_nothing_is_zero_with_a_finite_gradient():
    q, k = normal(B, L, H, Dq), jnp.zeros((B, S, K, Dq))
    score, grad = jax.value_and_grad(lambda k: SCORES["cosine"](q, k).sum())(k)
    assert score == 0 and np.all(np.isfinite(grad))


def test_the_additive_score_holds_no_values_of_tanh():
    """Neither pass keeps L x S x A numbers, but several times S x A."""
    L = S = A = 64
    shapes = (1, L, 1, A), (1, S, 1, A), (1, A, A), (1, A, A), (1, A, 1)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    loss = lambda *args: jnp.sum(SCORES["additive"](*args) ** 2)  # noqa: E731
    for function in (loss, jax.grad(loss, argnums=range(5))):
        memory = jax.jit(function).lower(*args).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 4 * L * S * A / 3


def test_a_row_that_sees_no_key_is_zeros():
    seen = np.arange(S) < np.array([3, 0])[:, None, None, None]
    weights = np.asarray(normalised(jnp.asarray(normal(B, H, L, S)), seen))
    np.testing.assert_allclose(weights.sum(-1), np.broadcast_to([[[1.0]], [[0.0]]], (B, H, L)), atol=1e-6)
    assert not weights[0, ..., 3:].any() and not weights[1].any()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dot", dict(k=(B, S, K, Dk)), "a query of width 6 and a key of width 7"),
        ("dot", dict(k=(B, S, 3, Dq)), "3 heads of keys do not divide 4"),
        ("dot", dict(k=(B + 1, S, K, Dq)), r"q is \(B, L, H, Dq\)"),
        ("general", dict(k=(B, S, K, Dq)), r"weights are \(\(2, 6, 6\),\), not \(\(2, 7, 6\),\)"),
    ],
)
def test_shapes_that_do_not_fit(name, change, message):
    q, k, *weights = arguments(name)
    with pytest.raises(ValueError, match=message):
        SCORES[name](q, normal(*change["k"]), *weights)


def test_every_score_of_a_config_is_here():
    asked = ModelConfig.__annotations__["score"].__args__
    assert set(asked) == {"auto", *SCORES}
