"""The position-wise MLP: what a block does to each time step alone."""

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.layers.dense import Dense
from transformer_jax.ops.activations import gelu

ACTIVATION = {"gelu": gelu, "relu": nn.relu}


class MLP(nn.Module):
    """Dense(mlp_dim), activation, Dense(D); Vaswani et al. 2017, section 3.3; it has no state."""

    mlp_dim: int
    activation: str = "gelu"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD, context=None, state=None):
        """x_BxLxD -> (y_BxLxD, None); every step alone, so that neither context nor state is read."""
        h_BxLxF = ACTIVATION[self.activation](Dense(self.mlp_dim, dtype=self.dtype)(x_BxLxD))
        return Dense(x_BxLxD.shape[-1], dtype=self.dtype)(h_BxLxF), None
