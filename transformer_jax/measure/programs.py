"""What is measured: a config's op, block or model, forward, in training or decoding, as one function of arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig
from transformer_jax.measure.matching import matched
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.ops.losses import cross_entropy
from transformer_jax.ops.recurrence import RECURRENCE, initial_carry, named
from transformer_jax.train.optimizer import make_optimizer
from transformer_jax.train.state import TrainState, create
from transformer_jax.train.step import train_step

MAX_KEPT_BYTES = 2**30


class Arguments:
    """A program's arguments, kept from call to call while those of all programs together fit MAX_KEPT_BYTES.

    Beyond that the longest kept go first, and are made again when they are asked for: what a cell may allocate
    must not depend on how many cells ran before it.
    """

    _kept: ClassVar[dict["Arguments", int]] = {}

    def __init__(self, make: Callable[[], tuple]):
        self.make, self.args = make, None

    def __call__(self) -> tuple:
        if self.args is None:
            self.args, kept = self.make(), self._kept
            kept[self] = sum(leaf.nbytes for leaf in jax.tree.leaves(self.args))
            while sum(kept.values()) > MAX_KEPT_BYTES and len(kept) > 1:
                oldest = next(iter(kept))
                del kept[oldest]
                oldest.args = None
        return self.args


DECODED = 16  # tokens in a call: a decoder carries its cache, and a call of its own for each would copy it


class Program(NamedTuple):
    """fn(*args) is `steps` steps. Everything that it reads is an argument, so that nothing can be folded away."""

    fn: Callable[..., Any]
    make_args: Callable[[], tuple]
    tokens: int
    """Tokens that one step reads."""
    steps: int = 1
    """What is timed or counted of a call is divided by them."""


def build(config: Config) -> Program:
    """The program of `config.measure`, with a recurrence's width matched to attention as it says.

    op: what touches more than one time step, on random inputs; training is forward and backward.
    block: one block on random vectors; training is forward, backward (inputs too) and the AdamW update.
    model: the language model on random tokens; training is forward, cross-entropy, backward and AdamW.
    decode: one token after another, each the likeliest after the one before, for every sequence of the batch; at
      every one of them the context is `task.seq_len`, its own token included.

    Raises:
      ValueError: `measure.peer` names another library: those are built in `peers`, for the experiment of that name.
    """
    if config.measure.peer != "ours":
        raise ValueError(f"measure.peer={config.measure.peer}: only the experiment peers measures other libraries")
    config = matched(config)
    make = {"op": _op, "block": _block, "model": _model}[config.measure.level]
    if config.measure.phase == "decode":
        make = _decode
    fn, make_args = make(config)
    decode = config.measure.phase == "decode"
    tokens = config.task.batch_size * (1 if decode else config.task.seq_len)
    # jitted here, so that compiling and counting share one trace
    return Program(jax.jit(fn), make_args, tokens, DECODED if decode else 1)


def _op(config: Config):
    model, (B, T) = config.model, (config.task.batch_size, config.task.seq_len)

    def attention_args():
        q_like, kv_like = (B, T, model.num_heads, model.width_per_head), (B, T, model.kv_heads, model.width_per_head)
        q, k, v, weight = _normal(config, q_like, kv_like, kv_like, q_like)
        return (q, k, v), weight

    def recurrence_args():
        R, recurrence = model.state_width, RECURRENCE[model.mixer]
        shapes = recurrence.weights(R).values()
        x, *weights, weight = _normal(config, (B, T, recurrence.num_gates * R), *shapes, (B, T, R))
        weights = tuple(w / R**0.5 if w.ndim == 2 else w for w in weights)
        return (x, weights, initial_carry(model.mixer, B, R, x.dtype)), weight

    if model.mixer == "attention":
        make_args, op = attention_args, partial(ATTENTION[model.attention], causal=True)
    else:
        make_args, recur = recurrence_args, named(model.mixer, model.recurrence)

        def op(*inputs):
            return recur(*inputs)[0]

    def forward(inputs, weight):
        return op(*inputs)

    def train(inputs, weight):
        # a random linear functional of the output: its gradient is `weight`, which no compiler can foresee
        return jax.value_and_grad(lambda inputs: jnp.sum(op(*inputs) * weight))(inputs)

    return (train if config.measure.phase == "train" else forward), make_args


def _block(config: Config):
    block, tx = models.build_block(config.model), make_optimizer(config.train)

    def make_args():
        shape = (config.task.batch_size, config.task.seq_len, config.model.d_model)
        return _state(models.build_block, config), *_normal(config, shape, shape)

    def forward(state, x, weight):
        return block.apply(state.params, x)

    def train(state, x, weight):
        # as inside a model, the gradient with respect to the block's input is computed as well
        def loss(params, x):
            return jnp.sum(block.apply(params, x) * weight)

        value, (grads, grad_x) = jax.value_and_grad(loss, argnums=(0, 1))(state.params, x)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        return value, grad_x, state.replace(params=params, opt_state=opt_state, step=state.step + 1)

    return (train if config.measure.phase == "train" else forward), make_args


def _model(config: Config):
    model, tx = models.build(config.model), make_optimizer(config.train)

    def make_args():
        return _state(models.build, config), _tokens(config, config.task.seq_len + 1)

    def loss_fn(params, tokens, key):
        loss_sum, weight = cross_entropy(model.apply(params, tokens[:, :-1]), tokens[:, 1:])
        return loss_sum / weight, {"loss": (loss_sum, weight)}

    def forward(state, tokens):
        return model.apply(state.params, tokens[:, :-1])

    def train(state, tokens):
        return train_step(state, tokens, loss_fn=loss_fn, tx=tx)

    return (train if config.measure.phase == "train" else forward), make_args


def _decode(config: Config):
    model, length = models.build(config.model), config.task.seq_len

    def make_args():
        state = model.initial_state(config.task.batch_size, length)
        state = state._replace(index=jnp.int32(length - 1))  # the cache has one place left
        return _state(models.build, config).params, _tokens(config, 1), state

    def decode(params, tokens_Bx1, state):
        def step(carry, _):
            tokens_Bx1, state = carry
            logits_Bx1xV, state = model.extend(params, tokens_Bx1, state._replace(index=jnp.int32(length - 1)))
            return (logits_Bx1xV.argmax(-1).astype(tokens_Bx1.dtype), state), logits_Bx1xV[:, 0]

        return jax.lax.scan(step, (tokens_Bx1, state), length=DECODED)

    return decode, make_args


def _normal(config: Config, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Random arrays from NumPy: compiling JAX's generator for every shape would take longer than most cells."""
    rng = np.random.default_rng(config.train.seed)
    return [jnp.asarray(rng.standard_normal(shape, np.float32), config.model.dtype) for shape in shapes]


def _tokens(config: Config, length: int) -> jax.Array:
    rng = np.random.default_rng(config.train.seed)
    return jnp.asarray(rng.integers(0, config.model.vocab_size, (config.task.batch_size, length)), jnp.int32)


def _state(build: Callable[[ModelConfig], models.Model], config: Config) -> TrainState:
    """A training state of the right shapes, parameters random: compiling the true initialisers takes seconds."""
    key = jax.random.key(config.train.seed)
    tx, rng = make_optimizer(config.train), np.random.default_rng(config.train.seed)
    shapes = jax.eval_shape(lambda: create(build(config.model).init(key), tx, key))

    def parameter(path, like):
        if path[-1].key in ("kernel", "embedding"):
            return jnp.asarray(rng.standard_normal(like.shape, np.float32) / config.model.d_model**0.5)
        return jnp.asarray(np.full(like.shape, path[-1].key == "scale", like.dtype))

    params = jax.tree_util.tree_map_with_path(parameter, shapes.params)
    opt_state = jax.tree.map(lambda like: jnp.asarray(np.zeros(like.shape, like.dtype)), shapes.opt_state)
    return TrainState(params, opt_state, jnp.asarray(np.zeros((), np.int32)), key)
