"""One block: named sublayers, each with its residual, layer norm and dropout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.norm import LayerNorm
from transformer_jax.ops import padding

# B batch, L query length, S source length, H heads, D d_model


class Source(NamedTuple):
    """Another sequence, which cross-attention reads."""

    x_BxSxD: jax.Array
    positions_S: jax.Array
    """Of the source's own steps, int32."""
    lengths_B: jax.Array | None = None
    """How many steps of each row are real; the rest, at the end, changes nothing, whatever it holds."""


class Context(NamedTuple):
    """What the sublayers of a block know beside x and their own states."""

    positions_L: jax.Array
    """Absolute positions of x, int32."""
    mask: jax.Array | None = None
    """Boolean, True = may attend, broadcastable to (B, H, L, L or the cache's length); added to the causal rule."""
    lengths_B: jax.Array | None = None
    """How many steps of each row of x are real; the rest, at the end, is not seen."""
    source: Source | None = None


class Block(nn.Module):
    """Pre-norm: x + f(norm(x)). Post-norm (the 2017 paper): norm(x + f(x)). Once for each sublayer f, in order.

    Without norms x + f(x); without the residual sum f alone stands in the place of x + f.
    """

    sublayers: tuple[tuple[str, Callable[..., nn.Module]], ...]
    """(name, constructor) pairs: ("mixer", ...), ("cross", ...), ("mlp", ...). Each module is called as
    f(x_BxLxD, context, state) -> (y_BxLxD, state)."""
    norm: str = "pre"
    residual: bool = True
    dropout_rate: float = 0.0
    train: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD, context: Context, states: dict[str, Any] | None = None):
        """x_BxLxD -> x_BxLxD and what the sublayers give back of their states, by name.

        states: of those sublayers that have one, to continue a sequence; None for a whole sequence, which gives None.
        What the block gives is kept in the collection "intermediates", where that is mutable.
        """
        # What is multiplied by weights must be finite in the padding too: their gradient sums 0 * NaN over all steps.
        x_BxLxD = padding.zeroed(x_BxLxD, context.lengths_B)
        dropout = nn.Dropout(self.dropout_rate, deterministic=not self.train)
        after = {}
        for name, make in self.sublayers:
            sublayer = make(name=name)
            if self.norm != "none":
                norm = LayerNorm(self.dtype, name=f"norm_{name}")
            state = None if states is None else states.get(name)
            y_BxLxD, after[name] = sublayer(norm(x_BxLxD) if self.norm == "pre" else x_BxLxD, context, state)
            y_BxLxD = dropout(y_BxLxD)
            x_BxLxD = x_BxLxD + y_BxLxD if self.residual else y_BxLxD
            if self.norm == "post":
                x_BxLxD = norm(x_BxLxD)
        self.sow("intermediates", "vectors", x_BxLxD)
        return x_BxLxD, None if states is None else {name: one for name, one in after.items() if one is not None}
