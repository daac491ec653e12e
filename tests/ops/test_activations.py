"""GELU: against the normal distribution and its slope, and what it keeps."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.ops.activations import gelu

X = np.linspace(-6, 6, 241).astype(np.float32)


def exact(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def test_is_close_to_the_input_times_the_normal_distribution():
    np.testing.assert_allclose(gelu(X), [exact(float(x)) for x in X], atol=5e-4)
    np.testing.assert_allclose(gelu(X), jax.nn.gelu(X), atol=1e-6)


def test_its_gradient_is_the_slope():
    wide, step = X.astype(np.float64), 1e-3
    slope = [(exact(x + step) - exact(x - step)) / (2 * step) for x in wide]
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(X), slope, atol=2e-3)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(X), jax.vmap(jax.grad(jax.nn.gelu))(X), atol=1e-5)


def test_the_dtype_stays():
    low = jnp.asarray(X, jnp.bfloat16)
    out, pull = jax.vjp(gelu, low)
    assert out.dtype == pull(out)[0].dtype == jnp.bfloat16


def test_the_backward_pass_keeps_the_input_alone():
    assert sum(leaf.size == X.size for leaf in jax.tree.leaves(jax.vjp(gelu, X)[1])) == 1
