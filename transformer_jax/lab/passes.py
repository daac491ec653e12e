"""What is left to sample, in which order a pass takes it, and when the passes end: by number or by the clock alone."""

import itertools
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from transformer_jax.config import Config, ConfigError
from transformer_jax.host import cores
from transformer_jax.lab.display import duration
from transformer_jax.lab.plan import Cell

LEAST = 5  # passes: with fewer an interval of Student's t is several times as wide
MANY = 100  # passes: with more an interval hardly becomes narrower
SHARE, RESERVE = 0.95, 8.0  # of a budget that the passes may use; at the least so many seconds are for the report


def order(cells: Sequence[Cell], group: Callable[[Config], Hashable], seed: int, round_: int) -> list[Cell]:
    """The cells as one pass takes them: groups in random order, and each group's cells in random order.

    Cells of a group are compared with each other, so they should see the same state of the machine. The order follows
    from the seed and the number of the pass alone.
    """
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(group(cell.config), []).append(cell)
    draw = random.Random(f"{seed} {round_}")
    shuffled = draw.sample(list(groups.values()), len(groups))
    return [cell for of_group in shuffled for cell in draw.sample(of_group, len(of_group))]


class Passes:
    """The samples of a run: those that are there and those that are missing. begun: passes so far, earlier ones too."""

    def __init__(
        self,
        cells: Sequence[Cell],
        statuses: Mapping[tuple[str, int], str],
        group: Callable[[Config], Hashable],
        seed: int,
        rounds: Callable[[Cell], float],
    ):
        """statuses: of the rows that are there, by (identity of the cell, round). rounds: how often a cell is to be
        sampled, `math.inf` where a clock ends the run."""
        self._cells, self._statuses, self._group, self._seed = cells, dict(statuses), group, seed
        self._rounds = rounds
        self._bad = {identity for (identity, _), status in statuses.items() if status != "ok"}
        self.added: Counter[str] = Counter()
        self.begun = 0

    def numbers(self) -> Iterator[int]:
        """Of all passes, in order, while there is a cell that a sample can be taken of."""
        for round_ in itertools.count():
            if not any(round_ < self._rounds(cell) and not self.is_bad(cell) for cell in self._cells):
                return
            yield round_

    def calls(self, round_: int) -> list[Cell]:
        """What is missing of one pass, in its order, which does not depend on how much of it is there."""
        return [cell for cell in order(self._cells, self._group, self._seed, round_) if self._lacks(cell, round_)]

    def todo(self) -> list[Cell]:
        """One cell for each missing sample where a number ends the run, each cell that can be sampled where a clock."""
        found = []
        for cell in self._cells:
            if self._rounds(cell) == math.inf:
                found += [] if self.is_bad(cell) else [cell]
            else:
                found += [cell for round_ in range(self._rounds(cell)) if self._lacks(cell, round_)]
        return found

    def add(self, cell: Cell, round_: int, status: str) -> None:
        self._statuses[cell.identity, round_] = status
        self.added[status] += 1
        if status != "ok":
            self._bad.add(cell.identity)

    def is_bad(self, cell: Cell) -> bool:
        """Whether a sample of it went wrong: then no more are taken."""
        return cell.identity in self._bad

    def next_round(self, cell: Cell) -> int:
        return next(round_ for round_ in itertools.count() if (cell.identity, round_) not in self._statuses)

    def standing(self) -> Counter[str]:
        """How the cells stand: "ok", "missing", or what went wrong."""
        return Counter(map(self._standing, self._cells))

    def _standing(self, cell: Cell) -> str:
        rounds = max(1, self.begun) if self._rounds(cell) == math.inf else self._rounds(cell)
        of_cell = [self._statuses.get((cell.identity, round_), "missing") for round_ in range(rounds)]
        bad = [status for status in of_cell if status not in ("ok", "missing")]
        return bad[0] if bad else "missing" if "missing" in of_cell else "ok"

    def _lacks(self, cell: Cell, round_: int) -> bool:
        there = (cell.identity, round_) in self._statuses
        return round_ < self._rounds(cell) and not there and not self.is_bad(cell)


