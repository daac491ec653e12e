"""Sines with a trend and noise, to forecast: nothing to download."""

import numpy as np

from transformer_jax.config import Config, ConfigError
from transformer_jax.tasks import series
from transformer_jax.tasks.task import Outline, Task

PERIODS = {"fast": 12, "slow": 24, "both": (24, 60)}
"""Steps of the sines of each channel."""
COUNTS = {"train": 2800, "validation": 400, "test": 800}
NOISE = 0.2
"""Standard deviation, beside sines of amplitude 1: no forecast has a lower error."""
RISE = 8.0
"""From the first step of the series to the last, so that most values of the test part were never seen before."""
SEED = 0


def values() -> np.ndarray:
    """The series, float64 (N, C)."""
    random, count = np.random.default_rng(SEED), sum(COUNTS.values())
    steps_N = np.arange(count)
    columns = [
        sum(np.sin(2 * np.pi * steps_N / period) for period in np.atleast_1d(periods)) for periods in PERIODS.values()
    ]
    line_Nx1 = RISE * steps_N[:, None] / count
    return np.stack(columns, axis=1) + line_Nx1 + NOISE * random.standard_normal((count, len(PERIODS)))


def build(config: Config) -> Task:
    """Windows of `task.seq_len` steps of three channels, answered by the `task.horizon` steps after them.

    Raises:
      ConfigError: a part of the series is shorter than a window.
    """
    ends = dict(zip(COUNTS, np.cumsum(list(COUNTS.values())), strict=True))
    found = values()

    def load(split: str) -> np.ndarray:
        return found[ends[split] - COUNTS[split] : ends[split]]

    def describe() -> dict:
        return {"source": __doc__.splitlines()[0], "generated": True, "counts": COUNTS, "columns": list(PERIODS)}

    return series.around(config, load, COUNTS, list(PERIODS), describe)


def outline(config: Config) -> Outline:
    """Of the task, and why it cannot have these sizes."""
    found = series.outline(config, len(PERIODS))
    try:
        build(config)
    except ConfigError as error:
        return found._replace(problems=(*found.problems, str(error)))
    return found
