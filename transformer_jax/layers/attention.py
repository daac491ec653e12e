"""Multi-head attention as a sequence mixer: projections, rotary positions and the key-value cache."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.ops.attention import ATTENTION
from transformer_jax.ops.positions import rotary

# B batch, L query length, S source length, D d_model, H heads, K key-value heads, Dh head_dim


class KVCache(NamedTuple):
    """Keys and values of the positions seen so far; later positions hold zeros."""

    k_BxSxKxDh: jax.Array
    v_BxSxKxDh: jax.Array


class Attention(nn.Module):
    """softmax(Q Kᵀ / sqrt(Dh)) V with learned projections (Vaswani et al. 2017, section 3.2.2).

    With a `state`, x continues the sequence: its keys and values are written into the cache at `positions_L`
    and the queries attend to everything up to their own position.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    attention: str = "auto"
    causal: bool = True
    rotary: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x_BxLxD, positions_L, state: KVCache | None = None, *, mask=None, lengths_B=None, source_BxSxD=None
    ):
        """Mixes time steps.

        Args:
          positions_L: absolute positions of x, int32.
          state: the cache to continue, or None for a whole sequence.
          mask: boolean, True = may attend, broadcastable to (B, H, L, S); added to the causal rule.
          lengths_B: int, how many steps of each row of the source are real; the rest, at the end, is not seen.
          source_BxSxD: where keys and values come from (cross-attention); None: x itself.

        Returns:
          y_BxLxD and the extended cache (None without one).
        """
        source = x_BxLxD if source_BxSxD is None else source_BxSxD
        q_BxLxHxDh = self._project("query", self.num_heads)(x_BxLxD)
        k_BxSxKxDh = self._project("key", self.num_kv_heads)(source)
        v_BxSxKxDh = self._project("value", self.num_kv_heads)(source)
        if self.rotary:
            q_BxLxHxDh = rotary(q_BxLxHxDh, positions_L)
            k_BxSxKxDh = rotary(k_BxSxKxDh, positions_L)
        causal = self.causal
        if state is not None:
            start = (0, positions_L[0], 0, 0)
            state = KVCache(
                jax.lax.dynamic_update_slice(state.k_BxSxKxDh, k_BxSxKxDh.astype(self.dtype), start),
                jax.lax.dynamic_update_slice(state.v_BxSxKxDh, v_BxSxKxDh.astype(self.dtype), start),
            )
            k_BxSxKxDh, v_BxSxKxDh = state
            seen_LxS = jnp.arange(k_BxSxKxDh.shape[1]) <= positions_L[:, None]
            mask = seen_LxS if mask is None else mask & seen_LxS
            causal = False  # the mask above says it, with the cache's unused tail excluded
        attend = ATTENTION[self.attention]
        out_BxLxHxDh = attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask=mask, causal=causal, lengths=lengths_B)
        out = nn.DenseGeneral(x_BxLxD.shape[-1], axis=(-2, -1), dtype=self.dtype, name="out")
        return out(out_BxLxHxDh), state

    def _project(self, name, num_heads):
        return nn.DenseGeneral((num_heads, self.head_dim), dtype=self.dtype, name=name)

    def initial_state(self, batch_size, max_len) -> KVCache:
        """An empty cache for sequences of up to max_len steps."""
        empty = jnp.zeros((batch_size, max_len, self.num_kv_heads, self.head_dim), self.dtype)
        return KVCache(empty, empty)
