"""One block: a sequence mixer and an MLP, each with its residual, layer norm and dropout."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.layers.mlp import MLP


class Block(nn.Module):
    """Pre-norm: x + f(norm(x)). Post-norm (the 2017 paper): norm(x + f(x)). Twice: mixer, then MLP."""

    make_mixer: Callable[[], nn.Module]
    mlp_dim: int
    norm: str = "pre"
    activation: str = "gelu"
    dropout_rate: float = 0.0
    train: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD, state, positions_L, mask=None, lengths_B=None):
        """x_BxLxD -> x_BxLxD and the mixer's new state; `state=None` means a whole sequence from the start."""
        mixer = self.make_mixer(name="mixer")
        mlp = MLP(self.mlp_dim, self.activation, self.dtype, name="mlp")
        norms = [nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=f"norm_{name}") for name in ("mixer", "mlp")]
        dropout = nn.Dropout(self.dropout_rate, deterministic=not self.train)

        def mix(h):
            nonlocal state
            h, state = mixer(h, positions_L, state, mask=mask, lengths_B=lengths_B)
            return h

        for norm, sublayer in zip(norms, (mix, mlp), strict=True):
            if self.norm == "pre":
                x_BxLxD = x_BxLxD + dropout(sublayer(norm(x_BxLxD)))
            else:
                x_BxLxD = norm(x_BxLxD + dropout(sublayer(x_BxLxD)))
        return x_BxLxD, state
