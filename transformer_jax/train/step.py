"""One training step as a pure function: loss, gradient, update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from transformer_jax.ops.losses import cross_entropy
from transformer_jax.train.state import TrainState

Metrics = dict[str, tuple[jax.Array, jax.Array]]  # (sum, weight): added across batches, divided once
LossFn = Callable[[Any, Any, jax.Array | None], tuple[jax.Array, Metrics]]  # (params, batch, key)


def cross_entropy_loss(model, label_smoothing: float = 0.0) -> LossFn:
    """Mean cross-entropy of a model over {"inputs", "targets", "weights"}; a key means training (dropout).

    Texts that are padded bring "lengths" (B,) as well: what lies beyond them is not read.
    Targets and weights have the shape of the logits without their last axis: (B, L) for a language model,
    (B,) for classification. The metrics are loss and accuracy.
    """

    def loss_fn(params, batch, key):
        lengths = batch.get("lengths")  # of texts that are padded
        logits = model.apply(params, batch["inputs"], lengths=lengths, train=key is not None, key=key)
        targets, weights = batch["targets"], batch["weights"]
        loss_sum, weight = cross_entropy(logits, targets, weights, label_smoothing)
        hits = jnp.sum((logits.argmax(-1) == targets) * weights.astype(jnp.float32))
        mean = loss_sum / jnp.where(weight == 0, 1, weight)  # a micro-batch may hold nothing but padding
        return mean, {"loss": (loss_sum, weight), "accuracy": (hits, weight)}

    return loss_fn


def train_step(
    state: TrainState,
    batch: Any,
    *,
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    micro_batches: int = 1,
    skip_nonfinite: bool = False,
) -> tuple[TrainState, Metrics]:
    """The state after one update, and the metrics of the batch before it with "grad_norm" (unclipped).

    The step's key is folded from the state's by the step number: a resumed run draws what it would have
    drawn. With `skip_nonfinite` a loss or gradient that is not finite updates nothing but the step number,
    counts in no metric, and is counted in "skipped". Jitted, vmapped and donated by the caller.
    """
    key = jax.random.fold_in(state.key, state.step)
    grads, metrics = gradient(loss_fn, state.params, batch, key, micro_batches)
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = metrics | {"grad_norm": (norm, jnp.ones_like(norm))}
    if skip_nonfinite:
        finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"][0])
        before = (state.params, state.opt_state, jax.tree.map(jnp.zeros_like, metrics))
        params, opt_state, metrics = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (params, opt_state, metrics), before
        )
        metrics["skipped"] = (1.0 - finite, jnp.ones_like(norm))
    return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics


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
