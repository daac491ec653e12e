"""Attention of a recurrent decoder: its state asks, a source that was read before answers."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.block import Source
from transformer_jax.layers.dense import Dense
from transformer_jax.layers.recurrent import Projection, input_bias, own_weights
from transformer_jax.ops import padding
from transformer_jax.ops.attentive_recurrence import attend_and_recur
from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.ops.scores import SCORES, normalised

# B batch, L steps, S source steps, E width of the source, D width of the input, R width of the state, G = gates x R,
# A width of the keys as the score reads them


class Memory(NamedTuple):
    """A source as attention reads it, computed once for all steps to come."""

    x_BxSxE: jax.Array
    keys_BxSx1xA: jax.Array
    values_BxSxG: jax.Array | None
    """Projected to the gates of a recurrence that has the context among its inputs."""
    lengths_B: jax.Array | None

    @property
    def seen_BxS(self) -> jax.Array | None:
        return padding.real(self.lengths_B, self.x_BxSxE.shape[1])


def _score_weights(module: nn.Module, score: str, query_dim: int, key_dim: int, dtype) -> tuple[jax.Array, ...]:
    init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=(0,))
    shapes = SCORES[score].weights(1, 1, query_dim, key_dim)
    return tuple(module.param(f"score_{name}", init, shape).astype(dtype) for name, shape in shapes.items())


def context(weights_BxLxS: jax.Array, x_BxSxE: jax.Array) -> jax.Array:
    """c_BxLxE: the source's steps, weighted."""
    return jnp.einsum("bls,bse->ble", weights_BxLxS.astype(x_BxSxE.dtype), x_BxSxE)


class StateAttention(nn.Module):
    """Attention after a recurrence: every step's state asks, all steps at once (Luong et al. 2015, section 3.1)."""

    score: str
    query_dim: int
    key_dim: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.weights = _score_weights(self, self.score, self.query_dim, self.key_dim, self.dtype)

    def read(self, source: Source) -> Memory:
        x_BxSxE = padding.zeroed(source.x_BxSxD, source.lengths_B)
        return Memory(x_BxSxE, SCORES[self.score].key(x_BxSxE[:, :, None], *self.weights), None, source.lengths_B)

    def __call__(self, h_BxLxR, memory: Memory) -> jax.Array:
        """weights_BxLxS, float32; zeros at the source's padding."""
        scores = SCORES[self.score].compare(h_BxLxR[:, :, None], memory.keys_BxSx1xA, *self.weights)
        seen_BxS = memory.seen_BxS
        return normalised(scores, None if seen_BxS is None else seen_BxS[:, None, None])[:, 0]


class AttentiveRecurrent(nn.Module):
    """A recurrence whose input at each step is x and what the state before found in the source.

    Bahdanau et al. 2015, arXiv 1409.0473, section 3.1. It runs step by step; everything else is done for all steps.
    """

    recurrence: str
    score: str
    width: int
    source_dim: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        gates = RECURRENCE[self.recurrence].num_gates * self.width
        self.input = Projection(gates, partial(input_bias, self.recurrence))
        self.context = Dense(gates, use_bias=False, dtype=self.dtype)
        self.own = own_weights(self, self.recurrence, self.width, self.dtype)
        self.score_weights = _score_weights(self, self.score, self.width, self.source_dim, self.dtype)

    def read(self, source: Source) -> Memory:
        x_BxSxE = padding.zeroed(source.x_BxSxD, source.lengths_B)
        keys_BxSx1xA = SCORES[self.score].key(x_BxSxE[:, :, None], *self.score_weights)
        return Memory(x_BxSxE, keys_BxSx1xA, self.context(x_BxSxE), source.lengths_B)

    def __call__(self, x_BxLxD, memory: Memory, carry):
        """(h_BxLxR, weights_BxLxS, carry): the carry is a tuple of BxR arrays, to continue from and after the steps."""
        kernel, bias = (array.astype(self.dtype) for array in self.input(x_BxLxD.shape[-1]))
        x_BxLxG = x_BxLxD.astype(self.dtype) @ kernel + bias
        return attend_and_recur(
            self.recurrence, self.score, x_BxLxG, self.own, carry,
            self.score_weights, memory.keys_BxSx1xA, memory.values_BxSxG, memory.seen_BxS,
        )  # fmt: skip