class Clock:
    """Ends a run after whole passes, the first of which is always made.

    Which pass is the last depends on how long passes take, not on what they find: a run that went on until it liked its
    intervals would have wrong ones.
    """

    def __init__(self, seconds: float, began: float):
        """seconds: of the whole run, which began when `time.monotonic()` was `began`."""
        self.seconds, self.began, self.pass_seconds = seconds, began, 0.0
        self._passes = 0

    def left(self) -> float:
        """Seconds that the passes still have."""
        return self.began + usable(self.seconds) - time.monotonic()

    def allows_another(self) -> bool:
        return not self._passes or self.pass_seconds <= self.left()

    def foresee(self, seconds: float) -> None:
        """A pass will take so long; once there was one, that counts."""
        self.pass_seconds = seconds

    def took(self, seconds: float, share: float) -> None:
        """A pass, or as much as `share` of it, took so long."""
        longest = self.pass_seconds if self._passes else 0.0
        self.pass_seconds = max(longest, seconds / share)
        self._passes += 1

    def warning(self, made: int) -> str | None:
        """What to say where the time does not hold LEAST passes, `made` of which are there; None where it does."""
        need, left = (LEAST - made) * self.pass_seconds, self.left()
        if need <= left:
            return None
        budget = math.ceil(max((usable(self.seconds) - left + need) / SHARE, need + RESERVE) / 30) * 30
        return (
            f"a pass takes about {duration(self.pass_seconds)} and {duration(max(0, left))} are left: too short for"
            f" {LEAST} passes, so intervals will be wide. A new folder with --budget {spelled(budget)} would hold them;"
            f" --measure.rounds {LEAST} makes as many, whatever they take"
        )


def usable(budget: float) -> float:
    """The seconds of a budget that passes, and what comes before them, may use; half of it however short it is."""
    return max(min(SHARE * budget, budget - RESERVE), budget / 2)


COMPILE_SECONDS = 2.0  # of a program; roughly, on one core of a small CPU


def outlook(cells: Sequence[Cell], step_seconds: Sequence[float] | None, budget: float | None, compiled: bool) -> str:
    """Roughly how long a run will take, for people, from the predicted seconds of one step of each cell.

    compiled: the experiment compiles, on all cores, before it measures.
    """
    if not cells:
        return "nothing is left to measure"
    samples = [cell.config.measure.rounds for cell in cells]
    if step_seconds is None:
        if budget is None:
            return f"{sum(samples)} measurements; how long they take is not predicted"
        return f"the run ends with its clock (--budget {spelled(budget)})"
    each = [max(c.config.measure.min_sample_seconds, s) for c, s in zip(cells, step_seconds, strict=True)]
    of_compiling = len(cells) * COMPILE_SECONDS / (cores.count() if compiled else 1)
    of_pass, compiling = sum(each), f"about {duration(of_compiling)} of compiling"
    if budget is None:
        of_samples = sum(n * s for n, s in zip(samples, each, strict=True))
        return f"{sum(samples)} measurements: about {duration(of_samples + of_compiling)}, {compiling} among them"
    made = max(1, int((usable(budget) - of_compiling) / of_pass))
    shorter = math.ceil((of_compiling + MANY * of_pass) / SHARE / 30) * 30
    hint = f"; --budget {spelled(shorter)} would hold {MANY}" if made > MANY and shorter < budget else ""
    if made < LEAST:
        enough = math.ceil((of_compiling + LEAST * of_pass) / SHARE / 30) * 30
        hint = f": too few for intervals of any use; --budget {spelled(enough)} would hold {LEAST}"
    number = f"about {made} pass{'es' if made > 1 else ''}" if made <= MANY else f"more than {MANY} passes"
    length = duration(of_pass) if of_pass >= 1 else "less than a second"
    return (
        f"the run ends with its clock (--budget {spelled(budget)}): {compiling}, then {number} of {length}, each a"
        f" sample of every cell{hint}"
    )


def seconds(text: str) -> float:
    """ "6m", "90s", "1h", "1.5h" -> seconds. ConfigError where it is none of these, or not above 0."""
    if not (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)) or not float(found[1]) > 0:
        unit = f"; {text} lacks its unit" if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0 else ""
        raise ConfigError(f"--budget {text}: a time above 0, like 90s, 6m or 1h{unit}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def spelled(seconds: float) -> str:
    """As --budget takes it: 90s, 6m."""
    return f"{seconds / 60:.0f}m" if seconds % 60 == 0 else f"{seconds:.0f}s"
