"""A network: embedding (of tokens or vectors), N identical blocks, a head (at every step or pooled)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ConfigError, ModelConfig, Shape, misfits
from transformer_jax.layers.attention import Attention
from transformer_jax.layers.block import Context
from transformer_jax.layers.dense import Dense
from transformer_jax.layers.embedding import Embedding
from transformer_jax.layers.recurrent import Bidirectional, Recurrent
from transformer_jax.models.model import Model
from transformer_jax.models.stack import State, check_length, inspection, make_block, stack
from transformer_jax.ops import padding
from transformer_jax.ops.pooling import POOLING
from transformer_jax.ops.recurrence import RECURRENCE


def _attention(config: ModelConfig) -> Callable[..., nn.Module]:
    return partial(
        Attention,
        **config.sizes,
        d_model=config.d_model,
        attention=config.attention,
        causal=config.causal,
        rotary=config.positions == "rotary",
        dtype=jnp.dtype(config.dtype),
    )


def _recurrent(config: ModelConfig) -> Callable[..., nn.Module]:
    sizes = config.sizes
    make = partial(
        Recurrent,
        width=sizes["width"],
        project_out=sizes["project_out"] and not config.bidirectional,
        recurrence=config.mixer,
        form=config.recurrence,
        dtype=jnp.dtype(config.dtype),
    )
    return partial(Bidirectional, make, features=config.d_model) if config.bidirectional else make


def make_embedding(config: ModelConfig, vocab_size: int | None, **others) -> Embedding:
    """The embedding of so many tokens, or of vectors (None), as the config says it; others: its fields, name too."""
    sizes = {"d_model": config.d_model, "max_len": config.max_len, "position": config.positions}
    start = {"dtype": jnp.dtype(config.dtype), "scale": config.embedding_scale}
    return Embedding(vocab_size, **(sizes | start | others))


def make_mixer(config: ModelConfig) -> Callable[..., nn.Module]:
    """The constructor of the config's sequence mixer; `name=` is left to the caller."""
    layers = {"attention": _attention} | dict.fromkeys(RECURRENCE, _recurrent)
    return layers[config.mixer](config)


class Network(nn.Module):
    """inputs -> logits_BxLxV at every step, or at those of asked_BxN alone, or logits_BxV where the shape is pooled:
    from the mean over real steps, the largest of each entry, or what comes of a learned vector before the first step.
    """

    config: ModelConfig
    shape: Shape
    train: bool = False

    @nn.compact
    def __call__(
        self, inputs, state: State | None = None, *, mask=None, lengths_B=None, asked_BxN=None, first: bool = False
    ):
        config, shape = self.config, self.shape
        dtype = jnp.dtype(config.dtype)
        index = 0 if state is None else state.index
        positions_L = index + jnp.arange(inputs.shape[1], dtype=jnp.int32)
        embedding = make_embedding(config, shape.vocab_size, name="embedding")
        x_BxLxD = embedding(padding.zeroed(inputs, lengths_B), positions_L)
        cls = shape.pooled and config.pooling == "cls"
        if cls:
            x_BxLxD, lengths_B = self._with_first(x_BxLxD, lengths_B, mask)
            positions_L = jnp.arange(x_BxLxD.shape[1], dtype=jnp.int32)
        x_BxLxD = nn.Dropout(config.dropout_rate, deterministic=not self.train)(x_BxLxD)
        self.sow("intermediates", "embedded", x_BxLxD)
        states = None if state is None else (state.emptied() if first else state).blocks
        block, context = make_block(config, make_mixer(config)), Context(positions_L, mask, lengths_B)
        x_BxLxD, added = stack(config, block, config.num_layers, x_BxLxD, context, states, train=self.train)
        if shape.pooled:
            x_BxLxD = x_BxLxD[:, 0] if cls else POOLING[config.pooling](x_BxLxD, lengths_B)
            x_BxLxD = nn.Dropout(config.pooled_dropout_rate, deterministic=not self.train)(x_BxLxD)
        elif asked_BxN is not None:
            x_BxLxD = jnp.take_along_axis(x_BxLxD, asked_BxN[..., None], axis=1)
        if config.tie_embeddings:
            logits = embedding.attend(x_BxLxD)
        else:
            logits = Dense(shape.outputs, dtype=dtype, name="head")(x_BxLxD)
        return logits.astype(jnp.float32), None if state is None else state.advanced(added, inputs.shape[1])

    def _with_first(self, x_BxLxD, lengths_B, mask):
        """A learned vector before the first step (Devlin et al. 2019), which then counts as a real one."""
        if mask is not None:
            raise ValueError("model.pooling=cls adds a step, of which a mask says nothing: leave the mask out")
        init = nn.initializers.normal(self.config.embedding_scale)
        first_D = self.param("cls", init, (self.config.d_model,), jnp.float32)
        first_Bx1xD = jnp.broadcast_to(first_D.astype(x_BxLxD.dtype), (x_BxLxD.shape[0], 1, self.config.d_model))
        x_BxLxD = jnp.concatenate([first_Bx1xD, x_BxLxD], axis=1)
        return x_BxLxD, None if lengths_B is None else lengths_B + 1


