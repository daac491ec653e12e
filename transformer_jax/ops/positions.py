"""Where a token stands: the sinusoids of "Attention Is All You Need" and rotary embedding.

B batch, T time steps, H heads, Dh width of a head, D d_model.
"""

import jax
import jax.numpy as jnp
import numpy as np


def sinusoidal(positions: jax.Array, d_model: int, base: float = 10000.0) -> jax.Array:
    """(..., D) float32 at any integer positions: dimension 2i is sin(t / base**(2i/D)), 2i + 1 its cosine.

    An odd d_model ends on a sine. Vaswani et al. 2017 (arXiv 1706.03762), section 3.5. Computed where it is
    used, so that no table becomes a constant of the program. The angle is a float32 product: off by up to
    6e-8 of itself.
    """
    frequency = base ** (-np.arange(0, d_model, 2) / d_model)
    angle = jnp.asarray(positions, jnp.float32)[..., None] * frequency.astype(np.float32)
    pairs = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return pairs.reshape(*angle.shape[:-1], -1)[..., :d_model]


def rotary(x_BxTxHxDh: jax.Array, positions: jax.Array, base: float = 10000.0) -> jax.Array:
    """Turn pair (i, i + Dh/2) of every head by the angle position * base**(-2i/Dh); the shape is kept.

    `positions` is (T,) or (B, T). The pairing is that of GPT-NeoX and Llama (RoFormer, arXiv 2104.09864, pairs
    neighbours: the same up to a permutation of the head). Angles are float32. Raises ValueError for odd Dh.
    """
    width = x_BxTxHxDh.shape[-1]
    if width % 2:
        raise ValueError(f"rotary positions turn pairs: the head's width must be even, not {width}")
    frequency = base ** (-np.arange(0, width, 2) / width)
    angle = jnp.asarray(positions, jnp.float32)[..., None, None] * frequency.astype(np.float32)
    dtype = jnp.promote_types(x_BxTxHxDh.dtype, jnp.float32)
    first, second = jnp.split(x_BxTxHxDh.astype(dtype), 2, axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x_BxTxHxDh.dtype)
