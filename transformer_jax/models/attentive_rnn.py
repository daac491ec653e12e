"""The transformer's recurrent twin for two sequences: a bidirectional encoder, a decoder that attends to it."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.layers.block import Context, Source
from transformer_jax.layers.dense import Dense
from transformer_jax.layers.recurrent import Bidirectional, Recurrent
from transformer_jax.layers.recurrent_attention import AttentiveRecurrent, Memory, StateAttention, context
from transformer_jax.models.model import Model
from transformer_jax.models.network import check_shape, make_embedding
from transformer_jax.models.stack import check_length
from transformer_jax.ops import padding
from transformer_jax.ops.recurrence import RECURRENCE


class State(NamedTuple):
    """How much of the target was written, each layer's carry after it, and the source as it was read."""

    index: jax.Array
    carries: tuple[tuple[jax.Array, ...], ...]
    memory: Memory


def score_of(config: ModelConfig) -> str:
    """`score`, with Bahdanau's in the place of "auto"."""
    return "additive" if config.score == "auto" else config.score


class AttentiveRNN(nn.Module):
    """(source_BxS, target_BxL) -> logits_BxLxV; every recurrence has width R, the encoder's in each direction.

    additive: Bahdanau et al. 2015, arXiv 1409.0473. The state before asks, and what it finds is input of the step, so
      that the first decoder layer runs step by step. The answer is tanh(W [c; h; y]), y the embedded token before,
      in place of the paper's maxout layer.
    general, dot: Luong et al. 2015, arXiv 1508.04025, without input feeding. The decoder runs over the target as a
      whole, then all its states ask at once; the answer is tanh(W [c; h]), the paper's equation 5. For dot, whose
      query and key have one width, the encoder's two directions are added, else they stand side by side.

    Each decoder layer starts from tanh(W [last forward state; first backward state] + b), one W for each array that it
    carries. Layers have no residual sums, norms or MLP; dropout stands before every layer and before the head.
    """

    config: ModelConfig
    shape: Shape
    train: bool = False

    def setup(self):
        config, shape = self.config, self.shape
        dtype, width = jnp.dtype(config.dtype), config.sizes["width"]
        self.embedding = make_embedding(config, shape.vocab_size)
        if shape.source_vocab_size != shape.vocab_size:
            self.source_embedding = make_embedding(config, shape.source_vocab_size)
        recurrent = partial(Recurrent, config.mixer, width, config.recurrence, dtype=dtype)
        self.encoder = [Bidirectional(recurrent) for _ in range(config.encoder_layers or config.num_layers)]
        score, arrays = score_of(config), RECURRENCE[config.mixer].num_carry
        self.bridge = [[Dense(width, dtype=dtype) for _ in range(arrays)] for _ in range(config.num_layers)]
        source_dim = width if score == "dot" else 2 * width
        if self.attends_first:
            self.attention = AttentiveRecurrent(config.mixer, score, width, source_dim, dtype)
        else:
            self.attention = StateAttention(score, width, source_dim, dtype)
        self.decoder = [recurrent() for _ in range(config.num_layers - self.attends_first)]
        self.readout = Dense(config.d_model, dtype=dtype)
        if not config.tie_embeddings:
            self.head = Dense(shape.outputs, dtype=dtype)
        self.dropout = nn.Dropout(config.dropout_rate, deterministic=not self.train)

    @property
    def attends_first(self) -> bool:
        """Attention is part of the first decoder layer's step (Bahdanau), not after the last layer (Luong)."""
        return score_of(self.config) == "additive"

    def encode(self, source_BxS, lengths_B=None) -> State:
        """The state of a target of which nothing was written yet."""
        embedding = self.embedding if self.shape.source_vocab_size == self.shape.vocab_size else self.source_embedding
        positions_S = jnp.arange(source_BxS.shape[1], dtype=jnp.int32)
        x_BxSxE = embedding(padding.zeroed(source_BxS, lengths_B), positions_S)
        for layer in self.encoder:
            x_BxSxE, _ = layer(self.dropout(x_BxSxE), Context(positions_S, lengths_B=lengths_B))
        there, back = jnp.split(x_BxSxE, 2, axis=-1)
        ends_Bx2R = jnp.concatenate([padding.last(there, lengths_B), back[:, 0]], axis=-1)
        carries = tuple(tuple(jnp.tanh(dense(ends_Bx2R)) for dense in layer) for layer in self.bridge)
        if score_of(self.config) == "dot":
            x_BxSxE = there + back
        memory = self.attention.read(Source(x_BxSxE, positions_S, lengths_B))
        return State(jnp.zeros((), jnp.int32), carries, memory)

    def decode(self, tokens_BxL, state: State):
        """(logits_BxLxV, weights_BxLxS, state) of the target's next L inputs."""
        (first, *carries), memory = state.carries, state.memory
        y_BxLxD = self.embedding(tokens_BxL, state.index + jnp.arange(tokens_BxL.shape[1], dtype=jnp.int32))
        h_BxLxR, after = self.dropout(y_BxLxD), []
        if self.attends_first:
            h_BxLxR, weights_BxLxS, first = self.attention(h_BxLxR, memory, first)
            after, h_BxLxR = [first], self.dropout(h_BxLxR)
        else:
            carries = [first, *carries]
        for layer, carry in zip(self.decoder, carries, strict=True):
            h_BxLxR, carry = layer(h_BxLxR, state=carry)
            h_BxLxR = self.dropout(h_BxLxR)
            after.append(carry)
        if self.attends_first:
            read = [context(weights_BxLxS, memory.x_BxSxE), h_BxLxR, y_BxLxD]
        else:
            weights_BxLxS = self.attention(h_BxLxR, memory)
            read = [context(weights_BxLxS, memory.x_BxSxE), h_BxLxR]
        out_BxLxD = self.dropout(jnp.tanh(self.readout(jnp.concatenate(read, axis=-1))))
        logits = self.embedding.attend(out_BxLxD) if self.config.tie_embeddings else self.head(out_BxLxD)
        state = State(state.index + tokens_BxL.shape[1], tuple(after), memory)
        return logits.astype(jnp.float32), weights_BxLxS, state

    def __call__(self, inputs_BxL, source_BxS, source_lengths_B=None, lengths_B=None):
        state = self.encode(source_BxS, source_lengths_B)
        return self.decode(padding.zeroed(inputs_BxL, lengths_B), state)


