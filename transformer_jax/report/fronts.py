"""How much of one good thing goes with how much of another: the area under a front, and what is best at each weight."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from transformer_jax import intervals
from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report.points import Rows, groups, is_number


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """The area of what the points dominate above (0, 0): of all (x, y) that some point has no less of either.

    Points without a positive coordinate dominate nothing.
    """
    area, highest = 0.0, 0.0
    for x, y in sorted(((x, y) for x, y in points if x > 0 and y > 0), reverse=True):
        if y > highest:
            area, highest = area + x * (y - highest), y
    return area


def area(rows: Rows, x: str, y: str) -> float:
    """The hypervolume of the rows that have both columns."""
    return hypervolume([(row[x], row[y]) for row in rows if is_number(row.get(x)) and is_number(row.get(y))])


def each(rows: Rows, pair: str, value: Callable[[Rows], float | None]) -> dict:
    """By value of the column `pair` (seeds, say) what `value` makes of its rows, where that is a finite number."""
    found = {key: value(part) for (key,), part in groups(rows, pair).items()}
    return {key: one for key, one in found.items() if is_number(one)}


def less(a: Mapping, b: Mapping) -> dict:
    """a - b over the keys that both have."""
    return {key: a[key] - b[key] for key in a if key in b}


def paired(values: Mapping) -> Estimate:
    """The mean over the keys, with its interval."""
    return intervals.mean(list(values.values())) if values else NOTHING


def best(rows: Rows, weight: float, x: str, y: str, over: str) -> tuple[object, float]:
    """(value of the column `over`, score): where the mean over rows of weight * x + (1 - weight) * y is highest."""
    found = {key: np.mean([weight * row[x] + (1 - weight) * row[y] for row in part])
             for (key,), part in groups(rows, over).items()}  # fmt: skip
    key = max(found, key=found.get)
    return key, float(found[key])


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's ρ; equal values share the mean of their ranks; nan where all of one are equal."""

    def ranks(values):
        values = np.asarray(values, float)
        return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2

    a, b = (r - r.mean() for r in (ranks(x), ranks(y)))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")
