"""Objectives: classes by cross-entropy, numbers by squared error, forecasts by that and the absolute one."""

import math
from functools import cache

import jax.numpy as jnp

from transformer_jax.ops import losses
from transformer_jax.tasks.task import Objective, Terms, unchanged


@cache  # equal arguments give the same object, for which a step is compiled once
def cross_entropy(label_smoothing: float = 0.0, distances: tuple[tuple[int, int], ...] = ()) -> Objective:
    """Mean cross-entropy in nats, and accuracy: for the next token, or one of several classes.

    Targets (B, L), or (B,), are the ids of the right answers among the outputs. Label smoothing is trained on and
    not reported of a split.

    Args:
      distances: (low, high) of each group of answers whose accuracy is a metric of its own, accuracy_16_31 say: those
        for which the batch's `distances`, integers of the shape of the targets, lie in low .. high. A group of which
        a split has none is not reported of it.
    """
    trained = _entropy_terms(label_smoothing, distances) if label_smoothing else None
    return Objective(_entropy_terms(0.0, distances), trained, finish=_of_groups if distances else unchanged)


def _of_groups(means: dict[str, float]) -> dict[str, float]:
    """Without groups that a split has none of, and those it has by their distance: JAX sorts them as texts."""
    groups = sorted((name for name in means if name.startswith("accuracy_")), key=lambda name: int(name.split("_")[1]))
    others = {name: value for name, value in means.items() if name not in groups}
    return others | {name: means[name] for name in groups if not math.isnan(means[name])}


def octaves(shortest: int, longest: int) -> tuple[tuple[int, int], ...]:
    """(1, 1), (2, 3), (4, 7), (8, 15), ...: those that hold a distance of shortest .. longest, which are positive."""
    exponents = range(shortest.bit_length() - 1, longest.bit_length())
    return tuple((2**n, 2 ** (n + 1) - 1) for n in exponents)


def _entropy_terms(label_smoothing: float, distances: tuple[tuple[int, int], ...]) -> Terms:
    def terms(outputs, batch):
        targets, weights = batch["targets"], batch["weights"]
        loss_sum, weight = losses.cross_entropy(outputs, targets, weights, label_smoothing)
        weights = weights.astype(jnp.float32)
        hits = (outputs.argmax(-1) == targets) * weights
        metrics = {"accuracy": (jnp.sum(hits), weight)}
        for low, high in distances:
            inside = (low <= batch["distances"]) & (batch["distances"] <= high)
            metrics[f"accuracy_{low}_{high}"] = (jnp.sum(hits * inside), jnp.sum(weights * inside))
        return (loss_sum, weight), metrics

    return terms


@cache
def squared_error() -> Objective:
    """Mean squared error of numbers (loss, and mse under its usual name), and r2, the share of variance explained.

    Targets (B, L, outputs), or (B, outputs), are floats; weights lack the last axis. R² is that of all numbers
    together, about their common mean: 1 - mse / variance. It is NaN where the targets do not vary.
    """
    return Objective(_squared_terms, finish=_with_r2, choices=(("loss", "min"), ("mse", "min"), ("r2", "max")))


@cache
def forecast_error() -> Objective:
    """Mean squared error (loss, and mse under its usual name) and mean absolute error of all steps of all channels.

    Targets (B, H, C) are floats, weights (B, H). The best checkpoint is that of the lowest mse.
    """
    return Objective(_forecast_terms, best=("mse", "min"), choices=(("loss", "min"), ("mae", "min")))


def _forecast_terms(outputs, batch):
    error, metrics = _squared_terms(outputs, batch)
    weights = batch["weights"][..., None].astype(jnp.float32)
    # what has no weight counts for nothing, even where it is not a number
    off = jnp.where(weights != 0, jnp.abs(outputs.astype(jnp.float32) - batch["targets"]), 0)
    return error, {"mse": metrics["mse"], "mae": (jnp.sum(weights * off), error[1])}


def _squared_terms(outputs, batch):
    targets = batch["targets"]
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise TypeError(f"targets must be floats, not {targets.dtype}")
    if targets.shape != outputs.shape or batch["weights"].shape != targets.shape[:-1]:
        weighed = batch["weights"].shape
        raise ValueError(f"shapes disagree: outputs {outputs.shape}, targets {targets.shape}, weights {weighed}")
    weights = jnp.broadcast_to(batch["weights"][..., None].astype(jnp.float32), targets.shape)
    # what has no weight counts for nothing, even where it is not a number
    targets, outputs = (jnp.where(weights != 0, x.astype(jnp.float32), 0) for x in (targets, outputs))
    weight = jnp.sum(weights)
    error = (jnp.sum(weights * (outputs - targets) ** 2), weight)
    moments = {"target_mean": jnp.sum(weights * targets), "target_square": jnp.sum(weights * targets**2)}
    return error, {"mse": error} | {name: (total, weight) for name, total in moments.items()}


def _with_r2(means: dict[str, float]) -> dict[str, float]:
    variance = means["target_square"] - means["target_mean"] ** 2
    rest = {name: value for name, value in means.items() if name not in ("target_mean", "target_square")}
    return rest | {"r2": 1 - means["mse"] / variance if variance > 0 else float("nan")}
