"""One training step as a pure function: loss, gradient, update."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from transformer_jax.train.state import TrainState

# (params, batch, key) -> (loss, metrics); metrics are (sum, weight) pairs
LossFn = Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]]]]


def train_step(
    state: TrainState, batch: Any, *, loss_fn: LossFn, tx: optax.GradientTransformation
) -> tuple[TrainState, dict]:
    """The state after one update, and the metrics of the batch before it.

    The step's key is folded from the state's by the step number, so a resumed run draws what it would have drawn.
    Jitted, vmapped and donated by the caller.
    """
    key = jax.random.fold_in(state.key, state.step)
    grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params, batch, key)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics
