"""A config's sequence mixer alone, without norm, residual sum and MLP: over a whole sequence, or one step at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig
from transformer_jax.layers.block import Context
from transformer_jax.models.network import make_mixer
from transformer_jax.models.stack import State

# B batch, T time steps, D d_model


class Mixer(NamedTuple):
    """A mixer as pure functions; vectors in place of tokens.

    init(key) -> params
    apply(params, x_BxTxD) -> y_BxTxD
    initial_state(batch_size, max_len) -> state of a sequence of which nothing was read yet
    step(params, x_BxD, state) -> (y_BxD, added): reads one more step; `added` is what the step hands on to later ones,
      its key and value or the carry after it
    extended(state, added) -> the state after the step: a key-value cache keeps what it held, a carry is replaced
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], jax.Array]
    initial_state: Callable[[int, int], State]
    step: Callable[[Any, jax.Array, State], tuple[jax.Array, Any]]
    extended: Callable[[State, Any], State]


def build_mixer(config: ModelConfig) -> Mixer:
    """The mixer of one of the config's blocks. Steps are those of decoding: causal, from left to right."""
    mixer = make_mixer(config)()

    def context(length: int, index: jax.Array | int = 0) -> Context:
        return Context(index + jnp.arange(length, dtype=jnp.int32))

    def init(key):
        return mixer.init(key, jnp.zeros((1, 1, config.d_model), jnp.dtype(config.dtype)), context(1))["params"]

    def apply(params, x_BxTxD):
        return mixer.apply({"params": params}, x_BxTxD, context(x_BxTxD.shape[1]))[0]

    def initial_state(batch_size, max_len):
        return State(jnp.zeros((), jnp.int32), {"mixer": mixer.initial_state(batch_size, max_len)})

    def step(params, x_BxD, state):
        before = state.blocks["mixer"]
        y_Bx1xD, added = mixer.apply({"params": params}, x_BxD[:, None], context(1, state.index), before)
        return y_Bx1xD[:, 0], {"mixer": added}

    return Mixer(init, apply, initial_state, step, lambda state, added: state.advanced(added, 1))
