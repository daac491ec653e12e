"""How much each parameter matters to a task: the exact diagonal of the Fisher matrix, example by example; MAS.

The Fisher's diagonal is the mean over examples of E_y[(d log p(y | x) / d parameter)²] (Kirkpatrick et al. 2017, arXiv
1612.00796; van de Ven 2025, arXiv 2502.11756, on what else is computed under its name). An example with several answers
has a distribution for each; given the input they are independent, so that their Fishers add up.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

# B batch, T answers of an example, V what each is chosen among

Kind = Literal["exact", "sampled", "likeliest", "observed", "batched", "mas"]
CHUNK = 8
"""Examples whose gradients are in memory at once."""


def importance(
    model,
    params: Any,
    batches: Iterable,
    kind: Kind,
    key: jax.Array,
    at_most: int | None = None,
    lanes: bool = False,
) -> Any:
    """A tree of the parameters' form: how much each matters for a task's examples.

    Memory does not grow with the number of examples, and the result does not depend on how they are batched, but for
    "batched".

    Args:
      model: `apply` as in `models.Model`.
      batches: of the task, all of one shape; rows without any weight count for nothing.
      kind: "exact": in expectation over the labels that the model would give; "sampled": for one of these;
        "likeliest": for the likeliest one (van de Ven & Tolias 2019, arXiv 1904.07734); "observed": for the target (the
        empirical Fisher); "batched": the square of the gradient of a batch's mean loss, as some libraries compute it;
        "mas": the mean size of the gradient of ‖logits‖² (Aljundi et al. 2018, arXiv
        1711.09601).
      key: of the sampled labels, which belong to the examples' places in their order.
      at_most: so many examples, the first ones.
      lanes: parameters and keys have a leading axis of lanes.

    Raises:
      ValueError: there is no example.
    """
    total, count, seen = None, 0, 0
    for batch in batches:
        weights = np.asarray(batch["weights"], np.float32)
        real_B = np.array(weights.reshape(len(weights), -1).any(1))
        if at_most is not None:
            real_B &= np.cumsum(real_B) <= at_most - seen
        if not real_B.any():
            break
        batch = dict(batch) | {"weights": weights * real_B.reshape(-1, *([1] * (weights.ndim - 1)))}
        found = _of_batch(model, kind, lanes, params, batch, key, seen)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
        count, seen = count + (1 if kind == "batched" else int(real_B.sum())), seen + int(real_B.sum())
    if total is None:
        raise ValueError("there is no example whose gradient could be taken")
    return jax.tree.map(lambda leaf: leaf / count, total)


@partial(jax.jit, static_argnames=("model", "kind", "lanes"))
def _of_batch(model, kind: Kind, lanes: bool, params, batch, key, seen):
    """The sum over the examples of a batch."""
    of_lane = partial(_of_lane, model, kind)
    return (jax.vmap(of_lane, in_axes=(0, None, 0, None)) if lanes else of_lane)(params, batch, key, seen)


def _of_lane(model, kind: Kind, params, batch, key, seen):
    if kind == "batched":
        return jax.tree.map(jnp.square, jax.grad(partial(_mean_loss, model))(params, batch))
    places = seen + jnp.arange(len(batch["weights"]))
    if model.over_examples is not None:
        return _at_once(model, kind, params, key, batch, places)

    def add(total, one):
        found = jax.vmap(partial(_of_example, model, kind, params, key))(*one)
        return jax.tree.map(lambda t, leaf: t + leaf.sum(0), total, found), None

    # rows that fill up the last chunk have no weight
    chunk = min(CHUNK, len(places))
    more = -len(places) % chunk
    filled = jax.tree.map(lambda x: jnp.pad(x, ((0, more), *([(0, 0)] * (x.ndim - 1)))), (batch, places))
    chunks = jax.tree.map(lambda x: x.reshape(-1, chunk, *x.shape[1:]), filled)
    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), chunks)[0]


def logits_of(model, params, example: dict) -> jax.Array:
    """The logits (T, V) of one example, without an axis of a batch; answers of other tasks, if known, are far away."""
    given = {name: example[name][None] for name in ("lengths", "asked") if name in example}
    logits = model.apply(params, example["inputs"][None], **given)[0]
    logits_TxV = logits.reshape(-1, logits.shape[-1])
    return logits_TxV if "allowed" not in example else jnp.where(example["allowed"], logits_TxV, FAR)


FAR = -1e9
"""The logit of an answer that cannot be given: finite, so that no gradient is 0 times infinity."""


def _of_example(model, kind: Kind, params, key, example: dict, place) -> Any:
    weights_T = example["weights"].reshape(-1)
    targets_T = example["targets"].reshape(-1)
    logits_TxV, pull = jax.vjp(lambda p: logits_of(model, p, example), params)
    if kind == "mas":
        near_TxV = jnp.where(logits_TxV > FAR / 2, logits_TxV, 0)
        return jax.tree.map(jnp.abs, pull(2 * weights_T[:, None] * near_TxV)[0])
    p_TxV = jax.nn.softmax(logits_TxV)
    T, V = p_TxV.shape

    def scores(labels_T):
        """d log p(label) / d logits, of the answers that count."""
        return weights_T[:, None] * (jax.nn.one_hot(labels_T, V) - p_TxV)

    def squared(cotangent_TxV):
        return jax.tree.map(jnp.square, pull(cotangent_TxV)[0])

    if kind != "exact":
        return squared(scores(_labels(kind, logits_TxV, targets_T, key, place)))

    def of_answer(total, t):
        row_VxV = jnp.sqrt(p_TxV[t])[:, None] * weights_T[t] * (jnp.eye(V) - p_TxV[t])
        found = jax.vmap(lambda row_V: squared(jnp.zeros((T, V)).at[t].set(row_V)))(row_VxV)
        return jax.tree.map(lambda a, b: a + b.sum(0), total, found), None

    return jax.lax.scan(of_answer, jax.tree.map(jnp.zeros_like, params), jnp.arange(T))[0]


def _labels(kind: Kind, logits_TxV, targets_T, key, place) -> jax.Array:
    """One label for each answer of an example."""
    if kind == "sampled":
        return jax.random.categorical(jax.random.fold_in(key, place), logits_TxV)
    return logits_TxV.argmax(-1) if kind == "likeliest" else targets_T


def _at_once(model, kind: Kind, params, key, batch: dict, places) -> Any:
    """The sum over examples with one answer each, of a model that needs no example's gradient for it."""
    logits_BxV = jax.vmap(lambda example: logits_of(model, params, example)[0])(batch)
    weights_Bx1, V = batch["weights"].reshape(-1, 1), logits_BxV.shape[-1]
    add = partial(model.over_examples, params, batch["inputs"])
    if kind == "mas":
        return add(2 * weights_Bx1 * jnp.where(logits_BxV > FAR / 2, logits_BxV, 0), jnp.abs)
    p_BxV = jax.nn.softmax(logits_BxV)
    if kind != "exact":
        labels_B = jax.vmap(lambda *one: _labels(kind, *one[:2], key, one[2]))(logits_BxV, batch["targets"], places)
        return add(weights_Bx1 * (jax.nn.one_hot(labels_B, V) - p_BxV), jnp.square)

    def of_label(total, label):
        score_BxV = jax.nn.one_hot(label, V) - p_BxV
        found = add(jnp.sqrt(p_BxV[:, label, None]) * weights_Bx1 * score_BxV, jnp.square)
        return jax.tree.map(jnp.add, total, found), None

    return jax.lax.scan(of_label, jax.tree.map(jnp.zeros_like, params), jnp.arange(V))[0]


def _mean_loss(model, params, batch):
    def loss(example):
        log_p_TxV = jax.nn.log_softmax(logits_of(model, params, example))
        found_T = jnp.take_along_axis(log_p_TxV, example["targets"].reshape(-1, 1), 1)[:, 0]
        return -jnp.sum(found_T * example["weights"].reshape(-1))

    return jax.vmap(loss)(batch).sum() / jnp.maximum(batch["weights"].sum(), 1)
