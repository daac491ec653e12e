"""What a run does with its anchor: the seam through which a penalty, or an observer of the steps, joins a training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from transformer_jax.train.step import Observe, Penalty


class Anchored(NamedTuple):
    """What a run does with `TrainState.anchor`.

    With it the optimizer's state begins with a tree of ones and zeros (`moving`): what is 0 there has no gradient, and
    so does not move, if the optimizer is new and decays nothing.
    """

    begin: Callable[[Any], Any]
    """begin(params) -> the anchor before the first step."""
    penalty: Penalty | None = None
    observe: Observe | None = None
    seeds: tuple[int, ...] = ()
    """The seed of each lane, several of which may have the same; none given: those of the config."""


def moving() -> optax.GradientTransformation:
    """Multiplies gradients by its state, ones at the start: which parameters move is no part of the program.

    It stands before the optimizer: times 1 a gradient keeps its bits, where an update would lose that its last product
    and sum are rounded once.
    """
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.ones_like, params),
        lambda updates, moves, params=None: (jax.tree.map(jnp.multiply, updates, moves), moves),
    )
