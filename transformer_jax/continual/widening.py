"""Where the best of a grid of strengths is its lowest or highest, the grid goes on beyond it."""

from collections.abc import Mapping, Sequence

import numpy as np

WIDENINGS = 2
"""So many at most: a score that rises without end ends all the same."""


def beyond(rows: Sequence[Mapping], count: int) -> tuple[float, ...]:
    """So many strengths below or above all that were tried, at the same ratio; (): the best one lies inside.

    Args:
      rows: of `lab.streams.rows`. A strength is the better, the higher the mean over seeds of plasticity (learning
        accuracy over that at strength 0) and stability, both of equal weight. If what is frozen, or strength 0, is at
        least as good as the edge beside it, nothing better is looked for there.
    """
    zero = {row["seed"]: row["learning_accuracy"] for row in rows if row["strength"] == 0}
    scores: dict[float | None, list[float]] = {}
    for row in rows:
        if zero.get(row["seed"]):
            score = row["learning_accuracy"] / zero[row["seed"]] + row["stability"]
            scores.setdefault(row["strength"], []).append(score)
    means = {strength: float(np.mean(of)) for strength, of in scores.items()}
    tried = sorted(strength for strength in means if strength)
    if len(tried) < 2:
        return ()
    best, ratio = max(means, key=lambda at: (means[at], at in (0, None))), (tried[-1] / tried[0]) ** (
        1 / (len(tried) - 1))  # fmt: skip
    if best not in (tried[0], tried[-1]):
        return ()
    steps = ratio ** np.arange(1, count + 1)
    found = tried[0] / steps[::-1] if best == tried[0] else tried[-1] * steps
    return tuple(float(f"{strength:.3g}") for strength in found)
