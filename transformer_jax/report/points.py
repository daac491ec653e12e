"""Long rows, one for each point and round: which of them are meant, and what is estimated from them.

A row is a dict: config columns are dotted ("model.mixer"), measured ones are not ("step_seconds"). A name without a
dot stands for the one dotted column that ends in it. `pair` names what the points of one comparison share besides
the round ("round": nothing else; "lane": seeds of one program). Only pairs in which every point was measured count,
since what they share (a slow machine, the initial weights) cancels between them alone. pair=None: the quantity is
counted, not sampled, the same in every round. What cannot be estimated is intervals.NOTHING, of n = 0.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from transformer_jax import intervals
from transformer_jax.config import MIXERS
from transformer_jax.intervals import NOTHING, Estimate

Rows = Sequence[dict[str, Any]]

NO_AXIS = ("measure.rounds",)
"""Dotted columns that say how often a cell is sampled, not what is."""


def column(rows: Rows, name: str) -> str:
    """The column that `name` stands for; ValueError where several dotted ones end in it."""
    if not rows or any(name in row for row in rows):
        return name
    dotted = [c for c in rows[0] if c.rpartition(".")[2] == name]
    if len(dotted) > 1:
        raise ValueError(f"{name} may be any of {', '.join(dotted)}: write which")
    return dotted[0] if dotted else name


def select(rows: Rows, study: str | Iterable[str] | None = None, **where) -> list[dict]:
    """The rows of a study (or of any of several) in which every column is as asked for, in their order.

    where: a value, a collection of values, or a predicate. A column that a row lacks is None.
    """
    studies = {study} if isinstance(study, str) else set(study or ())
    wanted = [(column(rows, name), _test(value)) for name, value in where.items()]
    return [
        row
        for row in rows
        if (study is None or studies & set(row.get("studies", ()))) and all(test(row.get(c)) for c, test in wanted)
    ]


def _test(value) -> Callable[[Any], bool]:
    if callable(value):
        return value
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return lambda found: any(found == one for one in value)
    return lambda found: found == value


def values(rows: Rows, name: str) -> list:
    """The distinct values of a column: numbers in rising order, then mixers in theirs, others as they come."""
    name = column(rows, name)
    found = list({repr(row[name]): row[name] for row in rows if row.get(name) is not None}.values())
    if all(isinstance(value, (int, float)) for value in found):
        return sorted(found)
    mixers = {name: place for place, name in enumerate(MIXERS)}
    first_words = {value: str(value).split(" ")[0] for value in found}
    return sorted(found, key=lambda v: (mixers.get(w := first_words[v], len(mixers)), str(v) if w in mixers else ""))


def groups(rows: Rows, *names: str) -> dict[tuple, list[dict]]:
    """The rows apart by the values of some columns, in the order of `values`; () gives all of them one key."""
    found = {(): list(rows)}
    for name in names:
        found = {
            (*key, value): select(part, **{name: value}) for key, part in found.items() for value in values(part, name)
        }
    return found


def samples(rows: Rows, y: str, pair: str | None, *by: str) -> tuple[list[tuple], np.ndarray]:
    """The points, each the values of the columns `by`, and y at them: (pairs x points), or (1 x points) of a count.

    Rows that failed, or whose y is no finite number, are no measurement.

    Raises:
      ValueError: two rows for one point and pair: they differ in a column that nobody selected.
    """
    y, by = column(rows, y), [column(rows, name) for name in by]
    within = None if pair is None else column(rows, pair)
    found: dict[tuple, dict] = {}
    for row in rows:
        if row.get("status", "ok") == "ok" and is_number(row.get(y)):
            point = tuple(row.get(name) for name in by)
            shared = None if pair is None else (row.get("round", 0), row.get(within))
            _refuse_two(found.get(point, {}).get(shared), row, point)
            found.setdefault(point, {})[shared] = row
    points = sorted(found)
    shared = [s for s in found[points[0]] if all(s in found[p] for p in points)] if points else []
    return points, np.array([[found[p][s][y] for p in points] for s in shared], float).reshape(len(shared), len(points))


def _refuse_two(one: dict | None, other: dict, point: tuple) -> None:
    if one is not None and (different := [c for c in one if "." in c and one[c] != other.get(c)]):
        raise ValueError(f"two rows for {point}: they differ in {', '.join(different)}; select one")


def is_number(value) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value) -> bool:
    return is_number(value) and value > 0


def mean(rows: Rows, y: str, pair: str | None = "round") -> Estimate:
    """The average of y over rounds, seeds or whatever `pair` names."""
    _, found = samples(rows, y, pair)
    return intervals.mean(found[:, 0], pair is None) if found.size else NOTHING


def difference(rows: Rows, y: str, over: str, a, b, pair: str | None = "round") -> Estimate:
    """y where the column `over` is a, less y where it is b, pair by pair."""
    both = _both(rows, y, over, a, b, pair)
    return NOTHING if both is None else intervals.mean(both[0] - both[1], pair is None)


def ratio(rows: Rows, y: str, over: str, a, b, pair: str | None = "round") -> Estimate:
    """y where the column `over` is a, over y where it is b: the geometric mean of the pairs' ratios."""
    both = _both(rows, y, over, a, b, pair)
    return NOTHING if both is None or not (np.array(both) > 0).all() else intervals.ratio(*both, pair is None)


