"""Learning without forgetting: old answers to new inputs are kept (Li & Hoiem 2016, arXiv 1606.09282)."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.continual.anchor import Anchor
from transformer_jax.continual.fisher import FAR
from transformer_jax.train.step import Penalty, outputs_of

# K tasks, V answers, x what a batch asks: (B,) or (B, L)

TEMPERATURE = 2.0


@cache  # one object for equal arguments, for which a step is compiled once
def penalty(model, order: tuple[int, ...], outputs: int, scenario: str) -> Penalty:
    """strength * T² * mean over what is asked of KL(old answer ‖ new answer), both softened by the temperature T.

    The old answer is that of the anchor's centre. With scenario "task" the mean is also over old tasks, each choosing
    among its own answers; with "class" one chooses among the answers of all old tasks, with "domain" among all.

    Args:
      order: the tasks in the order in which they are learned; each has an equal part of the answers, unless "domain".
    """
    own_KxV = np.arange(outputs) // (outputs // len(order)) == np.array(order)[:, None] if scenario != "domain" else (
        np.ones((len(order), outputs), bool))  # fmt: skip

    def of_batch(params: Any, anchor: Anchor, batch: Any) -> jax.Array:
        old_KxV = own_KxV & (np.arange(len(order))[:, None] < anchor["task"])
        groups_GxV = old_KxV if scenario == "task" else old_KxV.any(0, keepdims=True)
        new, old = (outputs_of(model, p, batch) / TEMPERATURE for p in (params, anchor["centre"]))
        weights_x = batch["weights"].astype(jnp.float32)

        def of_group(group_V):
            log_p, log_q = (jax.nn.log_softmax(jnp.where(group_V, logits, FAR)) for logits in (old, new))
            apart_x = jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)
            return jnp.sum(jnp.where(weights_x > 0, apart_x, 0) * weights_x) / jnp.maximum(weights_x.sum(), 1)

        count = jnp.maximum(groups_GxV.any(1).sum(), 1)
        return anchor["strength"] * TEMPERATURE**2 * jax.vmap(of_group)(groups_GxV).sum() / count

    return of_batch
