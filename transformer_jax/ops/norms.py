"""Layer norm, whose gradient keeps its input and two numbers of each step."""

import jax
import jax.numpy as jnp
from jax import lax

from transformer_jax.ops.devices import platform, vary_alike

EPSILON = 1e-6


def layer_norm(x, scale_D, bias_D):
    """(x - mean) / sqrt(variance + EPSILON) * scale + bias over the last axis (Ba et al. 2016, arXiv 1607.06450).

    x (..., D) of any float dtype; the result has the dtype of x, the arithmetic at least float32. The variance is the
    mean of squares less the square of the mean. Reverse mode only (no jvp).
    """
    return _layer_norm(*vary_alike((x, scale_D, bias_D)))


@jax.custom_vjp
def _layer_norm(x, scale_D, bias_D):
    return _forward(x, scale_D, bias_D)[0]


def _forward(x, scale_D, bias_D):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(-1, keepdims=True)
    variance = jnp.maximum(jnp.square(wide).mean(-1, keepdims=True) - jnp.square(mean), 0)
    inverse = lax.rsqrt(variance + EPSILON)
    y = (wide - mean) * inverse * scale_D + bias_D
    return y.astype(x.dtype), (x, scale_D, bias_D, mean, inverse)


def _backward(kept, d_y):
    """d_x = inverse (g - mean(g) - normal mean(g normal)), of g = d_y scale and normal = (x - mean) inverse.

    On a CPU the sums are products with vectors, as XLA would write down in full, for each of them, what is broadcast;
    and a barrier keeps it from keeping what is computed here again. Elsewhere sums fuse with what they add.
    """
    x, scale_D, bias_D, mean, inverse = kept
    if cpu := platform() == "cpu":
        x, mean, inverse, d_y = lax.optimization_barrier((x, mean, inverse, d_y))
    d_y, centred = d_y.astype(mean.dtype), x.astype(mean.dtype) - mean
    product, D = d_y * centred, x.shape[-1]

    def weighted(array, weights_D):
        return (array @ weights_D if cpu else (array * weights_D).sum(-1))[..., None]

    slope, slant = weighted(d_y, scale_D / D), weighted(product, scale_D / D)
    d_x = inverse * (d_y * scale_D - slope) - centred * (inverse**3 * slant)
    steps = tuple(range(x.ndim - 1))
    d_scale_D = inverse.reshape(-1) @ product.reshape(-1, D) if cpu else (product * inverse).sum(steps)
    return d_x.astype(x.dtype), d_scale_D.astype(scale_D.dtype), d_y.sum(steps).astype(bias_D.dtype)


_layer_norm.defvjp(_forward, _backward)
