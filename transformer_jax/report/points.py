"""Long rows, one for each point and round: which of them are meant, and what is estimated from them.

A row is a dict: config columns are dotted ("model.mixer"), measured ones are not ("step_seconds"). A name without a
dot stands for the one dotted column that ends in it. `pair` names what the points of a comparison share besides the
round ("round": nothing else; "lane": seeds side by side); only pairs in which every point was measured count, since
what they share (a slow machine, initial weights) cancels between them alone. pair=None: y is counted, not sampled, the
same in every round. What cannot be estimated is intervals.NOTHING, of n = 0.
"""

import difflib
import itertools
import json
import math
import operator
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from transformer_jax import intervals
from transformer_jax.config import MIXERS, SAMPLING
from transformer_jax.intervals import NOTHING, Estimate

Rows = Sequence[dict[str, Any]]
NO_LAW = "two points show no law"
"""Any two lie on some power (docs/notes/verdicts.md)."""
ALIKE = 0.8
"""From which share of common letters on (difflib's ratio) a name that no row has is taken for another, misspelt."""


def column(rows: Rows, name: str) -> str:
    """The column that `name` stands for; a name that no row has, and that is like none, is one not measured yet, and so
    is any where every row is of a cell that failed.

    Raises:
      ValueError: several dotted columns end in the name; or no row has it, and it is nearly that of a column.
    """
    if not name or any(map(operator.contains, rows, itertools.repeat(name))):
        return name
    ending = f".{name}"
    dotted = [c for c in rows[0] if c.endswith(ending) and c.rpartition(".")[2] == name] if rows else []
    if len(dotted) > 1:
        raise ValueError(f"{name} may be any of {', '.join(dotted)}: write which")
    if not dotted and any(row.get("status", "ok") == "ok" for row in rows):
        columns = dict.fromkeys(itertools.chain.from_iterable(rows))
        _refuse_misspelt("column", name, [*columns, *(c.rpartition(".")[2] for c in columns)])
    return dotted[0] if dotted else name


def _refuse_misspelt(what: str, name: str, known: Iterable[str]) -> None:
    """ValueError where the name is nearly a known one."""
    if name and (near := _nearly(name, tuple(dict.fromkeys(known)))):
        raise ValueError(f"no row has the {what} {name!r}; did you mean {near!r}?")


