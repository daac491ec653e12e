"""How alike two representations of the same examples are."""

import jax
import jax.numpy as jnp

# N examples, P and Q features


def linear_cka(x_NxP: jax.Array, y_NxQ: jax.Array) -> jax.Array:
    """Linear centred kernel alignment, between 0 and 1; 1 for equal up to rotation, scale and shift.

    |Y'X|² / (|X'X| |Y'Y|) in Frobenius norms, features centred over the examples (Kornblith et al. 2019, arXiv
    1905.00414, equation 4 with linear kernels). NaN where one of the two is the same for all examples: it then has
    nothing to be alike in.
    """
    x, y = (a - a.mean(0) for a in (x_NxP, y_NxQ))
    norms = jnp.linalg.norm(x.T @ x) * jnp.linalg.norm(y.T @ y)
    return jnp.sum((y.T @ x) ** 2) / norms


def pairwise_cka(x_HxNxP: jax.Array) -> jax.Array:
    """(H, H): the linear CKA of every two of H representations; symmetric, with ones on its diagonal."""
    of_one = jax.vmap(linear_cka, in_axes=(None, 0))
    return jax.vmap(of_one, in_axes=(0, None))(x_HxNxP, x_HxNxP)
