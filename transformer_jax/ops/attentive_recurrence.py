"""A recurrence that looks at a source before each of its steps: the state asks, what it finds is input of the step.

B batch, T steps, S source steps, R width of the state, G gates times width, A width of the keys.
Bahdanau et al. 2015, arXiv 1409.0473, section 3.1 and appendix A.
"""

import jax
import jax.numpy as jnp

from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.ops.scores import SCORES, normalised


def attend_and_recur(
    name: str,
    score: str,
    x_BxTxG: jax.Array,
    weights: tuple[jax.Array, ...],
    carry: tuple[jax.Array, ...],
    score_weights: tuple[jax.Array, ...],
    keys_BxSx1xA: jax.Array,
    values_BxSxG: jax.Array,
    seen_BxS: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
    """RECURRENCE[name] of x_t + sum over s of a_ts values_s, where a_t = softmax over s of score(h_{t-1}, keys_s).

    All that no state is needed for is done before: x is the projected input (and bias), keys are what the score's
    `key` gave, and values are projected to the gates: the context is linear, so that projecting S values once takes
    the place of projecting a context at every step.

    Returns:
      h_BxTxR, the attention's weights_BxTxS (float32; zeros where nothing is seen), and the last carry.
    """
    seen = None if seen_BxS is None else seen_BxS[:, None, None]

    def step(carry, x_BxG):
        scores = SCORES[score].compare(carry[0][:, None, None].astype(x_BxG.dtype), keys_BxSx1xA, *score_weights)
        weights_BxS = normalised(scores, seen)[:, 0, 0]
        context_BxG = jnp.einsum("bs,bsg->bg", weights_BxS.astype(values_BxSxG.dtype), values_BxSxG)
        h_Bx1xR, carry = RECURRENCE[name].recur((x_BxG + context_BxG)[:, None], weights, carry)
        return carry, (h_Bx1xR[:, 0], weights_BxS)

    carry, outputs = jax.lax.scan(step, carry, x_BxTxG.swapaxes(0, 1))
    h_BxTxR, weights_BxTxS = (array.swapaxes(0, 1) for array in outputs)
    return h_BxTxR, weights_BxTxS, carry
