"""What draws parameters back to what earlier tasks made of them: a quadratic penalty as a part of the training state.

EWC (Kirkpatrick et al. 2017), online EWC (Schwarz et al. 2018, arXiv 1805.06370), its correction (Huszár 2018, arXiv
1712.03847), L2, SI (Zenke et al. 2017, arXiv 1703.04200) and MAS (Aljundi et al. 2018) all add

    strength / 2 * sum over parameters of importance * (parameter - centre)²

and differ in importance and centre. So one program trains all of them, and lanes may differ in strength and in what is
protected. The sum of several such penalties, one for each old task, is again one of them but for a constant: with the
sum of the importances, and with the mean of the centres that they weigh. An anchor therefore does not grow.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from transformer_jax.config import ConfigError
from transformer_jax.train.leaves import describe, differences

Anchor = dict[str, Any]
"""strength: a scalar; task: how many tasks were learned; centre, importance, mask: trees of the parameters' form, mask
1 where the parameter is protected; path: SI's running integral since the task began."""
DAMPING = 1e-3
"""SI's ξ, which keeps what has hardly moved from mattering without bound."""


def begin(params: Any) -> Anchor:
    """The anchor before the first task: it draws nothing anywhere."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {
        "strength": jnp.zeros(()),
        "task": jnp.zeros((), jnp.int32),
        "centre": params,
        "importance": zeros,
        "mask": jax.tree.map(jnp.ones_like, params),
        "path": zeros,
    }


def penalty(params: Any, anchor: Anchor, batch: Any = None) -> jax.Array:
    """strength / 2 * sum of importance * (params - centre)², whatever the batch."""
    del batch
    terms = jax.tree.map(lambda p, c, i: jnp.sum(i * (p - c) ** 2), params, anchor["centre"], anchor["importance"])
    return anchor["strength"] / 2 * sum(jax.tree.leaves(terms))


def follow(anchor: Anchor, params: Any, grads: Any, updates: Any) -> Anchor:
    """Adds a step to SI's path integral: what the step took from the loss, parameter by parameter, to first order."""
    del params
    path = jax.tree.map(lambda total, g, u: total - g * u, anchor["path"], grads, updates)
    return anchor | {"path": path}


def consolidated(
    anchor: Anchor,
    params: Any,
    found: Any,
    variant: Literal["separate", "online", "corrected"] = "separate",
    decay: float = 1.0,
) -> Anchor:
    """The anchor after a task, for the next one: what it found to matter joins what earlier tasks did.

    Args:
      params: where the task ended.
      found: how much each parameter matters to the task, a tree of the parameters' form.
      variant: "separate": the sum of a penalty for each task about its own end; "online": the sum of importances, the
        older ones times `decay`, about the last end; "corrected": online without decay.

    Raises:
      ConfigError: what was found is of another model.
    """
    check(params, found)
    old = anchor["importance"]
    kept = jax.tree.map(lambda f, m: jnp.maximum(f, 0) * m, found, anchor["mask"])
    if variant == "online":
        old = jax.tree.map(lambda i: decay * i, old)
    total, centre = jax.tree.map(jnp.add, old, kept), params
    if variant == "separate":
        centre = jax.tree.map(_between, old, anchor["centre"], kept, params)
    path = jax.tree.map(jnp.zeros_like, params)
    return anchor | {"importance": total, "centre": centre, "path": path, "task": anchor["task"] + 1}


def _between(old, centre, kept, params):
    """The mean of two centres, weighed by their importances; where nothing matters, the newer one."""
    total = old + kept
    return jnp.where(total > 0, centre + (params - centre) * (kept / jnp.where(total > 0, total, 1)), params)


def path_importance(anchor: Anchor, params: Any, start: Any) -> Any:
    """SI's importance of a task: the path integral over the squared way, Ω = max(ω, 0) / (Δ² + ξ).

    Args:
      start: the parameters with which the task began.
    """
    return jax.tree.map(lambda w, p, s: jnp.maximum(w, 0) / ((p - s) ** 2 + DAMPING), anchor["path"], params, start)


def check(params: Any, found: Any) -> None:
    """Raises ConfigError where an importance, a Fisher say, is not of the model that has these parameters."""
    if wrong := differences(describe(found), describe(params)):
        raise ConfigError(f"the Fisher is of another model: {'; '.join(wrong)}")


def size(anchor: Anchor) -> jax.Array:
    """The mean importance of what is protected: strength times this is how much is drawn, in the units of the loss."""
    protected = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(anchor["mask"]))
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(anchor["importance"])) / jnp.maximum(protected, 1)
