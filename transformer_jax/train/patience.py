"""Early stopping: how long ago the best evaluation was, as a checkpoint keeps it."""

import math
from collections.abc import Mapping
from typing import NamedTuple


class Patience(NamedTuple):
    """What the evaluations so far decide of the next one."""

    best: float | None = None
    """The highest score (`evaluate.score`) so far; None: there was none that is a finite number."""
    since: int = 0
    """Evaluations after it, or all where there is none."""

    @classmethod
    def of(cls, saved: Mapping | None) -> "Patience":
        """From what a checkpoint holds; None: no evaluation yet."""
        return cls(**saved) if saved else cls()

    def after(self, score: float) -> "Patience":
        """After one evaluation more. An equal score is no better one; NaN and infinity never are."""
        better = math.isfinite(score) and (self.best is None or score > self.best)
        return Patience(score, 0) if better else Patience(self.best, self.since + 1)

    def over(self, limit: int | None) -> bool:
        """Whether a run of that `train.patience` ends here."""
        return limit is not None and self.since >= limit
