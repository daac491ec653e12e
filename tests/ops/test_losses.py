"""Cross-entropy against its definition in NumPy float64."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops.losses import cross_entropy


def oracle(logits, targets, weights, smoothing):
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    goal = (1 - smoothing) * np.eye(logits.shape[-1])[targets] + smoothing / logits.shape[-1]
    return -(goal * np.log(p)).sum(-1) @ weights, (p - goal) * weights[:, None]


@cache
def value_and_gradient(smoothing):
    """Compiled once per smoothing and shapes, as training runs it."""

    def run(logits, targets, weights):
        return cross_entropy(logits, targets, weights, smoothing)

    return jax.jit(jax.value_and_grad(run, has_aux=True))


@settings(max_examples=15)
@given(st.integers(0, 2**30), st.sampled_from([0.0, 0.1, 1.0]))
def test_value_and_gradient(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(5, 7)).astype(np.float32) * 4, rng.integers(0, 7, size=5)
    weights = rng.random(5) * (rng.random(5) < 0.7)
    (total, weight), gradient = value_and_gradient(smoothing)(logits, targets, weights)
    expected, slope = oracle(logits, targets, weights, smoothing)
    assert float(total) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert float(weight) == pytest.approx(weights.sum(), rel=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=2e-6)


def test_sums_add_across_batches():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(4, 3, 5)), rng.integers(0, 5, size=(4, 3))
    run = jax.jit(cross_entropy)
    whole = run(logits, targets)
    parts = [run(logits[i], targets[i]) for i in range(4)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-6)
    assert whole[1] == 12


def test_weightless_positions_may_hold_anything():
    logits = np.array([[1.0, 2.0], [np.nan, np.inf]], np.float32)
    (total, weight), gradient = value_and_gradient(0.1)(logits, np.array([0, -7]), np.array([1, 0]))
    gradient = np.asarray(gradient)
    assert np.isfinite(total) and weight == 1
    assert np.isfinite(gradient).all() and not gradient[1].any()


@pytest.mark.parametrize("target", [-1, 2])
def test_a_target_that_is_no_class_is_nan(target):
    assert np.isnan(jax.jit(cross_entropy)(np.zeros((1, 2), np.float32), np.array([target]))[0])


def test_half_precision_is_summed_in_float32():
    total, _ = cross_entropy(jnp.zeros((3000, 4), jnp.bfloat16), jnp.zeros(3000, int))
    assert total.dtype == jnp.float32 and float(total) == pytest.approx(3000 * np.log(4), rel=1e-5)


def test_wrong_arguments_raise():
    with pytest.raises(TypeError, match="integers"):
        cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2))
    with pytest.raises(ValueError, match="disagree"):
        cross_entropy(jnp.zeros((2, 3)), jnp.zeros(3, int))
    with pytest.raises(ValueError, match="disagree"):
        cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, int), jnp.ones(1))
