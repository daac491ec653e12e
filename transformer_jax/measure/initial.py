"""Mixers before any training, a lane for each seed, and other values at the start than their layers give them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from transformer_jax.config import ModelConfig
from transformer_jax.models.mixer import build_mixer
from transformer_jax.ops.recurrence import RECURRENCE


def mixers(model: ModelConfig, seeds: jax.Array, forget_bias: float = 1.0, recurrent_scale: float = 1.0) -> Any:
    """Parameters of the config's mixer alone with a leading axis over seeds; the rest as in `restarted`."""
    return restarted(_mixers(model, seeds), model.mixer, forget_bias, recurrent_scale)


def restarted(params: Any, mixer: str, forget_bias: float = 1.0, recurrent_scale: float = 1.0) -> Any:
    """Untrained parameters that start otherwise: put in by their place in the tree, before it any axes.

    Args:
      params: of a mixer alone, or of a network of such mixers.
      forget_bias: of every forget gate; 1 is what the layer gives it (Jozefowicz et al. 2015).
      recurrent_scale: of the matrix that multiplies the state, which the layer makes orthogonal gate by gate.

    Raises:
      ValueError: they are not 1 and the mixer has no forget gate, or no such matrix.
    """
    if forget_bias != 1:
        params = _with_forget_bias(params, mixer, forget_bias)
    return params if recurrent_scale == 1 else _with_recurrent_scale(params, mixer, recurrent_scale)


@partial(jax.jit, static_argnames="model")
def _mixers(model: ModelConfig, seeds: jax.Array) -> Any:
    return one_after_another(build_mixer(model).init, seeds)


def one_after_another(init: Callable[[jax.Array], Any], seeds: jax.Array) -> Any:
    """init(key) for the key of each seed; vmapped QR, which makes matrices orthogonal, hung on a CPU (jax 0.10.2)."""
    return jax.lax.map(lambda seed: init(jax.random.key(seed)), seeds)


def _with_forget_bias(params: Any, mixer: str, bias: float) -> Any:
    record = RECURRENCE.get(mixer)
    if record is None or record.forget_gate is None:
        raise ValueError(f"{mixer} has no forget gate")

    def of(path, leaf):
        if _names(path)[-2:] != ("input", "bias"):
            return leaf
        width = leaf.shape[-1] // record.num_gates
        return leaf.at[..., record.forget_gate * width : (record.forget_gate + 1) * width].set(bias)

    return jax.tree_util.tree_map_with_path(of, params)


def _with_recurrent_scale(params: Any, mixer: str, scale: float) -> Any:
    weights = RECURRENCE[mixer].weights(1) if mixer in RECURRENCE else {}
    matrices = {name for name, shape in weights.items() if len(shape) == 2}
    if not matrices:
        raise ValueError(f"{mixer} multiplies no state by a matrix")

    def of(path, leaf):
        names = _names(path)
        return leaf * scale if names[-1] in matrices and names[-2:-1] in ((), ("mixer",)) else leaf

    return jax.tree_util.tree_map_with_path(of, params)


def _names(path) -> tuple[str, ...]:
    return tuple(part.key for part in path)
