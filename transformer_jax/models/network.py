"""A network: embedding (of tokens or vectors), N identical blocks, a head (per position or pooled)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig
from transformer_jax.layers.attention import Attention, KVCache
from transformer_jax.layers.block import Block
from transformer_jax.layers.embedding import Embedding
from transformer_jax.layers.recurrent import Recurrent


class Model(NamedTuple):
    """A network as pure functions: the one fence between Flax and the rest.

    init(key) -> params
    apply(params, inputs, *, mask=None, lengths=None, train=False, key=None) -> float32 logits_BxLxV (logits_BxC:
      classes)
    initial_state(batch_size, max_len) -> state of a sequence of which nothing was read yet
    extend(params, tokens_BxL, state, first=False) -> (logits_BxLxV, state): reads L more tokens (decoding: L = 1); jit
      it with the state donated, or carry the state in a loop, else every call copies the whole key-value cache;
      `first` (not traced) says that nothing was read before: attention then costs L * L, not L * max_len

    lengths (B,) says how many steps of each row are real; what follows them is padding and changes nothing.
    inputs are tokens_BxL, or vectors_BxLxF where the config has an input_dim. What classifies cannot be
    extended: its answer depends on the whole sequence.
    """

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]
    initial_state: Callable[..., Any]
    extend: Callable[..., tuple[jax.Array, Any]]


class State(NamedTuple):
    """How much was read, and what every block remembers of it (stacked over depth)."""

    index: jax.Array
    blocks: Any


def make_mixer(config: ModelConfig) -> Callable[..., nn.Module]:
    """The constructor of the config's sequence mixer; `name=` is left to the caller."""
    dtype = jnp.dtype(config.dtype)
    if config.mixer == "attention":
        return partial(
            Attention,
            num_heads=config.num_heads,
            num_kv_heads=config.kv_heads,
            head_dim=config.width_per_head,
            attention=config.attention,
            causal=config.num_classes is None,
            rotary=config.position == "rotary",
            dtype=dtype,
        )
    return partial(
        Recurrent,
        recurrence=config.mixer,
        form=config.recurrence,
        width=config.state_width,
        project_out=config.recurrent_dim is not None,
        dtype=dtype,
    )


def make_block(config: ModelConfig) -> Callable[..., nn.Module]:
    """The constructor of one block; `train=` and `name=` are left to the caller."""
    return partial(
        Block,
        make_mixer=make_mixer(config),
        mlp_dim=config.mlp_width,
        norm=config.norm,
        activation=config.activation,
        dropout_rate=config.dropout_rate,
        dtype=jnp.dtype(config.dtype),
    )


class Network(nn.Module):
    """inputs -> logits_BxLxV of the next token, causally; or logits_BxC from the mean over real positions."""

    config: ModelConfig
    train: bool = False

    @nn.compact
    def __call__(self, inputs, state: State | None = None, *, mask=None, lengths_B=None, first: bool = False):
        config = self.config
        dtype = jnp.dtype(config.dtype)
        index = 0 if state is None else state.index
        positions_L = index + jnp.arange(inputs.shape[1], dtype=jnp.int32)
        vocab_size = config.vocab_size if config.input_dim is None else None
        embedding = Embedding(vocab_size, config.d_model, config.max_len, config.position, dtype, name="embedding")
        x_BxLxD = embedding(inputs, positions_L)
        x_BxLxD = nn.Dropout(config.dropout_rate, deterministic=not self.train)(x_BxLxD)
        states = None if state is None else state.blocks
        if first and isinstance(states, KVCache):
            states = states.emptied()
        x_BxLxD, new = self._blocks(x_BxLxD, states, positions_L, mask, lengths_B)
        if config.norm == "pre":
            x_BxLxD = nn.LayerNorm(epsilon=1e-6, dtype=dtype, name="norm_out")(x_BxLxD)
        if config.num_classes is not None:
            logits = nn.Dense(config.num_classes, dtype=dtype, name="head")(_mean(x_BxLxD, lengths_B))
        elif config.tie_embeddings:
            logits = embedding.attend(x_BxLxD)
        else:
            logits = nn.Dense(config.vocab_size, dtype=dtype, name="head")(x_BxLxD)
        if state is not None:
            # Caches pass the layers unchanged and are written here, all at once: in place if their owner lets them go.
            blocks = state.blocks.extended(new, index) if isinstance(state.blocks, KVCache) else new
            state = State(index + inputs.shape[1], blocks)
        return logits.astype(jnp.float32), state

    def _blocks(self, x_BxLxD, states, positions_L, *masks):
        config = self.config
        block = make_block(config)
        # nn.scan and nn.remat transform a class; the partial's fields are given when it is called
        module = nn.remat(block.func, prevent_cse=not config.scan_layers) if config.remat else block.func
        if config.scan_layers:
            scanned = nn.scan(
                module,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
                length=config.num_layers,
            )
            layers = scanned(**block.keywords, train=self.train, name="blocks")
            return layers(x_BxLxD, states, positions_L, *masks)
        after = []
        for i in range(config.num_layers):
            layer = module(**block.keywords, train=self.train, name=f"block_{i}")
            before = None if states is None else jax.tree.map(lambda s, i=i: s[i], states)
            x_BxLxD, new = layer(x_BxLxD, before, positions_L, *masks)
            after.append(new)
        return x_BxLxD, None if states is None else jax.tree.map(lambda *s: jnp.stack(s), *after)


