"""Widths that make a recurrence comparable with attention: the same parameters, or the same training FLOPs.

Only the width of the recurrent state moves; residual stream, depth, MLP and head stay what they are, so that exactly
one thing differs between the two models.
"""

import dataclasses

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.measure.closed_form import matmul_flops, num_params

TOLERANCE = {"params": 0.02, "flops": 0.05}


def matched(config: Config) -> Config:
    """The config with `recurrent_dim` solved for, as `measure.matching` says; attention and "width" stay as they are.

    "params": parameters of the whole model within 2 % of the attention model of the same config.
    "flops": matmul FLOPs of a training step of the whole model within 5 %.
    A multiple of 16 is taken where one lies within the tolerance: an odd width would slow the recurrence for a
    reason that is not its own.

    Raises:
      ConfigError: no width comes within the tolerance (a model too small for whole-numbered widths).
    """
    quantity = config.measure.matching
    if config.model.mixer == "attention" or quantity == "width":
        return config
    tolerance = TOLERANCE[quantity]
    goal = _size(with_overrides(config, {"model.mixer": "attention"}), quantity)
    closest = _closest_width(config, quantity, goal)
    aligned = [w for w in {closest // 16 * 16, -(-closest // 16) * 16} if w > 0]
    error = {w: abs(_size(_with_width(config, w), quantity) / goal - 1) for w in [closest, *aligned]}
    fitting = [w for w in aligned if error[w] <= tolerance]
    width = min(fitting, key=error.get) if fitting else closest
    if error[width] > tolerance:
        raise ConfigError(
            f"measure.matching={quantity}: no model.recurrent_dim brings {config.model.mixer} within"
            f" {tolerance:.0%} of attention (the closest, {width}, is {error[width]:.1%} off); widen model.d_model"
        )
    return _with_width(config, width)


def _closest_width(config: Config, quantity: str, goal: int) -> int:
    """Size grows with width: double until it is past the goal, then halve the bracket."""
    low, high = 1, 2
    while _size(_with_width(config, high), quantity) < goal:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _size(_with_width(config, middle), quantity) < goal else (low, middle)
    return min((low, high), key=lambda w: abs(_size(_with_width(config, w), quantity) - goal))


def _with_width(config: Config, width: int) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, recurrent_dim=width))


def _size(config: Config, quantity: str) -> int:
    if quantity == "params":
        return num_params(config.model)
    return matmul_flops(with_overrides(config, {"measure.level": "model", "measure.phase": "train"}))
