"""How the gradient of the last output falls or grows with the distance of an input, in steps.

The output of the last step, in a random direction r, is differentiated with respect to what every step reads: a norm
for each lag, E[‖J^T r‖²]^½ = ‖J‖_F for the Jacobian J of the last output by that input (Bengio et al. 1994; Pascanu et
al. 2013, arXiv 1211.5063). Of a stack the inputs are those of the first block. Its residual stream carries every
vector to its own step alone, so that for a lag of 1 and more all of the gradient has come through the mixers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.measure import initial
from transformer_jax.models.mixer import build_mixer

# N lanes, B sequences, T time steps, D d_model, V outputs

Level = Literal["mixer", "stack"]
SEQUENCES = 4
"""Of each lane, whose norm is the root of their mean square."""
FLOOR = 1e-30
"""Below it a norm is not read: float32 ends at 1e-38, and what comes of sums near there is no number of its own."""
FIRST_LAG = 8
"""The first few steps are left out of the slope: there the output's own gates and norms still show."""
LAGS = (1, 4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 224)
"""Where `rows` reads the curve, beside the last lag."""
VANISHED, EXPLODED = 1e-6, 1e3
"""Of the norm one step back: what the last lag is called if its norm is below, or above."""


def untrained(model: ModelConfig, level: Level, seq_len: int, seeds: Sequence[int], forget_bias: float = 1.0,
              recurrent_scale: float = 1.0) -> np.ndarray:  # fmt: skip
    """`norms` before any training, a lane for each seed; the inputs are independent standard normal vectors.

    forget_bias, recurrent_scale: see `initial.restarted`, which raises ValueError for a mixer without such a thing.
    """
    start = forget_bias, recurrent_scale
    if level == "mixer":
        params = initial.mixers(model, jnp.asarray(seeds), *start)
    else:
        params = initial.restarted(_networks(model, jnp.asarray(seeds)), model.mixer, *start)
    shape = len(seeds), SEQUENCES, seq_len, model.d_model
    return norms(model, level, params, jax.random.normal(_key(seeds[0], "inputs"), shape), seeds[0])


def of_tokens(model: ModelConfig, params: Any, tokens_BxT: np.ndarray, seed: int = 0) -> np.ndarray:
    """`norms` of networks that read tokens, with respect to their embeddings; `params` with a leading axis of lanes."""
    table_NxVxD = params["embedding"]["token"]["embedding"]
    x_NxBxTxD = table_NxVxD[:, tokens_BxT[:SEQUENCES]] * model.d_model**0.5
    return norms(model, "stack", params, x_NxBxTxD, seed)


def norms(model: ModelConfig, level: Level, params: Any, x_NxBxTxD: jax.Array, seed: int = 0) -> np.ndarray:
    """float64 (N, T): by lag, from 0 on, the norm of the gradient with respect to the input so many steps before the
    last; over sequences the root of the mean square.

    Args:
      params: of a mixer, or of a network that reads tokens, with a leading axis of lanes.
      x_NxBxTxD: what the mixer, or the stack's first block but for its positions, reads.
      seed: of the directions.
    """
    outputs = x_NxBxTxD.shape[-1] if level == "mixer" else params["head"]["bias"].shape[-1]
    directions = jax.random.normal(_key(seed, "directions"), (*x_NxBxTxD.shape[:2], outputs))
    found = np.asarray(_gradients(model, level, params, x_NxBxTxD, directions), np.float64)  # float32 squares are zero
    return np.sqrt(np.square(found).sum(-1).mean(1))[:, ::-1]


def slope(norms_T: np.ndarray, first: int = FIRST_LAG) -> float:
    """The slope of log10 of the norm per step, by least squares over the lags from `first` on at which the norm can be
    read; nan where these are fewer than three."""
    lags = np.arange(first, len(norms_T))
    lags = lags[(norms_T[lags] > FLOOR) & np.isfinite(norms_T[lags])]
    return float(np.polyfit(lags, np.log10(norms_T[lags]), 1)[0]) if len(lags) > 2 else float("nan")


