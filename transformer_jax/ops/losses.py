"""Losses as (sum, weight) pairs: added across batches, divided once."""

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy in nats: (sum of weight * loss, sum of weight), both scalars, at least float32.

    logits (..., V); targets (...) integers in [0, V); weights (...) or None for all ones. Label smoothing s mixes
    the target with the uniform distribution: (1 - s) * onehot + s / V (Szegedy et al. 2016, arXiv 1512.00567). A
    position of weight zero has no effect on value or gradient, whatever it holds; a target outside [0, V) at a
    position that counts makes the loss NaN. Raises ValueError for shapes that disagree, TypeError for targets that
    are not integers.
    """
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(f"targets must be integers, not {targets.dtype}")
    if targets.shape != logits.shape[:-1] or (weights is not None and weights.shape != targets.shape):
        given = None if weights is None else weights.shape
        raise ValueError(f"shapes disagree: logits {logits.shape}, targets {targets.shape}, weights {given}")
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    num_classes = logits.shape[-1]
    logits = logits.astype(dtype)
    counts = jnp.ones(targets.shape, bool) if weights is None else weights != 0
    if weights is not None:
        logits = jnp.where(counts[..., None], logits, 0)
    inside = (targets >= 0) & (targets < num_classes)
    picked = jnp.take_along_axis(logits, jnp.where(inside, targets, 0)[..., None], axis=-1)[..., 0]
    goal = (1 - label_smoothing) * picked
    if label_smoothing:
        goal = goal + label_smoothing * logits.mean(-1)
    loss = jnp.where(inside | ~counts, jax.nn.logsumexp(logits, axis=-1) - goal, jnp.nan)
    weights = jnp.ones(targets.shape, dtype) if weights is None else weights.astype(dtype)
    return jnp.sum(loss * weights), jnp.sum(weights)
