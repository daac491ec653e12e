"""A whole sequence as one vector: the mean or the largest of each entry over real steps.

B batch, L steps, D width. lengths_B None: every step is real. A row without a real step gives zeros.
"""

import jax.numpy as jnp

from transformer_jax.ops import padding


def mean(x_BxLxD, lengths_B=None):
    """x_BxD: over all positions, or over the first `lengths_B` of each row."""
    if lengths_B is None:
        return x_BxLxD.mean(1)
    real_BxL = padding.real(lengths_B, x_BxLxD.shape[1])
    dtype = jnp.promote_types(x_BxLxD.dtype, jnp.float32)  # a length of 257 is none of bfloat16's numbers
    total_BxD = x_BxLxD.sum(1, where=real_BxL[..., None], dtype=dtype)
    return (total_BxD / jnp.maximum(lengths_B, 1)[:, None]).astype(x_BxLxD.dtype)


def largest(x_BxLxD, lengths_B=None):
    """x_BxD: each entry's largest value (global max pooling; Collobert et al. 2011, section 3.2)."""
    if lengths_B is None:
        return x_BxLxD.max(1)
    real_BxL = padding.real(lengths_B, x_BxLxD.shape[1])
    lowest = jnp.finfo(x_BxLxD.dtype).min
    found_BxD = jnp.where(real_BxL[..., None], x_BxLxD, lowest).max(1)
    return jnp.where(lengths_B[:, None] > 0, found_BxD, 0)


POOLING = {"mean": mean, "max": largest}
"""By `model.pooling`; "cls" reads a step that the network adds."""
