"""Multi-head attention as a sequence mixer: projections, rotary positions and the key-value cache."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.block import Context, Source
from transformer_jax.layers.dense import DenseGeneral
from transformer_jax.ops import padding
from transformer_jax.ops.attention import ATTENTION, SCALED_DOT, attention_weights, next_step
from transformer_jax.ops.positions import rotary
from transformer_jax.ops.scores import SCORES

# B batch, L query length, S source length, D d_model, H heads, K key-value heads, Dh head_dim


class KVCache(NamedTuple):
    """Keys and values of the positions seen so far, head by head; later positions hold zeros."""

    k_BxKxSxDh: jax.Array
    v_BxKxSxDh: jax.Array

    def extended(self, added: "KVCache", index: jax.Array) -> "KVCache":
        """The cache with `added` written from position `index` on; axes before (S, Dh) may be any, depth included.

        In place where the cache is donated or carried by a loop.
        """

        def write(leaf, piece):
            return jax.lax.dynamic_update_slice(leaf, piece, (*[0] * (leaf.ndim - 2), index, 0))

        return jax.tree.map(write, self, added)

    def emptied(self) -> "KVCache":
        """A cache with room for no position: what continues it sees itself alone."""
        return jax.tree.map(lambda leaf: leaf[..., :0, :], self)


class SourceCache(NamedTuple):
    """Keys and values of a whole source, computed once and only read from then on, and its real lengths."""

    k_BxSxKxDh: jax.Array
    v_BxSxKxDh: jax.Array
    lengths_B: jax.Array | None


class Attention(nn.Module):
    """softmax(Q Kᵀ / sqrt(Dh)) V with learned projections (Vaswani et al. 2017, section 3.2.2), or another score.

    Self-attention (`cross=False`): with a `state`, x continues the sequence, and the queries attend to everything up to
    their own position. The cache is read only; `state.extended(added, positions_L[0])` is the next one. Whoever holds
    the caches of all layers thus writes what is new and copies nothing. Without a state, what each head gives before
    the projection (B, L, H, Dh) is kept in the collection "intermediates", where that is mutable.

    Cross-attention (`cross=True`): queries from x, keys and values from `context.source`, rotated at the source's own
    positions; all of the source's real steps are seen. Its state is what `read` gives and is never written.

    The weights (B, H, L, S) of cross-attention, and of self-attention without a state, are kept in the collection
    "intermediates", where that is mutable.
    """

    d_model: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    attention: str = "auto"
    causal: bool = True
    rotary: bool = False
    cross: bool = False
    score: str = SCALED_DOT
    """How a query and a key are compared (`ops/scores.py`); where that takes weights, the layer has them."""
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.query = DenseGeneral((self.num_heads, self.head_dim), dtype=self.dtype)
        self.key = DenseGeneral((self.num_kv_heads, self.head_dim), dtype=self.dtype)
        self.value = DenseGeneral((self.num_kv_heads, self.head_dim), dtype=self.dtype)
        self.out = DenseGeneral(self.d_model, axis=(-2, -1), dtype=self.dtype)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=(0,))
        shapes = SCORES[self.score].weights(self.num_heads, self.num_kv_heads, self.head_dim, self.head_dim)
        self.score_weights = tuple(self.param(f"score_{name}", init, shape) for name, shape in shapes.items())

    def __call__(self, x_BxLxD, context: Context, state: KVCache | SourceCache | None = None):
        """Mixes time steps.

        Args:
          context: positions of x; for self-attention mask and lengths, for cross-attention the source.
          state: the cache to continue; None for a whole sequence, or for a source that is read in this call.

        Returns:
          y_BxLxD and, of self-attention with a state, x's own keys and values as a KVCache of L positions; else None.
        """
        q_BxLxHxDh = self.query(x_BxLxD)
        if self.cross:
            if self.rotary:
                q_BxLxHxDh = rotary(q_BxLxHxDh, context.positions_L)
            k_BxSxKxDh, v_BxSxKxDh, lengths_B = self.read(context.source) if state is None else state
            self._keep_weights(q_BxLxHxDh, k_BxSxKxDh, lengths=lengths_B)
            out_BxLxHxDh = self._attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, lengths=lengths_B)
            return self.out(out_BxLxHxDh), None
        k_BxSxKxDh, v_BxSxKxDh = self.key(x_BxLxD), self.value(x_BxLxD)
        if self.rotary:
            q_BxLxHxDh = rotary(q_BxLxHxDh, context.positions_L)
            k_BxSxKxDh = rotary(k_BxSxKxDh, context.positions_L)
        added = None
        if state is None:
            arguments = {"mask": context.mask, "causal": self.causal, "lengths": context.lengths_B}
            self._keep_weights(q_BxLxHxDh, k_BxSxKxDh, **arguments)
            out_BxLxHxDh = self._attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, **arguments)
            self.sow("intermediates", "heads", out_BxLxHxDh)
        else:
            added = KVCache(*(x.astype(self.dtype).swapaxes(1, 2) for x in (k_BxSxKxDh, v_BxSxKxDh)))
            out_BxLxHxDh = self._continue(q_BxLxHxDh, added, state, *context[:3])
        return self.out(out_BxLxHxDh), added

    @property
    def _scored(self) -> dict:
        return {"score": self.score, "score_weights": tuple(w.astype(self.dtype) for w in self.score_weights)}

    def _attend(self, *qkv, **arguments):
        return ATTENTION[self.attention](*qkv, **arguments, **self._scored)

    def _keep_weights(self, q_BxLxHxDh, k_BxSxKxDh, **arguments) -> None:
        if self.is_mutable_collection("intermediates"):  # whoever wants to see them asks for that collection
            weights = attention_weights(q_BxLxHxDh, k_BxSxKxDh, **arguments, **self._scored)
            self.sow("intermediates", "weights", weights)

    def read(self, source: Source) -> SourceCache:
        """The source's keys and values, once for all steps that will attend to it."""
        x_BxSxD = padding.zeroed(source.x_BxSxD, source.lengths_B)
        k_BxSxKxDh, v_BxSxKxDh = self.key(x_BxSxD), self.value(x_BxSxD)
        if self.rotary:
            k_BxSxKxDh = rotary(k_BxSxKxDh, source.positions_S)
        return SourceCache(k_BxSxKxDh, v_BxSxKxDh, source.lengths_B)

    def _continue(self, q_BxLxHxDh, added, state, positions_L, mask, lengths_B):
        if state.k_BxKxSxDh.shape[2] == 0:  # nothing came before
            k_BxSxKxDh, v_BxSxKxDh = (x.swapaxes(1, 2) for x in added)
            return self._attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask=mask, causal=True, lengths=lengths_B)
        if q_BxLxHxDh.shape[1] == 1 and mask is None and lengths_B is None and self.score == SCALED_DOT:
            k_BxKxDh, v_BxKxDh = (x[:, :, 0] for x in added)
            return next_step(q_BxLxHxDh[:, 0], k_BxKxDh, v_BxKxDh, *state, positions_L[0])[:, None]
        # Several steps at once are worth a copy of the layer's cache: any implementation can then attend to it.
        k_BxSxKxDh, v_BxSxKxDh = (x.swapaxes(1, 2) for x in state.extended(added, positions_L[0]))
        seen_LxS = jnp.arange(k_BxSxKxDh.shape[1]) <= positions_L[:, None]
        mask = seen_LxS if mask is None else mask & seen_LxS
        return self._attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask=mask, lengths=lengths_B)

    def initial_state(self, batch_size, max_len) -> KVCache:
        """An empty cache for sequences of up to max_len steps."""
        shape = (batch_size, self.num_kv_heads, max_len, self.head_dim)
        return KVCache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
