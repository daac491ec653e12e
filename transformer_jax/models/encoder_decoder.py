"""The transformer of 2017: an encoder of the source, and a decoder that looks at it and at its own words so far.

Vaswani et al. 2017, arXiv 1706.03762, figure 1. Every decoder block is masked self-attention, attention to the
encoder's output, MLP; pre-norm puts a last norm on both stacks.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig, Shape
from transformer_jax.layers.block import Context, Source
from transformer_jax.layers.dense import Dense
from transformer_jax.models.model import Model
from transformer_jax.models.network import check_shape, make_embedding, make_mixer
from transformer_jax.models.stack import State, check_length, inspection, make_block, of_layers, stack

# B batch, S source length, L target length, D d_model, V vocab, N layers


class Stack(nn.Module):
    """`stack` as a module of its own."""

    config: ModelConfig
    block: partial
    num_layers: int
    train: bool = False

    @nn.compact
    def __call__(self, x_BxLxD, context: Context, states=None):
        return stack(self.config, self.block, self.num_layers, x_BxLxD, context, states, train=self.train)


class EncoderDecoder(nn.Module):
    """source_BxS and inputs_BxL, the target shifted right -> logits_BxLxV.

    One vocabulary for both sequences is one table of token vectors; `tie_embeddings` makes the target's the head.
    """

    config: ModelConfig
    shape: Shape
    train: bool = False

    def setup(self):
        config, shape, dtype = self.config, self.shape, jnp.dtype(self.config.dtype)
        self.embedding = make_embedding(config, shape.vocab_size)
        shared = self.embedding if shape.source_vocab_size == shape.vocab_size else None
        self.source_embedding = make_embedding(config, shape.source_vocab_size, token_of=shared)
        attention = make_mixer(config)
        encoder_block = make_block(config, partial(attention, causal=False))
        decoder_block = make_block(config, attention, ("cross", partial(attention, cross=True)))
        self.encoder = Stack(config, encoder_block, config.encoder_layers or config.num_layers, self.train)
        self.decoder = Stack(config, decoder_block, config.num_layers, self.train)
        self.dropout = nn.Dropout(config.dropout_rate, deterministic=not self.train)
        if not config.tie_embeddings:
            self.head = Dense(shape.outputs, dtype=dtype)

    def __call__(self, inputs_BxL, source_BxS, source_lengths_B=None, lengths_B=None):
        """float32 logits_BxLxV of a whole target."""
        return self.decode(inputs_BxL, self.encode(source_BxS, source_lengths_B), lengths_B)[0]

    def encode(self, source_BxS, lengths_B=None) -> Source:
        """What the decoder reads: every step of the source with its context on both sides."""
        positions_S = jnp.arange(source_BxS.shape[1], dtype=jnp.int32)
        x_BxSxD = self.dropout(self.source_embedding(source_BxS, positions_S))
        self.sow("intermediates", "embedded", x_BxSxD)
        x_BxSxD, _ = self.encoder(x_BxSxD, Context(positions_S, lengths_B=lengths_B))
        return Source(x_BxSxD, positions_S, lengths_B)

    def decode(self, inputs_BxL, source: Source | None, lengths_B=None, state: State | None = None, first=False):
        """float32 logits_BxLxV, and the state after the inputs. A state, which the inputs continue, holds what was
        read of its source."""
        index, states = (0, None) if state is None else (state.index, (state.emptied() if first else state).blocks)
        positions_L = index + jnp.arange(inputs_BxL.shape[1], dtype=jnp.int32)
        x_BxLxD = self.dropout(self.embedding(inputs_BxL, positions_L))
        x_BxLxD, added = self.decoder(x_BxLxD, Context(positions_L, None, lengths_B, source), states)
        logits = self.embedding.attend(x_BxLxD) if self.config.tie_embeddings else self.head(x_BxLxD)
        return logits.astype(jnp.float32), None if state is None else state.advanced(added, inputs_BxL.shape[1])


def build(config: ModelConfig, shape: Shape) -> Model:
    """The encoder-decoder of a config for a task with a source, as pure functions.

    Its decoder is as causal as the config says. Only in a causal one is a token after another read, and tasks refuse
    the other: it would read its answers.

    Raises:
      ConfigError: source or target is longer than max_len; the target is no sequence of tokens; tied embeddings have
        no token for each output.
    """
    check_shape(config, shape)

    def init(key):
        token = jnp.zeros((1, 1), jnp.int32)
        return EncoderDecoder(config, shape).init(key, token, token)["params"]

    def apply(params, inputs, *, source, source_lengths=None, lengths=None, train=False, key=None):
        check_length(inputs.shape[1], config)
        check_length(source.shape[1], config)
        keys = None if key is None else {"dropout": key}
        network = EncoderDecoder(config, shape, train)
        return network.apply({"params": params}, inputs, source, source_lengths, lengths, rngs=keys)

    def read(params, source_BxS, source_lengths_B, max_len):
        check_length(source_BxS.shape[1], config)
        check_length(max_len, config)
        network = EncoderDecoder(config, shape)
        source = network.apply({"params": params}, source_BxS, source_lengths_B, method="encode")
        attention, N = make_mixer(config), config.num_layers
        one = attention().initial_state(source_BxS.shape[0], max_len)
        mixer = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (N, *leaf.shape)), one)

        def of_layer(layer):
            return attention(cross=True).apply({"params": layer["cross"]}, source, method="read")

        blocks = {"mixer": mixer, "cross": jax.vmap(of_layer)(of_layers(config, N, params["decoder"]))}
        return State(jnp.zeros((), jnp.int32), blocks)

    def extend(params, tokens_BxL, state, first=False):
        network = EncoderDecoder(config, shape)
        return network.apply({"params": params}, tokens_BxL, None, None, state, first, method="decode")

    def select(state, rows_N):
        mixer = jax.tree.map(lambda leaf: leaf[:, rows_N], state.blocks["mixer"])
        return state._replace(blocks=state.blocks | {"mixer": mixer})

    def alignment(params, inputs, source, source_lengths=None, lengths=None):
        check_length(inputs.shape[1], config)
        check_length(source.shape[1], config)
        network = EncoderDecoder(config, shape)
        _, kept = network.apply(
            {"params": params}, inputs, source, source_lengths, lengths, mutable=["intermediates"]
        )  # fmt: skip
        layers = of_layers(config, config.num_layers, kept["intermediates"]["decoder"])
        (weights_NxBxHxLxS,) = layers["cross"]["weights"]
        return weights_NxBxHxLxS.swapaxes(1, 2)

    def inspect(params, inputs, lengths=None):
        check_length(inputs.shape[1], config)
        network = EncoderDecoder(config, shape)
        _, kept = network.apply({"params": params}, inputs, lengths, method="encode", mutable=["intermediates"])
        kept, layers = kept["intermediates"], config.encoder_layers or config.num_layers
        return inspection(config, layers, kept["embedded"][0], kept["encoder"])

    if config.looks_ahead:
        return Model(init, apply, None, None, alignment=alignment, inspect=inspect)
    return Model(init, apply, None, extend, read, select, alignment, inspect)