def rows(norms_NxT: np.ndarray, alike: int | None = None) -> list[dict]:
    """The curve of each lane over lags: "lane", "lag", "relative_norm", which is over that at lag 1 (None: too small).

    The row of a lane's last lag has its "slope" as well, and "lost": 1.0 where the norm there has vanished or exploded.

    alike: the slope is over the lags below it, where those from it on have inputs of another kind; None: over all.
    """
    found, last = [], norms_NxT.shape[1] - 1
    for lane, norms_T in enumerate(norms_NxT):
        share_T = norms_T / norms_T[1]
        for lag in (*(lag for lag in LAGS if lag < last), last):
            share = float(share_T[lag]) if norms_T[lag] > FLOOR else None
            found.append({"lane": lane, "lag": lag, "relative_norm": share})
        lost = not VANISHED <= share_T[last] <= EXPLODED
        found[-1] |= {"slope": slope(norms_T[:alike]), "lost": float(lost)}
    return found


def spectrum(model: ModelConfig, steps: int, seeds: Sequence[int], forget_bias: float = 1.0,
             recurrent_scale: float = 1.0) -> list[dict]:  # fmt: skip
    """The singular values of the Jacobian of an untrained recurrence's state by the state one step before, after
    `steps` inputs: "lane", "place" (0 the smallest, 1 the largest of them, the quarters between), "singular_value",
    means over sequences.

    All that is carried counts as the state, in an LSTM h and c. The inputs are independent standard normal vectors.
    forget_bias, recurrent_scale: see `initial.restarted`.
    """
    params = initial.mixers(model, jnp.asarray(seeds), forget_bias, recurrent_scale)
    x_NxBxTxD = jax.random.normal(_key(seeds[0], "inputs"), (len(seeds), SEQUENCES, steps + 1, model.d_model))
    found = np.asarray(_singular_values(model, params, x_NxBxTxD), np.float64).mean(1)  # falling
    return [{"lane": lane, "place": place, "singular_value": float(np.quantile(values, place))}
            for lane, values in enumerate(found) for place in (0, 0.25, 0.5, 0.75, 1)]  # fmt: skip


def _key(seed: int, purpose: Literal["inputs", "directions"]) -> jax.Array:
    """Beside the seed's own key, from which the parameters come."""
    return jax.random.fold_in(jax.random.key(seed), {"inputs": 1, "directions": 2}[purpose])


@partial(jax.jit, static_argnames="model")
def _networks(model: ModelConfig, seeds_N: jax.Array) -> Any:
    return initial.one_after_another(_network(model, 1, model.d_model).init, seeds_N)


@partial(jax.jit, static_argnames=("model", "level"))
def _gradients(model, level, params, x_NxBxTxD, directions_NxBxV):
    T, outputs = x_NxBxTxD.shape[2], directions_NxBxV.shape[-1]

    def last(x_TxD, params, direction_V):
        y_1xTxV = _through_mixer(model, params, x_TxD) if level == "mixer" else _through(model, outputs, params, x_TxD)
        return y_1xTxV[0, T - 1] @ direction_V

    of_one = jax.grad(last)
    return jax.vmap(jax.vmap(of_one, in_axes=(0, None, 0)))(x_NxBxTxD, params, directions_NxBxV)


@partial(jax.jit, static_argnames="model")
def _singular_values(model, params, x_NxBxTxD):
    mixer = build_mixer(model)

    def step(params, state, x_D):
        return mixer.extended(state, mixer.step(params, x_D[None], state)[1])

    def of_sequence(params, x_TxD):
        before, _ = jax.lax.scan(lambda state, x_D: (step(params, state, x_D), None), mixer.initial_state(1, 1),
                                 x_TxD[:-1])  # fmt: skip
        flat, whole = ravel_pytree(before.blocks)

        def after(flat):
            return ravel_pytree(step(params, before._replace(blocks=whole(flat)), x_TxD[-1]).blocks)[0]

        return jnp.linalg.svd(jax.jacrev(after)(flat), compute_uv=False)

    return jax.lax.map(lambda lane: jax.lax.map(partial(of_sequence, lane[0]), lane[1]), (params, x_NxBxTxD))


def _through_mixer(model, params, x_TxD):
    return build_mixer(model).apply(params, x_TxD[None])


def _through(model, outputs, params, x_TxD):
    """A network of tokens, each of which has the embedding of its own step: so its gradient is that of the step."""
    T, D = x_TxD.shape
    table = {"token": {"embedding": x_TxD / D**0.5}}  # the embedding multiplies by it
    params = params | {"embedding": params["embedding"] | table}
    return _network(model, T, outputs).apply(params, jnp.arange(T)[None])


def _network(model: ModelConfig, seq_len: int, outputs: int) -> models.Model:
    return models.build(model, Shape(seq_len, outputs, vocab_size=seq_len))
