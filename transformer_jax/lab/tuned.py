"""Training at a learning rate that was chosen beforehand, on a seed that no result uses. Prints nothing."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import Config, with_overrides
from transformer_jax.lab import trial
from transformer_jax.tasks.task import Task, chosen_by
from transformer_jax.typed import require

APART = 10**9
"""From the seed of a run to the one on which its rate is chosen."""
GOES_ON = {"train.nan_policy": "skip"}  # a lane whose loss is not finite ends no other


class Tuned(NamedTuple):
    """A training at the rate that did best."""

    folder: Path
    """Its run, as `trial.curve` and `trained.restored` read it."""
    rate: float
    at_edge: bool
    """The rate is the smallest or the largest of those tried: a better one may lie beyond."""
    tried: dict[float, float]
    """By rate what was reached, in the metric by which the task chooses its best; NaN: nothing finite."""

    @property
    def columns(self) -> dict[str, float | bool]:
        """What a row says of it."""
        return {"rate": self.rate, "rate_at_edge": self.at_edge}

    def first(self, there: Callable[[dict], bool]) -> dict[int, int]:
        """By lane the step of the first validation that was there; lanes that never were are left out."""
        return {lane: rows[-1]["step"] for lane, rows in _until(self.folder, there).items()}

    def fell_to(self, metric: str, level: float) -> dict[int, float]:
        """By lane the step at which a metric had fallen to a level, on a line between the validations before and after;
        lanes in which it never had are left out."""
        found = {}
        for lane, rows in _until(self.folder, lambda row: row[metric] <= level).items():
            *before, last = rows
            above = [row for row in before if math.isfinite(row[metric])]
            share = (level - last[metric]) / (above[-1][metric] - last[metric]) if above else 0.0
            found[lane] = last["step"] - share * (last["step"] - above[-1]["step"] if above else 0)
        return found


def train(
    config: Config,
    task: Task,
    folder: Path,
    rates: Sequence[float],
    *,
    steps: int | None = None,
    there: Callable[[dict], bool] | None = None,
    stop: bool = False,
) -> Tuned:
    """Trains a lane for each rate, of one seed and so of the same first parameters and batches; then the config's own
    lanes at the best of them.

    The best rate is the one that is `there` soonest. Among those that are at the same validation, and where none is, it
    is the one whose last validation metric is best, by the metric that chooses the task's checkpoints (`train.best`, or
    the objective's own); among equals the smallest. Both trainings lie in `folder` and go on there after a kill. With
    as many lanes as rates both are one compiled program.

    Args:
      rates: at least two.
      steps: of the training that chooses; None: as many as the config's.
      there: asked of every validation (a row of `trial.curve`); None: no result is how soon. A rate that was there and
        ends without a finite metric is not chosen.
      stop: the second training ends once each of its lanes was there.

    Raises:
      ConfigError: fewer than two rates; or as `trial.train`.
    """
    rates = tuple(sorted(set(rates)))
    require(len(rates) > 1, f"a rate is chosen among at least two, not {list(rates)}")
    metric, better = chosen_by(task.objective, config.train.best)
    of_rates, of_seeds = folder / "rates", folder / "seeds"
    choosing = {
        "train.num_steps": steps or config.train.num_steps,
        "train.seed": config.train.seed + APART,
        "train.same_seed": True,
        "train.lanes": len(rates),
        "train.lane_lrs": rates,
    }
    trial.train(with_overrides(config, choosing | GOES_ON), task, of_rates)
    last = {row["lane"]: row.get(metric, math.nan) for row in trial.curve(of_rates, "validation")}  # steps rise
    tried = {rate: last.get(lane, math.nan) for lane, rate in enumerate(rates)}
    soonest, sign = _until(of_rates, there) if there else {}, {"max": -1, "min": 1}[better]

    def order(lane: int) -> tuple[float, float]:
        return soonest[lane][-1]["step"] if lane in soonest else math.inf, sign * tried[rates[lane]]

    finite = [lane for lane, rate in enumerate(rates) if math.isfinite(tried[rate])]
    rate = rates[min(finite, key=order, default=0)]
    chosen = {"train.peak_lr": rate, "train.lane_lrs": (), "train.same_seed": False}
    found = Tuned(of_seeds, rate, rate in (rates[0], rates[-1]), tried)
    trial.train(
        with_overrides(config, chosen | GOES_ON),
        task,
        of_seeds,
        stopping=lambda: stop and there and len(found.first(there)) == config.train.lanes,
    )
    return found


def _until(folder: Path, there: Callable[[dict], bool]) -> dict[int, list[dict]]:
    """The validations of each lane that got there, up to that one."""
    found: dict[int, list[dict]] = {}
    for row in trial.curve(folder, "validation"):
        rows = found.setdefault(row["lane"], [])
        if not (rows and there(rows[-1])):
            rows.append(row)
    return {lane: rows for lane, rows in found.items() if there(rows[-1])}
