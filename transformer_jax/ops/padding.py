"""Rows of different lengths in one array: what follows a row's first `lengths_B[b]` steps is padding.

B batch, S steps, D width. lengths_B None: every step is real.
"""

import jax
import jax.numpy as jnp


def real(lengths_B: jax.Array | None, num_steps: int) -> jax.Array | None:
    """(B, S): True where a step is real; None: all are."""
    return None if lengths_B is None else jnp.arange(num_steps) < lengths_B[:, None]


def zeroed(x, lengths_B: jax.Array | None) -> jax.Array:
    """x (B, S) or (B, S, D) with zeros in the place of padding, whatever that holds (NaN included)."""
    if lengths_B is None:
        return x
    return jnp.where(real(lengths_B, x.shape[1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2)), x, 0)


def turned(x_BxSxD: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Each row's real steps from the last to the first; padding stays where it is. Done twice, nothing changed."""
    if lengths_B is None:
        return jnp.flip(x_BxSxD, 1)
    at_S, ends_Bx1 = jnp.arange(x_BxSxD.shape[1]), lengths_B[:, None]
    return _permuted(x_BxSxD, jnp.where(at_S < ends_Bx1, ends_Bx1 - 1 - at_S, at_S))


@jax.custom_vjp
def _permuted(x_BxSxD, order_BxS):
    """By a permutation that is its own inverse: its transpose is itself, where JAX would scatter and add."""
    return jnp.take_along_axis(x_BxSxD, order_BxS[..., None], 1)


_permuted.defvjp(lambda x, order: (_permuted(x, order), order), lambda order, d_x: (_permuted(d_x, order), None))


def last(x_BxSxD: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """x_BxD of each row's last real step; zeros for a row without one."""
    if lengths_B is None:
        return x_BxSxD[:, -1]
    x_BxD = jnp.take_along_axis(x_BxSxD, jnp.maximum(lengths_B - 1, 0)[:, None, None], 1)[:, 0]
    return jnp.where(lengths_B[:, None] > 0, x_BxD, 0)
