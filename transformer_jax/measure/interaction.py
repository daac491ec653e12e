"""How one layer's last output depends on each earlier input: in all, and past everything that lies in between.

y_T depends on x_s along paths through the steps. Each step hands something on to later ones: attention its own key and
value, a recurrence its new state, which has taken in the one before. The *direct* influence of x_s on y_T is what is
left of dy_T / dx_s when all that the steps between the two hand on is held at its value: the part that no step in
between passes on. At lag 1 nothing lies in between. That it is zero for a recurrence from lag 2 on, and all of the
influence for one layer of attention, follows from how they are built; how large the whole influence is does not.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import ModelConfig
from transformer_jax.measure import initial
from transformer_jax.models.mixer import build_mixer

# N lanes, B sequences, T time steps, S of them, D d_model

SEQUENCES = 4
"""Of each lane."""


class Influence(NamedTuple):
    """Frobenius norms of blocks of the last output's Jacobian, float32 (N, T - 1), by lag, from 1 on: over sequences
    the root of the mean square."""

    whole: jax.Array
    """‖dy_T / dx_(T - lag)‖."""
    direct: jax.Array
    """The same with what the steps in between hand on held fixed."""


def rows(model: ModelConfig, seq_len: int, seeds: Sequence[int], forget_bias: float = 1.0) -> list[dict]:
    """A row for each lane and lag: "lane", "lag", "whole", "direct"; inputs are independent standard normal vectors.

    The row of a lane's last lag has also, over its lags, "nonzero": the share at which the whole influence is not 0,
    "past": the share, from lag 2 on, at which the direct one is not, and "left": the whole one over that at lag 1.
    """
    params = initial.mixers(model, jnp.asarray(seeds), forget_bias)
    key = jax.random.fold_in(jax.random.key(seeds[0]), 1)  # the parameters come from the seed's own
    found, each = [], influence(model, params, jax.random.normal(key, (len(seeds), SEQUENCES, seq_len, model.d_model)))
    for lane, (whole_S, direct_S) in enumerate(zip(*map(np.asarray, each), strict=True)):
        found += [{"lane": lane, "lag": lag, "whole": float(whole), "direct": float(direct)}
                  for lag, (whole, direct) in enumerate(zip(whole_S, direct_S, strict=True), 1)]  # fmt: skip
        found[-1] |= {"nonzero": float((whole_S > 0).mean()), "past": float((direct_S[1:] > 0).mean()),
                      "left": float(whole_S[-1] / whole_S[0])}  # fmt: skip
    return found


@partial(jax.jit, static_argnames="model")
def influence(model: ModelConfig, params_N: Any, x_NxBxTxD: jax.Array) -> Influence:
    """Of the config's mixer alone, causal, read step by step as in decoding.

    Args:
      params_N: of `models.mixer`, with a leading axis of lanes.
    """
    mixer, T = build_mixer(model), x_NxBxTxD.shape[2]
    first_S, step_T = jnp.arange(T - 1)[::-1], jnp.arange(T)
    between_SxT = (step_T > first_S[:, None]) & (step_T < T - 1)

    def last(x_TxD, params, held_T):
        def step(state, read):
            x_D, held = read
            y_1xD, added = mixer.step(params, x_D[None], state)
            added = jax.tree.map(lambda leaf: jnp.where(held, jax.lax.stop_gradient(leaf), leaf), added)
            return mixer.extended(state, added), y_1xD[0]

        return jax.lax.scan(step, mixer.initial_state(1, T), (x_TxD, held_T))[1][-1]

    def norms(x_TxD, params, held_T):
        return jnp.linalg.norm(jax.jacrev(last)(x_TxD, params, held_T), axis=(0, 2))

    def of_sequence(x_TxD, params):
        whole_T = norms(x_TxD, params, jnp.zeros(T, bool))
        direct_S = jax.vmap(lambda held_T, s: norms(x_TxD, params, held_T)[s])(between_SxT, first_S)
        return Influence(whole_T[first_S], direct_S)

    def of_lane(lane):
        params, x_BxTxD = lane
        found = jax.lax.map(lambda x_TxD: of_sequence(x_TxD, params), x_BxTxD)
        return jax.tree.map(lambda norms_BxS: jnp.linalg.norm(norms_BxS, axis=0) / len(x_BxTxD) ** 0.5, found)

    return jax.lax.map(of_lane, (params_N, x_NxBxTxD))
