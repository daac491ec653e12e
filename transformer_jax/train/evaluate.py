"""Metrics of a whole split: sums and weights added over its batches, divided once."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from transformer_jax.tasks.task import Objective, chosen_by
from transformer_jax.train.programs import Programs


def evaluate(run: Programs, params: Any, batches: Iterable[Mapping], objective: Objective) -> list[dict[str, float]]:
    """The objective's metrics by lane. The same parameters and batches give the same bits in every process.

    Raises:
      ValueError: there are no batches.
    """
    batches = batches if run.judge is None else list(batches)  # a judge reads them once more
    sums = jax.device_get([run.evaluate(params, batch) for batch in batches])
    if not sums:
        raise ValueError("there is nothing to evaluate on: the split has no batches")
    lanes = divide(jax.tree.map(lambda *leaves: np.stack(leaves), *sums), objective)
    if run.judge is None:
        return lanes
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(lanes))] if len(lanes) > 1 else [params]
    return [lane | run.judge(one, batches) for lane, one in zip(lanes, each, strict=True)]


def divide(metrics: Mapping[str, tuple[np.ndarray, np.ndarray]], objective: Objective) -> list[dict[str, float]]:
    """(sum, weight) pairs with a leading axis of batches, perhaps one of lanes after it -> finished metrics by lane.

    A weight of zero gives NaN: nothing was counted.
    """
    means = {}
    for name, pair in metrics.items():
        total, weight = (np.atleast_1d(np.asarray(part, np.float64).sum(0)) for part in pair)
        means[name] = np.where(weight == 0, np.nan, total / np.where(weight == 0, 1, weight))
    lanes = len(next(iter(means.values())))
    by_lane = [{name: float(values[lane]) for name, values in means.items()} for lane in range(lanes)]
    return [objective.finish(lane) for lane in by_lane]


def score(lanes: list[dict[str, float]], objective: Objective, best: str | None = None) -> float:
    """What the best checkpoint is chosen by, the higher the better: a metric's mean over lanes; best: `train.best`."""
    name, better = chosen_by(objective, best)
    return float(np.mean([lane[name] for lane in lanes])) * {"max": 1, "min": -1}[better]


def bounds(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The metrics that come with an interval, each with the names of its ends: {"bleu": ("bleu_low", "bleu_high")}."""
    names = set(names)
    return {name: ends for name in names if names.issuperset(ends := (f"{name}_low", f"{name}_high"))}


def texts(metrics: Mapping[str, float], digits: int) -> dict[str, str]:
    """The text of each metric, with so many decimals; where it comes with an interval, that stands behind it, and two
    digits of its width are enough: {"loss": "1.2345", "bleu": "58.1 [56.6, 59.5]"}."""
    found = bounds(metrics)
    written = {name: f"{value:.{digits}f}" for name, value in metrics.items()}
    for name, (low, high) in found.items():
        width = metrics[high] - metrics[low]
        fewer = min(digits, max(0, 1 - math.floor(math.log10(width)))) if 0 < width < math.inf else digits
        value, low, high = (f"{metrics[one]:.{fewer}f}" for one in (name, low, high))
        written[name] = f"{value} [{low}, {high}]"
    return {name: text for name, text in written.items() if not any(name in ends for ends in found.values())}