def _mean(x_BxLxD, lengths_B):
    """x_BxD: over all positions, or over the first `lengths_B` of each row (a row of none gives zeros)."""
    if lengths_B is None:
        return x_BxLxD.mean(1)
    real_BxL = jnp.arange(x_BxLxD.shape[1]) < lengths_B[:, None]
    return x_BxLxD.sum(1, where=real_BxL[..., None]) / jnp.maximum(lengths_B, 1)[:, None].astype(x_BxLxD.dtype)


def build(config: ModelConfig) -> Model:
    """The network of a config as pure functions; what classifies has no `initial_state` and no `extend`."""

    def init(key):
        vectors = config.input_dim is not None
        inputs = jnp.zeros((1, 1, config.input_dim)) if vectors else jnp.zeros((1, 1), jnp.int32)
        return Network(config).init(key, inputs)["params"]

    def apply(params, inputs, *, mask=None, lengths=None, train=False, key=None):
        _check_length(inputs.shape[1], config)
        keys = None if key is None else {"dropout": key}
        return Network(config, train).apply({"params": params}, inputs, mask=mask, lengths_B=lengths, rngs=keys)[0]

    def initial_state(batch_size, max_len):
        _check_length(max_len, config)
        one = make_mixer(config)().initial_state(batch_size, max_len)
        stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.num_layers, *leaf.shape)), one)
        return State(jnp.zeros((), jnp.int32), stacked)

    def extend(params, tokens_BxL, state, first=False):
        return Network(config).apply({"params": params}, tokens_BxL, state, first=first)

    if config.num_classes is not None:
        return Model(init, apply, None, None)
    return Model(init, apply, initial_state, extend)


def build_block(config: ModelConfig) -> Model:
    """One block of the model alone, on vectors in place of tokens: x_BxLxD -> x_BxLxD."""

    def positions(x_BxLxD):
        return jnp.arange(x_BxLxD.shape[1], dtype=jnp.int32)

    def init(key):
        x_BxLxD = jnp.zeros((1, 1, config.d_model), jnp.dtype(config.dtype))
        return make_block(config)().init(key, x_BxLxD, None, positions(x_BxLxD))["params"]

    def apply(params, x_BxLxD, *, mask=None, train=False, key=None):
        keys = None if key is None else {"dropout": key}
        block = make_block(config)(train=train)
        return block.apply({"params": params}, x_BxLxD, None, positions(x_BxLxD), mask, rngs=keys)[0]

    return Model(init, apply, None, None)


def _check_length(length: int, config: ModelConfig) -> None:
    if not 1 <= length <= config.max_len:
        raise ValueError(f"a sequence of {length} steps: model.max_len={config.max_len} allows 1 to {config.max_len}")
