"""Widths that make a recurrence comparable with attention: the same parameters, or the same training FLOPs.

Only the width of the recurrent state moves; residual stream, depth, MLP and head stay what they are, so that exactly
one thing differs between the two models.
"""

import math
from dataclasses import replace

import jax

from transformer_jax import models
from transformer_jax.config import MIXERS, Config, ConfigError, ModelConfig, Shape, with_overrides
from transformer_jax.measure.closed_form import matmul_flops, num_params
from transformer_jax.measure.work import Matching, Work

TOLERANCE = {"params": 0.02, "flops": 0.05}


def matched(config: Config, shape: Shape, quantity: Matching, beside: ModelConfig | None = None) -> Config:
    """The config with `model.recurrent_dim` solved for; attention stays as it is, and so does all at "width".

    "params": parameters of the whole model within 2 % of the attention model of the same config.
    "flops": matmul FLOPs of a training step of the whole model within 5 %.
    A multiple of 16 is taken where one lies within the tolerance: an odd width would slow the recurrence for a
    reason that is not its own.

    beside: the model that is matched, in the place of attention in the same config.
    Where the shape has a source, attention is the encoder and decoder of the same config with its own score.

    Raises:
      ConfigError: no width comes within the tolerance (a model too small for whole-numbered widths), or "flops" of a
        shape with a source or a horizon.
    """
    if quantity == "width" or "recurrent_dim" not in MIXERS[config.model.mixer].reads:
        return config

    def of_width(width: int) -> Config:
        return with_overrides(config, {"model.recurrent_dim": width})

    def size(width: int) -> int:
        return _size(of_width(width), shape, quantity)

    twin = {"model.mixer": "attention", "model.score": "auto", "model.recurrence": "auto"}
    goal = _size(with_overrides(config, twin) if beside is None else replace(config, model=beside), shape, quantity)
    closest = _closest_width(size, goal)
    aligned = [w for w in {closest // 16 * 16, -(-closest // 16) * 16} if w > 0]
    error = {w: abs(size(w) / goal - 1) for w in [closest, *aligned]}
    tolerance = TOLERANCE[quantity]
    fitting = [w for w in aligned if error[w] <= tolerance]
    width = min(fitting, key=error.get) if fitting else closest
    if error[width] > tolerance:
        raise ConfigError(
            f"equal {quantity}: no model.recurrent_dim brings {config.model.mixer} within"
            f" {tolerance:.0%} of attention (the closest, {width}, is {error[width]:.1%} off); widen model.d_model"
        )
    return of_width(width)


def _closest_width(size, goal: int) -> int:
    """Size grows with width: double until it is past the goal, then halve the bracket."""
    low, high = 1, 2
    while size(high) < goal:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < goal else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - goal))


def _size(config: Config, shape: Shape, quantity: Matching) -> int:
    if quantity == "flops":
        return matmul_flops(Work(config, shape))
    if shape.source_len is None and shape.horizon is None:
        return num_params(config.model, shape)
    params = jax.eval_shape(models.build(config.model, shape).init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
