"""Multi-head attention as a sequence mixer: projections, rotary positions and the key-value cache."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.ops.attention import ATTENTION, next_step
from transformer_jax.ops.positions import rotary

# B batch, L query length, S source length, D d_model, H heads, K key-value heads, Dh head_dim


class KVCache(NamedTuple):
    """Keys and values of the positions seen so far, head by head; later positions hold zeros."""

    k_BxKxSxDh: jax.Array
    v_BxKxSxDh: jax.Array

    def extended(self, new: "KVCache", index: jax.Array) -> "KVCache":
        """The cache with `new` written from position `index` on; axes before (S, Dh) may be any, depth included.

        In place where the cache is donated or carried by a loop.
        """

        def write(leaf, piece):
            return jax.lax.dynamic_update_slice(leaf, piece, (*[0] * (leaf.ndim - 2), index, 0))

        return jax.tree.map(write, self, new)

    def emptied(self) -> "KVCache":
        """A cache with room for no position: what continues it sees itself alone."""
        return jax.tree.map(lambda leaf: leaf[..., :0, :], self)


class Attention(nn.Module):
    """softmax(Q Kᵀ / sqrt(Dh)) V with learned projections (Vaswani et al. 2017, section 3.2.2).

    With a `state`, x continues the sequence: the queries attend to everything up to their own position. The cache
    is read only; `state.extended(new, positions_L[0])` is the next one. Whoever holds the caches of all layers thus
    writes what is new and copies nothing.
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
          y_BxLxD and x's own keys and values as a KVCache of L positions (None without a state).
        """
        source = x_BxLxD if source_BxSxD is None else source_BxSxD
        q_BxLxHxDh = self._project("query", self.num_heads)(x_BxLxD)
        k_BxSxKxDh = self._project("key", self.num_kv_heads)(source)
        v_BxSxKxDh = self._project("value", self.num_kv_heads)(source)
        if self.rotary:
            q_BxLxHxDh = rotary(q_BxLxHxDh, positions_L)
            k_BxSxKxDh = rotary(k_BxSxKxDh, positions_L)
        new = None
        if state is None:
            attend = ATTENTION[self.attention]
            arguments = {"mask": mask, "causal": self.causal, "lengths": lengths_B}
            out_BxLxHxDh = attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, **arguments)
        else:
            new = KVCache(*(x.astype(self.dtype).swapaxes(1, 2) for x in (k_BxSxKxDh, v_BxSxKxDh)))
            out_BxLxHxDh = self._continue(q_BxLxHxDh, new, state, positions_L, mask, lengths_B)
        out = nn.DenseGeneral(x_BxLxD.shape[-1], axis=(-2, -1), dtype=self.dtype, name="out")
        return out(out_BxLxHxDh), new

    def _continue(self, q_BxLxHxDh, new, state, positions_L, mask, lengths_B):
        if state.k_BxKxSxDh.shape[2] == 0:  # nothing came before
            k_BxSxKxDh, v_BxSxKxDh = (x.swapaxes(1, 2) for x in new)
            attend = ATTENTION[self.attention]
            return attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask=mask, causal=True, lengths=lengths_B)
        if q_BxLxHxDh.shape[1] == 1 and mask is None and lengths_B is None:
            k_BxKxDh, v_BxKxDh = (x[:, :, 0] for x in new)
            return next_step(q_BxLxHxDh[:, 0], k_BxKxDh, v_BxKxDh, *state, positions_L[0])[:, None]
        # Several steps at once are worth a copy of the layer's cache: any implementation can then attend to it.
        k_BxSxKxDh, v_BxSxKxDh = (x.swapaxes(1, 2) for x in state.extended(new, positions_L[0]))
        seen_LxS = jnp.arange(k_BxSxKxDh.shape[1]) <= positions_L[:, None]
        mask = seen_LxS if mask is None else mask & seen_LxS
        return ATTENTION[self.attention](q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask=mask, lengths=lengths_B)

    def _project(self, name, num_heads):
        return nn.DenseGeneral((num_heads, self.head_dim), dtype=self.dtype, name=name)

    def initial_state(self, batch_size, max_len) -> KVCache:
        """An empty cache for sequences of up to max_len steps."""
        shape = (batch_size, self.num_kv_heads, max_len, self.head_dim)
        return KVCache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
