"""Layer norm: against its formula in float64, its gradient against that of the formula, and what it keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.ops import norms


def arguments(*shape, seed=0):
    random = np.random.default_rng(seed)
    x = 3 * random.standard_normal(shape) + 2
    return [a.astype(np.float32) for a in (x, random.standard_normal(shape[-1]), random.standard_normal(shape[-1]))]


def formula(x, scale, bias, np=np):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norms.EPSILON) * scale + bias


SHAPES = [(0, 2, 16), (1, 1, 40), (2, 1, 17), (1, 3, 33), (2, 3, 16), (3, 2, 24), (3, 4, 31)]  # each is compiled for
compiled = jax.jit(norms.layer_norm)


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 99))
def test_is_the_formula_of_the_paper(shape, seed):
    x, scale, bias = arguments(*shape, seed=seed)
    expected = formula(*(a.astype(np.float64) for a in (x, scale, bias)))
    np.testing.assert_allclose(compiled(x, scale, bias), expected, rtol=1e-5, atol=1e-5)


def test_steps_of_nearly_equal_entries():
    """The variance is a difference: of entries 1e-3 apart at 1 it is right to a thousandth."""
    x, scale, bias = arguments(2, 3, 16)
    x = 1 + 1e-2 * x
    np.testing.assert_allclose(norms.layer_norm(x, scale, bias), formula(x.astype(np.float64), scale, bias), atol=1e-2)


@pytest.mark.parametrize("where", ["cpu", "tpu"])
def test_its_gradient_is_that_of_the_formula(where, monkeypatch):
    monkeypatch.setattr(norms, "platform", lambda: where)
    x, scale, bias = arguments(2, 3, 16)
    weight = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    found = jax.jit(jax.grad(lambda *a: (norms.layer_norm(*a) * weight).sum(), (0, 1, 2)))(x, scale, bias)
    expected = jax.jit(jax.grad(lambda *a: (formula(*a, np=jnp) * weight).sum(), (0, 1, 2)))(x, scale, bias)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_lanes_and_second_gradients():
    x, scale, bias = arguments(4, 3, 16)

    def penalty(norm, x):
        return (jax.grad(lambda x: (norm(x, scale, bias) ** 3).sum())(x) ** 2).sum()

    both = norms.layer_norm, partial(formula, np=jnp)
    slopes = [jax.jit(jax.vmap(jax.grad(partial(penalty, norm))))(x) for norm in both]
    np.testing.assert_allclose(*slopes, rtol=1e-3, atol=1e-3 * np.abs(slopes[1]).max())


def test_a_step_whose_entries_are_equal_gives_the_bias_and_a_finite_gradient():
    x, scale, bias = arguments(1, 2, 8)
    x[0, 0] = 1.5
    np.testing.assert_allclose(norms.layer_norm(x, scale, bias)[0, 0], bias, atol=1e-2)
    assert np.isfinite(jax.grad(lambda x: norms.layer_norm(x, scale, bias)[..., 0].sum())(x)).all()


def test_the_dtype_is_that_of_the_input_and_the_arithmetic_is_float32():
    x, scale, bias = arguments(2, 3, 64)
    low = jnp.asarray(x, jnp.bfloat16)
    found, pull = jax.vjp(norms.layer_norm, low, scale, bias)
    assert found.dtype == jnp.bfloat16 and [d.dtype for d in pull(found)] == [jnp.bfloat16, jnp.float32, jnp.float32]
    expected = norms.layer_norm(np.asarray(low, np.float32), scale, bias)
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))


def test_the_backward_pass_keeps_one_array_as_large_as_the_input():
    x, scale, bias = arguments(4, 8, 32)
    kept = jax.tree.leaves(jax.vjp(norms.layer_norm, x, scale, bias)[1])
    assert sum(leaf.size == x.size for leaf in kept) == 1
