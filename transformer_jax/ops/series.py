"""What forecasts are made of: a series against its own mean, cut into patches, parted into trend and rest."""

import jax
import jax.numpy as jnp

# N series, L time steps, P patches, W steps of a patch

EPSILON = 1e-5
"""Added to a variance, so that a series that does not vary can be divided by its deviation."""


def normalised(x_NxL: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each series with mean 0 and deviation 1, its mean (N, 1) and its deviation (N, 1), all float32.

    A forecast of the first is multiplied by the deviation and added to the mean: reversible instance normalisation
    without its affine part (Kim et al. 2022, RevIN, equations 1 to 3).
    """
    x_NxL = x_NxL.astype(jnp.float32)
    mean_Nx1 = x_NxL.mean(-1, keepdims=True)
    deviation_Nx1 = jnp.sqrt(x_NxL.var(-1, keepdims=True) + EPSILON)
    return (x_NxL - mean_Nx1) / deviation_Nx1, mean_Nx1, deviation_Nx1


def num_patches(length: int, size: int, stride: int) -> int:
    """How many `patches` gives."""
    return (length - size) // stride + 2


def patches(x_NxL: jax.Array, size: int, stride: int) -> jax.Array:
    """x_NxPxW: `size` steps from every `stride`-th on, after the last step was repeated `stride` times at the end.

    So the last step is in the last patch (Nie et al. 2023, arXiv 2211.14730, section 3.1). Raises ValueError for a
    series shorter than a patch, and for patches with steps between them that are in none.
    """
    length = x_NxL.shape[-1]
    if not 1 <= stride <= size <= length:
        raise ValueError(f"patches of {size} steps, {stride} apart, of a series of {length}: stride <= size <= length")
    padded = jnp.pad(x_NxL, ((0, 0), (0, stride)), mode="edge")
    starts_P = jnp.arange(num_patches(length, size, stride)) * stride
    return padded[:, starts_P[:, None] + jnp.arange(size)]


def trend(x_NxL: jax.Array, window: int) -> jax.Array:
    """x_NxL: the mean of the `window` steps around each step; beyond an end its value is repeated.

    The trend of Wu et al. 2021 (Autoformer, arXiv 2106.13008, equation 1). Raises ValueError for an even window,
    which has no middle.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"a window of {window} steps has no step in its middle: it must be odd")
    padded = jnp.pad(x_NxL, ((0, 0), (window // 2, window // 2)), mode="edge")
    return sum(padded[:, i : i + x_NxL.shape[-1]] for i in range(window)) / window