def _both(rows: Rows, y: str, over: str, a, b, pair: str | None):
    points, found = samples(select(rows, **{over: [a, b]}), y, pair, over)
    if len(points) < 2 or not found.size:
        return None
    return [found[:, points.index((value,))] for value in (a, b)]


def ends(rows: Rows, y: str, axis: str, pair: str | None = "round") -> Estimate:
    """y at the last value of the column `axis` over y at the first."""
    points = values(select(rows, status="ok", **{y: is_positive}), axis)
    return ratio(rows, y, axis, points[-1], points[0], pair) if len(points) > 1 else NOTHING


def _along(rows: Rows, x: str, y: str, pair: str | None) -> tuple[list, np.ndarray]:
    """x, and y where it is positive; counted values are a vector without rounds."""
    points, found = samples(select(rows, **{y: is_positive}), y, pair, x)
    points = [point for (point,) in points] if found.size else []
    return points, found[0] if pair is None and points else found


def slope(rows: Rows, x: str, y: str, pair: str | None = "round") -> Estimate:
    """The exponent with which y grows with x."""
    points, found = _along(rows, x, y, pair)
    return intervals.slope(points, found) if len(points) > 1 else NOTHING


def growth(rows: Rows, x: str, y: str, pair: str | None = "round", *, first: float, same: str) -> dict[str, Any]:
    """How y grows with x, as a line of a table; {} with fewer than three x.

    The exponent is over the x from `first` on if there are three, else over all. Only rows count that have in the
    column `same` (which program ran) what the row of the largest x has. Of sampled y at four x or more also the terms
    of a + bx + cx², over all of them.
    """
    rows = sorted(select(rows, status="ok", **{y: is_positive}), key=lambda row: row[column(rows, x)])
    rows = select(rows, **{same: rows[-1].get(same)}) if rows else []
    far = select(rows, **{x: lambda value: value >= first})
    fitted = far if len(values(far, x)) >= 3 else rows
    exponent, span = slope(fitted, x, y, pair), values(fitted, x)
    if len(span) < 3 or exponent.n == 0:
        return {}
    found = {"exponent": exponent, "over": f"{span[0]}–{span[-1]}", "quadratic": intervals.is_quadratic(exponent)}
    points, sampled = _along(rows, x, y, pair)
    local = intervals.local_slopes(points, sampled) if len(points) > 1 else []
    found["local slopes"] = ", ".join(f"{p}: {e.value:.2f}" for p, e in zip(points, local, strict=False))
    if pair is not None and len(points) > 3:
        fit = intervals.polynomial(points, sampled)
        found |= {"a": fit.a, "b": fit.b, "c": fit.c, "share of cx² at the last": fit.shares[2], "error": fit.error}
    return found


