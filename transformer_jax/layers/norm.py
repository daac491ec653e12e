"""Layer norm with its two vectors of parameters."""

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.ops import norms


class LayerNorm(nn.Module):
    """`ops/norms.py` with a learned scale and bias, which start at one and zero; the result has `dtype`."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """x (..., D) -> (..., D)."""
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias_D = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return norms.layer_norm(x, scale_D, bias_D).astype(self.dtype)
