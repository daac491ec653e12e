"""Tokens and their order as vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.ops.positions import sinusoidal


class Embedding(nn.Module):
    """Token vectors of unit variance, plus sinusoidal or learned positions (none and rotary add nothing here)."""

    vocab_size: int
    d_model: int
    max_len: int
    position: str
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.token = nn.Embed(
            self.vocab_size,
            self.d_model,
            embedding_init=nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
        )
        if self.position == "learned":
            self.learned = nn.Embed(self.max_len, self.d_model, embedding_init=nn.initializers.normal(1.0))

    def __call__(self, tokens_BxL, positions_L):
        """tokens_BxL int, positions_L int -> x_BxLxD. The factor sqrt(D) is Vaswani et al. 2017, section 3.4."""
        x_BxLxD = self.token(tokens_BxL) * jnp.sqrt(float(self.d_model))
        if self.position == "sinusoidal":
            x_BxLxD += sinusoidal(positions_L, self.d_model)
        elif self.position == "learned":
            x_BxLxD += self.learned(positions_L)
        return x_BxLxD.astype(self.dtype)

    def attend(self, x_BxLxD) -> jax.Array:
        """Logits against the token vectors (tied embeddings; Press & Wolf 2017)."""
        return self.token.attend(x_BxLxD.astype(jnp.float32))
