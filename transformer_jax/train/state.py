"""What training carries from step to step."""

from typing import Any

import jax
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Parameters, optimizer state, the steps done, and the key from which each step's key is folded."""

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


def create(params: Any, tx: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step."""
    return TrainState(params, tx.init(params), jax.numpy.zeros((), jax.numpy.int32), key)
