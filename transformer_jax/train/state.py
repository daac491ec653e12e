"""What training carries from step to step."""

from typing import Any

import jax
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Parameters, optimizer state, the steps done, and the key from which each step's key is folded.

    anchor: what a penalty and an observer of the steps read and write, any pytree (the parameters and the Fisher of
    tasks before, a path integral); None adds nothing to the program.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array
    anchor: Any = None


def create(params: Any, tx: optax.GradientTransformation, key: jax.Array, anchor: Any = None) -> TrainState:
    """The state before the first step."""
    return TrainState(params, tx.init(params), jax.numpy.zeros((), jax.numpy.int32), key, anchor)
