"""How far a score of random queries and keys drives its softmax to one key, and what is left of the gradient.

Queries and keys of independent standard normal numbers have products of variance d (Vaswani et al. 2017, section
3.2.1, footnote 4): the wider they are, the more of a softmax without the scale falls on one key.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.ops.scores import SCORES, normalised


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def saturation(score: str, width: int, num_keys: int, draws: int, key: jax.Array) -> dict[str, jax.Array]:
    """{"entropy", "gradient_norm"}, each float32 (draws,): means over `num_keys` queries of random self-attention.

    entropy: of a query's weights over the keys, as a share of log(num_keys): 1 is uniform, 0 is one key.
    gradient_norm: of sum(weights * r), for r of independent standard normal numbers, by a query's scores.

    Args:
      score: a key of `ops.scores.SCORES` without weights of its own.
      width: of queries and keys.
    """
    of_q, of_k, of_r = jax.random.split(key, 3)
    shape = draws, num_keys, 1, width
    scores = SCORES[score](jax.random.normal(of_q, shape), jax.random.normal(of_k, shape))
    r = jax.random.normal(of_r, scores.shape)
    gradient = jax.grad(lambda scores: jnp.sum(normalised(scores) * r))(scores)
    entropy = jax.scipy.special.entr(normalised(scores)).sum(-1) / jnp.log(num_keys)
    mean = partial(jnp.mean, axis=(1, 2))
    return {"entropy": mean(entropy), "gradient_norm": mean(jnp.linalg.norm(gradient, axis=-1))}


def rows(score: str, widths: Sequence[int], num_keys: int, draws: int, seed: int) -> list[dict]:
    """A row for each width and draw: "width", "lane" (the draw), "entropy", "gradient_norm"."""
    found = []
    for width in widths:
        values = saturation(score, width, num_keys, draws, jax.random.key(seed))
        found += [{"width": width, "lane": draw} | {name: float(one[draw]) for name, one in values.items()}
                  for draw in range(draws)]  # fmt: skip
    return found
