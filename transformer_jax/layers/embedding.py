"""Tokens or vectors, and their order, as vectors of the model's width."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.dense import Dense
from transformer_jax.ops.positions import sinusoidal


class Embedding(nn.Module):
    """Token vectors, plus sinusoidal or learned positions (none and rotary add nothing).

    With `vocab_size=None` the inputs are vectors (flattened patches, say) and are projected instead of
    looked up (Dosovitskiy et al. 2021, arXiv 2010.11929, equation 1).
    """

    vocab_size: int | None
    d_model: int
    max_len: int
    position: str
    dtype: jnp.dtype = jnp.float32
    token_of: "Embedding | None" = None
    """Another embedding, whose token vectors are these too; learned positions stay each one's own."""
    scale: float = 1.0
    """Standard deviation of the entries of a token's vector, and of a learned position's, before training."""

    def setup(self):
        if self.vocab_size is None:
            self.vector = Dense(self.d_model, dtype=self.dtype)
        elif self.token_of is None:
            self.token = nn.Embed(
                self.vocab_size,
                self.d_model,
                embedding_init=nn.initializers.variance_scaling(self.scale**2, "fan_in", "normal", out_axis=0),
            )
        if self.position == "learned":
            self.learned = nn.Embed(self.max_len, self.d_model, embedding_init=nn.initializers.normal(self.scale))

    def __call__(self, inputs, positions_L):
        """inputs tokens_BxL (int) or vectors_BxLxF, positions_L int -> x_BxLxD.

        Tokens are scaled by sqrt(D): Vaswani et al. 2017, section 3.4.
        """
        if self.vocab_size is None:
            x_BxLxD = self.vector(inputs)
        else:
            token = self.token if self.token_of is None else self.token_of.token
            x_BxLxD = token(inputs) * jnp.sqrt(float(self.d_model))
        if self.position == "sinusoidal":
            x_BxLxD += sinusoidal(positions_L, self.d_model)
        elif self.position == "learned":
            x_BxLxD += self.learned(positions_L)
        return x_BxLxD.astype(self.dtype)

    def attend(self, x_BxLxD) -> jax.Array:
        """Logits against the token vectors (tied embeddings; Press & Wolf 2017)."""
        return self.token.attend(x_BxLxD.astype(jnp.float32))