def build(config: ModelConfig, shape: Shape) -> Model:
    """The recurrent encoder and decoder of a config for a shape with a source, as pure functions.

    There are no blocks: mlp_dim, norm, activation, scan_layers and remat are not read.

    Raises:
      ConfigError: the model cannot read the shape or answer it, or the recurrence has to run in a form that cannot
        look at a source before each step.
    """
    _check(config, shape)
    module = partial(AttentiveRNN, config, shape)

    def init(key):
        one = jnp.zeros((1, 1), jnp.int32)
        return module().init(key, one, one)["params"]

    def call(params, inputs, source, source_lengths, lengths, train=False, key=None):
        for steps in (inputs.shape[1], source.shape[1]):
            check_length(steps, config)
        rngs = None if key is None else {"dropout": key}
        return module(train=train).apply({"params": params}, inputs, source, source_lengths, lengths, rngs=rngs)

    def apply(params, inputs, *, source, source_lengths=None, lengths=None, train=False, key=None):
        return call(params, inputs, source, source_lengths, lengths, train, key)[0]

    def alignment(params, inputs, source, source_lengths=None, lengths=None):
        return call(params, inputs, source, source_lengths, lengths)[1][None, None]

    def read(params, source_BxS, source_lengths_B, max_len):
        for steps in (max_len, source_BxS.shape[1]):
            check_length(steps, config)
        return module().apply({"params": params}, source_BxS, source_lengths_B, method="encode")

    def extend(params, tokens_BxL, state, first=False):
        del first  # a carry has one size, whatever was read before
        logits_BxLxV, _, state = module().apply({"params": params}, tokens_BxL, state, method="decode")
        return logits_BxLxV, state

    def select(state: State, rows_N) -> State:
        return state._replace(carries=jax.tree.map(lambda carry: carry[rows_N], state.carries))

    return Model(init, apply, None, extend, read=read, select=select, alignment=alignment)


def _check(config: ModelConfig, shape: Shape) -> None:
    check_shape(config, shape)
    if score_of(config) == "additive" and config.recurrence not in ("auto", "sequential"):
        raise ConfigError(
            f"model.recurrence={config.recurrence}: a decoder that attends before each step"
            f" (model.score={config.score}) runs step by step; take sequential, or model.score=general"
        )