def crossing(rows: Rows, x: str, y: str, over: str, a, b, pair: str | None = "round") -> Estimate:
    """Where y of a (in the column `over`), which grows faster, passes that of b, over the x that both have."""
    mine, theirs = (select(rows, status="ok", **{over: value, y: is_positive}) for value in (a, b))
    common = [v for v in values(mine, x) if v in values(theirs, x)]
    points, found = samples(select([*mine, *theirs], **{x: common}), y, pair, over, x)
    if len(common) < 2 or not found.size:
        return NOTHING
    one, other = (found[:, [points.index((value, v)) for v in common]] for value in (a, b))
    return intervals.crossing(common, *((one[0], other[0]) if pair is None else (one, other))).at


def relative(rows: Rows, y: str, reference: Rows, on: Iterable[str], inverse: bool = False) -> list[dict]:
    """The rows with y over y of the reference's row of the same round that agrees in the columns `on`.

    inverse: the reference's y over the row's. Rows without such a partner are left out, failed ones stay.
    """
    columns = ["round", *(column(rows, name) for name in on)]
    partner = {repr([r.get(c) for c in columns]): r.get(y) for r in reference if r.get("status", "ok") == "ok"}
    found = []
    for row in rows:
        mine, other = row.get(y), partner.get(repr([row.get(c) for c in columns]))
        if row.get("status", "ok") != "ok":
            found.append(row)
        elif is_positive(mine) and is_positive(other):
            found.append(row | {y: other / mine if inverse else mine / other})
    return found


def merge(rows: Rows) -> list[dict]:
    """One line for each cell and part of it, failed ones too, in order of first appearance.

    A cell is its config, so that rounds that another version of the code measured join it. A column of numbers that
    changes between rounds of a cell becomes `_min`, `_q25`, `_median`, `_q75`; `rounds` and `rounds_failed` count.
    """
    cells: dict[str, dict[tuple, dict]] = {}
    for row in rows:
        config = {c: v for c, v in row.items() if "." in c and c not in NO_AXIS}
        name = json.dumps([config or row.get("key"), row.get("part")], sort_keys=True, default=str)
        cells.setdefault(name, {})[row.get("round", 0)] = row
    cells = [[rounds[r] for r in sorted(rounds)] for rounds in cells.values()]
    own = dict.fromkeys(c for rounds in cells for row in rounds for c in row if "." not in c and c != "round")
    sampled = {c for c in own if any(len(set(_numbers(rounds, c))) > 1 for rounds in cells)}
    return [_line(rounds, sampled) for rounds in cells]


def _numbers(rounds: list[dict], name: str) -> list[float]:
    return [row[name] for row in rounds if row.get("status", "ok") == "ok" and is_number(row.get(name))]


def _line(rounds: list[dict], sampled: set[str]) -> dict:
    failed = [row for row in rounds if row.get("status", "ok") != "ok"]
    line: dict = {}
    for row in [*failed, *(row for row in rounds if row not in failed)]:
        line |= {c: v for c, v in row.items() if c not in sampled and (v is not None or c not in line)}
    for name in sorted(sampled):
        found = _numbers(rounds, name)
        quantiles = np.quantile(found, (0, 0.25, 0.5, 0.75)).tolist() if found else [None] * 4
        line |= dict(zip((f"{name}_{q}" for q in ("min", "q25", "median", "q75")), quantiles, strict=True))
    for name in ("kind", "round", "studies"):
        line.pop(name, None)
    counts = {"rounds": len(rounds) - len(failed), "rounds_failed": len(failed)}
    return line | {"status": failed[0]["status"] if failed else "ok"} | counts
