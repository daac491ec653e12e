"""What is measured, as one function of arrays: an op, a block or a model, forward, in training or decoding."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import models
from transformer_jax.measure.closed_form import record
from transformer_jax.measure.work import Work, form
from transformer_jax.tasks.objectives import cross_entropy
from transformer_jax.train.optimizer import make_optimizer
from transformer_jax.train.state import TrainState, create
from transformer_jax.train.step import LossFn, make_loss, train_step

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


def build(work: Work) -> Program:
    """The program of a piece of work.

    op: what touches more than one time step, on random inputs; training is forward and backward.
    block: one block on random vectors; training is forward, backward (inputs too) and the AdamW update.
    model: the language model on random tokens; training is forward, cross-entropy, backward and AdamW.
    decode: one token after another, each the likeliest after the one before, for every sequence of the batch; at
      every one of them the context is `shape.seq_len`, its own token included.
    """
    decode = work.phase == "decode"
    make = _decode if decode else {"op": _op, "block": _block, "model": _model}[work.level]
    fn, make_args = make(work)
    # jitted here, so that compiling and counting share one trace
    return Program(jax.jit(fn), make_args, work.batch_size * work.steps, DECODED if decode else 1)


def _op(work: Work):
    model = work.config.model
    mixer, op = record(model), record(model).op(form(model), model.causal)

    def make_args():
        return mixer.arguments(lambda *shapes: _normal(work, *shapes), work.batch_size, work.steps)

    def forward(inputs, weight):
        return op(*inputs)

    def train(inputs, weight):
        # a random linear functional of the output: its gradient is `weight`, which no compiler can foresee
        return jax.value_and_grad(lambda inputs: jnp.sum(op(*inputs) * weight))(inputs)

    return (train if work.phase == "train" else forward), make_args


def _block(work: Work):
    model = work.config.model
    block, tx = models.build_block(model), make_optimizer(work.config.train)

    def make_args():
        shape = (work.batch_size, work.steps, model.d_model)
        return _state(block, work), *_normal(work, shape, shape)

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

    return (train if work.phase == "train" else forward), make_args


def next_token_loss(model: models.Model) -> LossFn:
    """Training's own loss of a language model over tokens_BxL+1, each predicted from those before it; no dropout.

    Of the metrics only the loss is given back, so that the compiler drops what a measured step has no use for.
    """
    train_loss = make_loss(model, cross_entropy().terms)

    def loss_fn(params, tokens, key):
        targets = tokens[:, 1:]
        batch = {"inputs": tokens[:, :-1], "targets": targets, "weights": jnp.ones(targets.shape, jnp.float32)}
        value, metrics = train_loss(params, batch, None)
        return value, {"loss": metrics["loss"]}

    return loss_fn


def _model(work: Work):
    model, tx = models.build(work.config.model, work.shape), make_optimizer(work.config.train)
    loss_fn = next_token_loss(model)

    def make_args():
        return _state(model, work), _tokens(work, work.steps + 1)

    def forward(state, tokens):
        return model.apply(state.params, tokens[:, :-1])

    def train(state, tokens):
        return train_step(state, tokens, loss_fn=loss_fn, tx=tx)

    return (train if work.phase == "train" else forward), make_args


def _decode(work: Work):
    model, length = models.build(work.config.model, work.shape), work.context

    def make_args():
        state = model.initial_state(work.batch_size, length)
        state = state._replace(index=jnp.int32(length - 1))  # the cache has one place left
        return _state(model, work).params, _tokens(work, 1), state

    def decode(params, tokens_Bx1, state):
        def step(carry, _):
            tokens_Bx1, state = carry
            logits_Bx1xV, state = model.extend(params, tokens_Bx1, state._replace(index=jnp.int32(length - 1)))
            return (logits_Bx1xV.argmax(-1).astype(tokens_Bx1.dtype), state), logits_Bx1xV[:, 0]

        return jax.lax.scan(step, (tokens_Bx1, state), length=DECODED)

    return decode, make_args


def _normal(work: Work, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Random arrays from NumPy: compiling JAX's generator for every shape would take longer than most cells."""
    random = np.random.default_rng(work.config.train.seed)
    return [jnp.asarray(random.standard_normal(shape, np.float32), work.config.model.dtype) for shape in shapes]


def _tokens(work: Work, length: int) -> jax.Array:
    random = np.random.default_rng(work.config.train.seed)
    return jnp.asarray(random.integers(0, work.shape.vocab_size, (work.batch_size, length)), jnp.int32)


def _state(model: models.Model, work: Work) -> TrainState:
    """A training state of the right shapes, parameters random: compiling the true initialisers takes seconds."""
    config = work.config
    key = jax.random.key(config.train.seed)
    tx, random = make_optimizer(config.train), np.random.default_rng(config.train.seed)
    shapes = jax.eval_shape(lambda: create(model.init(key), tx, key))

    def parameter(path, like):
        if path[-1].key in ("kernel", "embedding"):
            return jnp.asarray(random.standard_normal(like.shape, np.float32) / config.model.d_model**0.5)
        return jnp.asarray(np.full(like.shape, path[-1].key == "scale", like.dtype))

    params = jax.tree_util.tree_map_with_path(parameter, shapes.params)
    opt_state = jax.tree.map(lambda like: jnp.asarray(np.zeros(like.shape, like.dtype)), shapes.opt_state)
    return TrainState(params, opt_state, jnp.asarray(np.zeros((), np.int32)), key)
