"""One training step as a pure function: loss, gradient, update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from transformer_jax.tasks.task import Pair, Terms
from transformer_jax.train import leaves
from transformer_jax.train.state import TrainState

Metrics = dict[str, Pair]  # (sum, weight): added across batches, divided once
LossFn = Callable[[Any, Any, jax.Array | None], tuple[jax.Array, Metrics]]  # (params, batch, key)
Penalty = Callable[[Any, Any, Any], jax.Array]  # (params, anchor, batch) -> a scalar that is added to the loss
Observe = Callable[[Any, Any, Any, Any], Any]  # (anchor, params, grads, updates) -> anchor


def make_loss(model, terms: Terms) -> LossFn:
    """The mean loss of a model over a batch, and all metrics. Dropout acts where a key is given.

    Args:
      model: `apply(params, inputs, *, lengths, train, key) -> outputs`; where a batch has a source, or says at which
        steps it asks, that is given too.
      terms: of an objective; what they give as the loss is the metric "loss".
    """

    def loss_fn(params, batch, key):
        (loss_sum, weight), metrics = terms(outputs_of(model, params, batch, key), batch)
        mean = loss_sum / jnp.where(weight == 0, 1, weight)  # a micro-batch may hold nothing but padding
        return mean, {"loss": (loss_sum, weight)} | metrics

    return loss_fn


def outputs_of(model, params: Any, batch: Any, key: jax.Array | None = None) -> jax.Array:
    """What a model answers to a batch; dropout acts where a key is given."""
    given = {name: batch[name] for name in ("source", "source_lengths", "asked") if name in batch}
    lengths = batch.get("lengths")  # of texts that are padded
    return model.apply(params, batch["inputs"], lengths=lengths, train=key is not None, key=key, **given)


def held(loss_fn: LossFn, frozen: tuple[str, ...]) -> LossFn:
    """The same loss without a gradient for the leaves that `frozen` names, which costs the less."""
    if not frozen:
        return loss_fn

    def stop(path, leaf):
        return jax.lax.stop_gradient(leaf) if leaves.name(path) in frozen else leaf

    return lambda params, batch, key: loss_fn(jax.tree_util.tree_map_with_path(stop, params), batch, key)


def train_step(
    state: TrainState,
    batch: Any,
    *,
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    micro_batches: int = 1,
    skip_nonfinite: bool = False,
    penalty: Penalty | None = None,
    observe: Observe | None = None,
) -> tuple[TrainState, Metrics]:
    """The state after one update, and the metrics of the batch before it with "grad_norm" (unclipped).

    The step's key is folded from the state's by the step number: a resumed run draws what it would have
    drawn. With `skip_nonfinite` a loss or gradient that is not finite updates nothing but the step number,
    counts in no metric, and is counted in "skipped". Jitted, vmapped and donated by the caller.

    Args:
      penalty: added to the loss once a step, however many micro-batches; its value is the metric "penalty".
      observe: gives the anchor after the step. It sees the parameters before the update, the gradient of the loss
        without the penalty, unclipped, and the updates that are added to the parameters.
    """
    key = jax.random.fold_in(state.key, state.step)
    loss_grads, metrics = gradient(loss_fn, state.params, batch, key, micro_batches)
    grads = loss_grads
    if penalty is not None:
        value, pull = jax.value_and_grad(penalty)(state.params, state.anchor, batch)
        grads = jax.tree.map(jnp.add, loss_grads, pull)
        metrics = metrics | {"penalty": (value, jnp.ones_like(value))}
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    after = state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
    if observe is not None:
        after = after.replace(anchor=observe(state.anchor, state.params, loss_grads, updates))
    metrics = metrics | {"grad_norm": (norm, jnp.ones_like(norm))}
    if skip_nonfinite:
        finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"][0])
        # the key is no number, to be chosen between, and stays in any case
        changed = (after.params, after.opt_state, after.anchor, metrics)
        before = (state.params, state.opt_state, state.anchor, jax.tree.map(jnp.zeros_like, metrics))
        changed = jax.tree.map(lambda one, other: jnp.where(finite, one, other), changed, before)
        params, opt_state, anchor, metrics = changed
        after = after.replace(params=params, opt_state=opt_state, anchor=anchor)
        metrics["skipped"] = (1.0 - finite, jnp.ones_like(norm))
    return after.replace(step=state.step + 1), metrics


def gradient(loss_fn: LossFn, params, batch, key: jax.Array, micro_batches: int = 1):
    """(gradient of the mean loss over the batch, metrics), the batch taken in `micro_batches` parts.

    The parts' gradients are weighted by what their losses weigh, so that the result is that of the whole
    batch even where the parts hold different amounts of padding; dropout draws differently.
    """
    grad_fn = jax.grad(loss_fn, has_aux=True)
    if micro_batches == 1:
        return grad_fn(params, batch, key)
    parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)

    def one(index):
        grads, metrics = grad_fn(params, jax.tree.map(lambda x: x[index], parts), jax.random.fold_in(key, index))
        return jax.tree.map(lambda g: g * metrics["loss"][1], grads), metrics

    def add(index, total):
        return jax.tree.map(jnp.add, total, one(index))

    grads, metrics = jax.lax.fori_loop(1, micro_batches, add, one(0))
    weight = metrics["loss"][1]
    return jax.tree.map(lambda g: g / jnp.where(weight == 0, 1, weight), grads), metrics