def build(config: ModelConfig, shape: Shape) -> Model:
    """The network of a config for what a task gives and asks, as pure functions.

    Raises:
      ConfigError: the model cannot read the shape: it is longer than max_len, or tied embeddings have no token for
        each output.
    """
    check_shape(config, shape)

    def init(key):
        tokens = shape.input_dim is None
        inputs = jnp.zeros((1, 1), jnp.int32) if tokens else jnp.zeros((1, 1, shape.input_dim))
        return Network(config, shape).init(key, inputs)["params"]

    def apply(params, inputs, *, mask=None, lengths=None, asked=None, train=False, key=None):
        check_length(inputs.shape[1], config)
        if shape.pooled and asked is not None:
            raise ValueError("a pooled answer is one for all steps: none can be asked for alone")
        network, keys = Network(config, shape, train), None if key is None else {"dropout": key}
        given = {"mask": mask, "lengths_B": lengths, "asked_BxN": asked}
        return network.apply({"params": params}, inputs, **given, rngs=keys)[0]

    def initial_state(batch_size, max_len):
        check_length(max_len, config)
        if not config.num_layers:
            return State(jnp.zeros((), jnp.int32), {})
        one = {"mixer": make_mixer(config)().initial_state(batch_size, max_len)}
        stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.num_layers, *leaf.shape)), one)
        return State(jnp.zeros((), jnp.int32), stacked)

    def extend(params, tokens_BxL, state, first=False):
        return Network(config, shape).apply({"params": params}, tokens_BxL, state, first=first)

    def inspect(params, inputs, lengths=None):
        check_length(inputs.shape[1], config)
        network = Network(config, shape)
        _, kept = network.apply({"params": params}, inputs, lengths_B=lengths, mutable=["intermediates"])
        (embedded_BxLxD,) = kept["intermediates"]["embedded"]
        return inspection(config, config.num_layers, embedded_BxLxD, kept["intermediates"])

    if shape.pooled or shape.input_dim is not None or config.looks_ahead:
        return Model(init, apply, None, None, inspect=inspect)
    return Model(init, apply, initial_state, extend, inspect=inspect)


def build_block(config: ModelConfig) -> Model:
    """One block of the model alone, on vectors in place of tokens: x_BxLxD -> x_BxLxD."""

    def context(x_BxLxD, mask=None):
        return Context(jnp.arange(x_BxLxD.shape[1], dtype=jnp.int32), mask)

    def init(key):
        x_BxLxD = jnp.zeros((1, 1, config.d_model), jnp.dtype(config.dtype))
        return make_block(config, make_mixer(config))().init(key, x_BxLxD, context(x_BxLxD))["params"]

    def apply(params, x_BxLxD, *, mask=None, train=False, key=None):
        keys = None if key is None else {"dropout": key}
        block = make_block(config, make_mixer(config))(train=train)
        return block.apply({"params": params}, x_BxLxD, context(x_BxLxD, mask), rngs=keys)[0]

    return Model(init, apply, None, None)


def check_shape(config: ModelConfig, shape: Shape) -> None:
    """Raises ConfigError where no network can be built for the shape, or the config's cannot read or answer it."""
    if (shape.vocab_size is None) == (shape.input_dim is None):
        raise ConfigError(
            f"inputs are tokens or vectors: one of vocab_size={shape.vocab_size} and input_dim={shape.input_dim}"
        )
    if shape.source_len is not None and (shape.source_vocab_size is None or shape.vocab_size is None or shape.pooled):
        raise ConfigError(
            "a source is tokens and is answered with a token at every step:"
            f" source_vocab_size={shape.source_vocab_size}, vocab_size={shape.vocab_size}, pooled={shape.pooled}"
        )
    if found := misfits(config, shape):
        raise ConfigError("; ".join(found))
