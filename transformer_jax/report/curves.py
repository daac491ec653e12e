"""Finds the curves in a sweep: cells that differ along one axis and agree in everything else."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from transformer_jax.config import RECURRENCES

LEVEL, PHASE, MATCHING = "measure.level", "measure.phase", "measure.matching"
REPEAT = "measure.repeat"
LENGTH, HEADS, DEPTH, HOLD = "task.seq_len", "model.num_heads", "model.num_layers", "measure.heads_hold"
NAMED = (LEVEL, PHASE, MATCHING, HOLD, "model.mixer", "model.attention", "model.recurrence")
"""Axes that name a curve; every other config column must be equal along it."""

MIXERS = ("attention", *RECURRENCES)


@dataclass(frozen=True)
class Curve:
    """What one contender costs along one axis.

    `cells` succeeded and `failed` did not; both are in the order of the axis. `held` is what they all share.
    """

    axis: str
    contender: str
    level: str
    phase: str
    matching: str
    held: dict
    cells: tuple[dict, ...]
    failed: tuple[dict, ...]

    @property
    def is_attention(self) -> bool:
        return self.contender.startswith("attention")

    def samples(self, quantity: str) -> dict[int, dict[int, float]]:
        """By axis value, by round: one number a round for times, one in round 0 for what is counted once.

        Cells without the quantity, or with a value that is not positive, are left out.
        """
        found = {cell[self.axis]: _samples(cell, quantity) for cell in self.cells}
        return {x: samples for x, samples in found.items() if samples and min(samples.values()) > 0}

    def medians(self, quantity: str) -> tuple[list, list[float]]:
        """Axis values and the median of the quantity at each."""
        found = self.samples(quantity)
        return list(found), [median(samples.values()) for samples in found.values()]

    def at(self, x) -> dict | None:
        """The cell that succeeded at one value of the axis."""
        return next((cell for cell in self.cells if cell[self.axis] == x), None)


def contender(cell: dict) -> str:
    """`attention (reference)`, `lstm`, or `min_gru (associative)` where the form was asked for."""
    mixer = cell.get("model.mixer", "unknown")
    if mixer == "attention":
        return f"attention ({cell.get('model.attention', 'auto')})"
    form = cell.get("model.recurrence", "auto")
    return mixer if form == "auto" else f"{mixer} ({form})"


def heads_hold(cell: dict) -> str:
    """What stays fixed as heads are added: `d_model` (heads share it) or `head_dim` (each brings its own)."""
    return cell.get(HOLD) or ("d_model" if cell.get("model.head_dim") is None else "head_dim")


def find(cells: Iterable[dict], axis: str, apart: tuple[str, ...] = ()) -> list[Curve]:
    """All curves along `axis` with at least two points (failed cells count as points).

    A sweep that is a chain of grids crosses its other axes only in places. So, within each (level, phase,
    *apart), the curves are taken where most points lie: at the most frequent combination of the other axes,
    and at no other. Columns in `apart` are kept apart instead: each of their values gets curves of its own.
    """
    groups = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for cell in cells:
        if axis not in cell:
            continue
        cell = cell | {HOLD: heads_hold(cell)}
        place = tuple(cell.get(column) for column in (LEVEL, PHASE, *apart))
        who = (contender(cell), cell.get(MATCHING))
        points = groups[place][_others(cell, axis, apart)][who]
        known = points.get(cell[axis], {})  # the same program sampled in two ways: the one sampled more often
        points[cell[axis]] = cell if cell.get("rounds", 0) >= known.get("rounds", 0) else known
    curves = []
    for combinations in groups.values():
        most = max(combinations, key=lambda others: sum(map(len, combinations[others].values())))
        curves += [_curve(axis, points) for points in combinations[most].values() if len(points) > 1]
    return sorted(curves, key=_order)


def _others(cell: dict, axis: str, apart: tuple[str, ...]) -> tuple:
    """Everything that must agree along the curve: a heads sweep frees the width which it does not hold."""
    free = {axis, "measure.rounds", "measure.min_sample_seconds", *apart, *NAMED}
    if axis == HEADS:
        free.add("model.d_model" if cell[HOLD] == "head_dim" else "model.head_dim")
    return tuple(sorted((k, repr(v)) for k, v in cell.items() if "." in k and k not in free))


def _curve(axis: str, points: dict) -> Curve:
    cells = [points[x] for x in sorted(points)]
    first = cells[0]
    held = {k: v for k, v in first.items() if "." in k and k != axis and all(c.get(k) == v for c in cells)}
    return Curve(
        axis=axis,
        contender=contender(first),
        level=first.get(LEVEL),
        phase=first.get(PHASE),
        matching=first.get(MATCHING),
        held=held,
        cells=tuple(c for c in cells if c["status"] == "ok"),
        failed=tuple(c for c in cells if c["status"] != "ok"),
    )


def _order(curve: Curve) -> tuple:
    levels, phases = ("op", "block", "model"), ("forward", "train", "decode")
    mixer = curve.contender.split(" ")[0]
    place = [
        options.index(value) if value in options else len(options)
        for value, options in ((curve.level, levels), (curve.phase, phases), (mixer, MIXERS))
    ]
    return (
        *place,
        curve.contender,
        curve.matching != "width",
        str(curve.matching),
        str(curve.held.get(LENGTH)),
    )


def best_attention(curves: Iterable[Curve]) -> dict[tuple, Curve]:
    """The attention curve to compare with, by (level, phase): what the library picks (`auto`) if measured,
    else the implementation with the longest curve."""
    best: dict[tuple, Curve] = {}
    for curve in curves:
        if curve.is_attention:
            place = (curve.level, curve.phase)
            rank = ("(auto)" in curve.contender, len(curve.cells))
            if place not in best or rank > best[place][0]:
                best[place] = (rank, curve)
    return {place: curve for place, (_, curve) in best.items()}


def _samples(cell: dict, quantity: str) -> dict[int, float]:
    value = cell.get(quantity)
    if isinstance(value, list):
        return dict(zip(cell["sampled_rounds"], value, strict=True))
    return {0: value} if isinstance(value, (int, float)) else {}
