"""Cross-entropy against its definition in NumPy float64."""

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


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**30), st.sampled_from([0.0, 0.1, 1.0]))
def test_value_and_gradient(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(5, 7)).astype(np.float32) * 4, rng.integers(0, 7, size=5)
    weights = rng.random(5) * (rng.random(5) < 0.7)
    run = lambda logits: cross_entropy(logits, jnp.asarray(targets), jnp.asarray(weights), smoothing)  # noqa: E731
    (total, weight), gradient = jax.value_and_grad(run, has_aux=True)(jnp.asarray(logits))
    expected, slope = oracle(logits, targets, weights, smoothing)
    assert float(total) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert float(weight) == pytest.approx(weights.sum(), rel=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=2e-6)


def test_sums_add_across_batches():
    rng = np.random.default_rng(0)
    logits, targets = jnp.asarray(rng.normal(size=(4, 3, 5))), jnp.asarray(rng.integers(0, 5, size=(4, 3)))
    whole = cross_entropy(logits, targets)
    parts = [cross_entropy(logits[i], targets[i]) for i in range(4)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-6)
    assert whole[1] == 12


def test_weightless_positions_may_hold_anything():
    logits = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf]])
    run = lambda logits: cross_entropy(logits, jnp.array([0, -7]), jnp.array([1, 0]), 0.1)  # noqa: E731
    (total, weight), gradient = jax.value_and_grad(run, has_aux=True)(logits)
    assert np.isfinite(total) and weight == 1
    assert np.isfinite(gradient).all() and not gradient[1].any()


@pytest.mark.parametrize("target", [-1, 2])
def test_a_target_that_is_no_class_is_nan(target):
    assert np.isnan(cross_entropy(jnp.zeros((1, 2)), jnp.array([target]))[0])


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