@lru_cache(maxsize=1024)  # a page asks the same of many parts of its rows
def _nearly(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that is nearly this one; those that differ in a digit are different names."""
    alike = [other for other in known if re.findall(r"\d", other) == re.findall(r"\d", name)]
    return next(iter(difflib.get_close_matches(name, alike, n=1, cutoff=ALIKE)), None)


def select(rows: Rows, study: str | Iterable[str] | None = None, **where) -> list[dict]:
    """The rows of a study (or of any of several) in which every column is as asked for, in their order.

    where: a value, a collection of values, or a predicate. A column that a row lacks is None. A study without a row
    gives none, as in a run that is not finished.

    Raises:
      ValueError: a study or a column that no row has, and whose name is nearly that of one; see `column`.
    """
    if study is not None:
        studies = {study} if isinstance(study, str) else set(study)
        known = {name for row in rows for name in row.get("studies", ())}
        for name in sorted(studies - known):
            _refuse_misspelt("study", name, sorted(known))
        rows = [row for row in rows if studies & set(row.get("studies", ()))]
    for name, wanted in where.items():
        name, several = column(rows, name), wanted if isinstance(wanted, (list, tuple, set, range)) else [wanted]
        right = wanted if callable(wanted) else several.__contains__
        rows = [row for row in rows if right(row.get(name))]
    return list(rows)


def by_seed(rows: Rows, apart: bool = True) -> list[dict]:
    """The rows, those of a lane with its `seed`, which counts the lanes of all rounds from 1.

    apart: such a row is "ok" whatever the status of its cell, as a lane that failed takes no other with it.
    """
    status = {"status": "ok"} if apart else {}
    return [row | status | {"seed": row["round"] * row["train.lanes"] + row["lane"] + 1} if "lane" in row else row
            for row in rows]  # fmt: skip


def values(rows: Rows, name: str) -> list:
    """The distinct values of a column: numbers in rising order, mixers in theirs before other names as they come."""
    name, order = column(rows, name), {mixer: place for place, mixer in enumerate(MIXERS)}
    found = list({repr(row[name]): row[name] for row in rows if row.get(name) is not None}.values())
    numeric = all(isinstance(value, (int, float)) for value in found)
    return sorted(found, key=None if numeric else lambda value: order.get(str(value), len(order)))


def groups(rows: Rows, *names: str) -> dict[tuple, list[dict]]:
    """The rows apart by the values of some columns, in the order of `values`; rows without a value are left out."""
    found = {(): list(rows)}
    for name in names:
        found = {(*key, v): same for key, part in found.items() for v, same in _apart(part, name)}
    return found


def _apart(rows: Rows, name: str) -> list[tuple[Any, list[dict]]]:
    """Each of the `values` of a column with the rows that have it."""
    name, kept = column(rows, name), {}
    try:
        for row in rows:
            kept.setdefault(row.get(name), []).append(row)
    except TypeError:  # lists have no hash
        return [(value, select(rows, **{name: value})) for value in values(rows, name)]
    return [(value, list(kept[value])) for value in values(rows, name)]


def samples(rows: Rows, y: str, pair: str | None, *by: str) -> tuple[list[tuple], np.ndarray]:
    """The points, each the values of the columns `by`, and y at them: (pairs x points), or (1 x points) of a count.

    Rows that failed, or whose y is no finite number, are no measurement.

    Raises:
      ValueError: two rows for one point and pair, from different configs: they differ in a column nobody selected.
        Of two that differ only in how they were sampled, the one that was sampled longer counts.
    """
    y, by, within = column(rows, y), [column(rows, name) for name in by], column(rows, pair or "")
    found: dict[tuple, dict] = {}
    for row in rows:
        if is_number(row.get(y)) and row.get("status", "ok") == "ok":
            point = tuple(row.get(name) for name in by)
            shared = pair and (row.get("round", 0), row.get(within))
            other = found.setdefault(point, {}).setdefault(shared, row)
            if different := [c for c in row if "." in c and c not in SAMPLING and row[c] != other.get(c)]:
                raise ValueError(f"two rows for {point}, which differ in {', '.join(different)}: select one")
            found[point][shared] = max(other, row, key=lambda one: one.get(SAMPLING[1]) or 0)  # among equals the first
    points = sorted(found)
    shared = [s for s in found[points[0]] if all(s in found[p] for p in points)] if points else []
    table = [[found[p][s][y] for p in points] for s in shared]
    return points, np.array(table, float).reshape(len(shared), len(points))


def is_number(value) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value) -> bool:
    """Whether it has a logarithm."""
    return is_number(value) and value > 0


def is_share(name: str) -> bool:
    """Whether a column holds shares, which lie in 0 .. 1: accuracies, the share_of_ something."""
    return "accuracy" in name or name.startswith("share_of_")


def mean(rows: Rows, y: str, pair: str | None = "round") -> Estimate:
    """The average of y over rounds, seeds or whatever `pair` names; the interval of a share ends at 0 and 1.

    Where each of them says yes or no (a share_of_ something that is 0 or 1 in all), it is the share of those that say
    yes, with the interval of a count: `intervals.share`.
    """
    _, found = samples(rows, y, pair)
    if not found.size:
        return NOTHING
    if pair is not None and y.startswith("share_of_") and np.isin(found, (0, 1)).all():
        return intervals.share(found[:, 0])
    one = intervals.mean(found[:, 0], pair is None)
    clipped = Estimate(one.value, max(one.low, 0.0), min(one.high, 1.0), one.n)
    return clipped if is_share(y) and one.n > 1 else one


def reached(rows: Rows, y: str, share: float, limit: str) -> Estimate:
    """The y by which a share of the rows (seeds, say) had come somewhere; n: of all rows. A row without y never did.

    It is counted, and its interval a point; where fewer came, it has no value and lies above the column `limit`, up to
    which all were watched.
    """
    found = sorted(row[y] if is_number(row.get(y)) else math.inf for row in rows)
    at = found[math.ceil(share * len(found)) - 1] if found else math.inf
    if not found or math.isfinite(at):
        return Estimate(at, at, at, len(found)) if found else NOTHING
    return Estimate(math.nan, min(row[limit] for row in rows), math.inf, len(found))


def difference(
    rows: Rows, y: str, over: str, a, b, pair: str | None = "round", confidence: float = intervals.CONFIDENCE
) -> Estimate:
    """y where the column `over` is a, less y where it is b, pair by pair."""
    both = _both(rows, y, over, a, b, pair)
    return NOTHING if both is None else intervals.mean(both[0] - both[1], pair is None, confidence)


def ratio(rows: Rows, y: str, over: str, a, b, pair: str | None = "round") -> Estimate:
    """y where the column `over` is a, over y where it is b: the geometric mean of the pairs' ratios."""
    both = _both(select(rows, **{y: is_positive}), y, over, a, b, pair)
    return NOTHING if both is None else intervals.ratio(*both, pair is None)


def _both(rows: Rows, y: str, over: str, a, b, pair: str | None) -> list[np.ndarray] | None:
    points, found = samples(select(rows, **{over: [a, b]}), y, pair, over)
    return [found[:, points.index((v,))] for v in (a, b)] if len(points) == 2 and found.size else None


def ends(rows: Rows, y: str, axis: str, pair: str | None = "round") -> Estimate:
    """y at the last value of the column `axis` over y at the first."""
    points = values(select(rows, status="ok", **{y: is_positive}), axis)
    return ratio(rows, y, axis, points[-1], points[0], pair) if len(points) > 1 else NOTHING


def added(rows: Rows, y: str, axis: str, pair: str | None = "round") -> dict[str, Estimate]:
    """What one more of `axis` adds to y, between each of its values and the next, by the two values."""
    points = values(select(rows, status="ok", **{y: is_number}), axis)
    found = {two: _both(rows, y, axis, *two[::-1], pair) for two in itertools.pairwise(points)}
    return {f"{a:g}–{b:g}": intervals.mean((both[0] - both[1]) / (b - a), pair is None)
            for (a, b), both in found.items() if both is not None}  # fmt: skip


def slope(rows: Rows, x: str, y: str, pair: str | None = "round", least: int = 2) -> Estimate:
    """The exponent with which y grows with x; NOTHING with fewer than `least` x."""
    points, found = _along(rows, x, y, pair)
    return intervals.slope(points, found) if len(points) >= least else NOTHING


def _along(rows: Rows, x: str, y: str, pair: str | None) -> tuple[list, np.ndarray]:
    """x, and y where it is positive; counted values are a vector without rounds."""
    points, found = samples(select(rows, **{y: is_positive}), y, pair, x)
    points = [point for (point,) in points] if found.size else []
    return points, found[0] if pair is None and points else found


def growth(rows: Rows, x: str, y: str, pair: str | None = "round", *, first: float, same: str) -> dict[str, Any]:
    """How y grows with x, as a line of a table; {} with fewer than two x.

    The exponent is over the x from `first` on if there are three, else over all; one of two x is called by no word
    (docs/notes/verdicts.md). Only rows count that have in the column `same` (which program ran) what the row of the
    largest x has. Of sampled y also the terms of a + bx + cx²: over the x of the exponent if these are four, else over
    all if these are.
    """
    measured = select(rows, status="ok", **{y: is_positive})
    rows = sorted(measured, key=operator.itemgetter(column(rows, x))) if measured else []
    rows = select(rows, **{same: rows[-1].get(same)}) if rows else []
    far = select(rows, **{x: lambda value: value >= first})
    fitted = far if len(values(far, x)) >= 3 else rows
    span, exponent, (points, found) = values(fitted, x), slope(fitted, x, y, pair), _along(rows, x, y, pair)
    if len(span) < 2 or exponent.n == 0:
        return {}
    word = intervals.growth_word(exponent) if len(span) > 2 else NO_LAW
    line = {"exponent": exponent, "over": f"{span[0]:,}–{span[-1]:,}", "growth": word}
    if points:
        local = intervals.local_slopes(points, found)
        line["local slopes"] = ", ".join(f"from {p} {e.value:.2f}" for p, e in zip(points, local, strict=False))
    points, found = _along(fitted, x, y, pair) if len(span) > 3 else (points, found)
    if pair is not None and len(points) > 3:
        fit = intervals.polynomial(points, found)
        line |= {"terms over": f"{points[0]:,}–{points[-1]:,}",
                 "a": fit.a, "b": fit.b, "c": fit.c, "share of cx² at the last": fit.share, "error": fit.error,
                 "BIC of a power of x less this": fit.bic}  # fmt: skip
    return line


def crossing(rows: Rows, x: str, y: str, over: str, a, b, pair: str | None = "round") -> Estimate:
    """Where y of a (in the column `over`), which grows faster, passes that of b, over the x that both have.

    Rows may have an `implementation`, which program ran: `intervals.crossing`.
    """
    return crosses(rows, x, y, over, a, b, pair).at


def crosses(rows: Rows, x: str, y: str, over: str, a, b, pair: str | None = "round") -> intervals.Crossing:
    """The same with how often, and which costs more at each x; an estimate of NOTHING with fewer than two x."""
    mine, theirs = (select(rows, status="ok", **{over: value, y: is_positive}) for value in (a, b))
    common = [v for v in values(mine, x) if v in values(theirs, x)]
    points, found = samples(select([*mine, *theirs], **{x: common}), y, pair, over, x)
    if len(common) < 2 or not found.size:
        return intervals.Crossing(NOTHING, 0, (), ())
    both = (found[:, [points.index((value, v)) for v in common]] for value in (a, b))
    ran = [[values(select(one, **{x: v}), "implementation")[:1] for one in (mine, theirs)] for v in common]
    return intervals.crossing(common, *(one[0] if pair is None else one for one in both), programs=ran)


def relative(rows: Rows, y: str, reference: Rows, on: Iterable[str], inverse: bool = False) -> list[dict]:
    """The rows with `ratio`: y over y of the reference's row of the same round that agrees in the columns `on`.

    inverse: the reference's y over the row's. Rows without such a partner are left out, failed ones stay.
    """
    y, on = column(rows, y), ["round", *(column(rows, name) for name in on)]
    partners = {repr([r.get(c) for c in on]): r[y] for r in reference if is_positive(r.get(y))}
    found = [row for row in rows if row.get("status", "ok") != "ok"]
    for row in rows:
        mine, other = row.get(y), partners.get(repr([row.get(c) for c in on]))
        if other and is_positive(mine):
            found.append(row | {"ratio": other / mine if inverse else mine / other})
    return found


def merge(rows: Rows) -> list[dict]:
    """One line for each cell and part of it, failed ones too, in order of first appearance.

    A cell is its config, so that rounds that another version of the code measured join it. A column of numbers that
    changes between rounds of a cell becomes `_min`, `_q25`, `_median`, `_q75`; `rounds` and `rounds_failed` count.
    """
    cells: dict[str, dict[int, dict]] = {}
    for row in rows:
        config = {c: v for c, v in row.items() if "." in c and c != "measure.rounds"} or row.get("key")
        cells.setdefault(json.dumps([config, row.get("part")], default=str), {})[row.get("round", 0)] = row
    cells = [[rounds[r] for r in sorted(rounds)] for rounds in cells.values()]
    own = dict.fromkeys(c for rounds in cells for row in rounds for c in row if "." not in c and c != "round")
    measured = [select(rounds, status=["ok", None]) for rounds in cells]
    sampled = [c for c in own if any(len(set(_numbers(rounds, c))) > 1 for rounds in measured)]
    return [_line(rounds, sampled) for rounds in cells]


def _numbers(measured: Rows, name: str) -> list[float]:
    return [row[name] for row in measured if is_number(row.get(name))]


def _line(rounds: Rows, sampled: Sequence[str]) -> dict:
    """What is the same in all rounds (of what is not, the last), the spread of what is sampled, how often it failed."""
    failed = [row for row in rounds if row.get("status", "ok") != "ok"]
    measured = select(rounds, status=["ok", None])
    line = {c: v for row in [*rounds, *failed[:1]] for c, v in row.items() if c not in (*sampled, "round", "studies")}
    for name in sampled:
        found = _numbers(measured, name)
        spread = np.quantile(found, (0, 0.25, 0.5, 0.75)).tolist() if found else [None] * 4
        line |= dict(zip((f"{name}_{part}" for part in ("min", "q25", "median", "q75")), spread, strict=True))
    counts = {"rounds": len(rounds) - len(failed), "rounds_failed": len(failed)}
    return line | {"status": failed[0]["status"] if failed else "ok"} | counts


def shared(rows: Rows) -> dict[str, Any]:
    """The columns that are the same in all rows, with their value."""
    return {c: v for c, v in rows[0].items() if all(row.get(c) == v for row in rows)} if rows else {}
