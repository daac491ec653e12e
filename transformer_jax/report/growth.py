"""Analyses the cells of an attention-cost run: how costs grow, where two cross, what heads and depth do."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from transformer_jax import intervals as fits
from transformer_jax.report import curves
from transformer_jax.report.curves import DEPTH, HEADS, HOLD, LENGTH, LEVEL, MATCHING, PHASE, REPEAT, Curve

QUANTITIES = {
    "step_seconds": ("time of a step", "s"),
    "flops": ("FLOPs of a step", "FLOP"),
    "memory_bytes": ("memory", "B"),
}
"""Column: what it is called on an axis, and its unit. All but the time are counted and carry no noise."""

ASYMPTOTIC = 1024
"""Exponents are fitted from this length on, if at least three lengths reach it; else over all lengths."""


@dataclass(frozen=True)
class Growth:
    """How one quantity grows along one curve: quantity ~ T^exponent over the exponent's own range."""

    curve: Curve
    quantity: str
    exponent: fits.Exponent
    local: tuple[fits.Exponent, ...]
    """From each length to the next."""
    fitted: fits.Polynomial | None
    """a + bT + cT², for times at four lengths or more."""
    suspect: bool
    """Whether most samples that the exponent rests on were taken while the machine was noisy."""

    @property
    def exact(self) -> bool:
        return self.quantity != "step_seconds"


@dataclass(frozen=True)
class Versus:
    """Attention's step over a recurrence's at one length."""

    level: str
    phase: str
    matching: str
    attention: str
    recurrence: str
    length: int
    ratio: fits.Ratio


@dataclass(frozen=True)
class Crossing:
    """Where attention's cost passes a recurrence's, over the lengths at which both have it."""

    quantity: str
    attention: Curve
    recurrence: Curve
    found: fits.Crossover
    lengths: tuple[int, ...]
    verdicts: tuple[str, ...]
    """At each of the lengths attention is `slower` (costs more), `faster`, `not distinguishable` or `inconclusive`."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.recurrence.level, self.recurrence.phase, self.recurrence.matching, self.quantity


@dataclass(frozen=True)
class Change:
    """Time at the last point of a curve over time at its first, and the same for what is counted."""

    curve: Curve
    first: int
    last: int
    ratio: fits.Ratio
    counts: dict[str, float]


@dataclass(frozen=True)
class Share:
    """Op and block, timed alone and multiplied by the number of blocks, as shares of the model's step."""

    contender: str
    length: int
    op: float
    block: float | None


@dataclass(frozen=True)
class Study:
    """All that the rows give; every part may be empty."""

    cells: list[dict]
    lengths: list[Curve]
    heads: list[Curve]
    depths: list[Curve]
    headline_phase: str
    growths: list[Growth]
    crossings: list[Crossing]
    versus: list[Versus]
    shares: list[Share]
    head_changes: list[Change]
    depth_changes: list[Change]
    decode_changes: list[Change]
    floor: float | None
    """How far a program differed from itself, at most (`fits.noise_floor`); None if none was measured twice."""
    missing: tuple[str, ...]

    def growth(self, curve: Curve, quantity: str) -> Growth | None:
        """The growth of that quantity along that curve, if it was found."""
        return next((g for g in self.growths if g.curve is curve and g.quantity == quantity), None)

    def is_best(self, curve: Curve) -> bool:
        """Whether recurrences are compared with this curve, not with another attention implementation's."""
        return curves.best_attention(self.lengths).get((curve.level, curve.phase)) is curve

    @property
    def held(self) -> dict:
        """What every curve along the lengths has in common."""
        held = [c.held for c in self.lengths]
        names = ("model.d_model", HEADS, DEPTH, "task.batch_size", "model.dtype")
        return {k: held[0][k] for k in names if held and k in held[0] and all(h.get(k) == held[0][k] for h in held)}


def study(cells: Iterable[dict]) -> Study:
    """Everything that merged cells give about cost; what they do not give is named in `missing`."""
    cells = [cell | {"flops": cell.get("jaxpr_flops") or cell.get("closed_form_flops")} for cell in cells]
    once = [cell for cell in cells if not cell.get(REPEAT)]
    pairs = twice(cells)
    floor = fits.noise_floor(pairs)
    lengths = curves.find(once, LENGTH)
    heads = [c for c in curves.find(once, HEADS, apart=(LENGTH, HOLD)) if c.is_attention]
    depths = curves.find(once, DEPTH, apart=(LENGTH,))
    best = curves.best_attention(lengths)
    phases = {c.phase for c in lengths if c.level == "model"} or {c.phase for c in lengths}
    headline = next((p for p in ("train", "forward", *sorted(map(str, phases))) if p in phases), "train")
    against = [(best[c.level, c.phase], c) for c in lengths if not c.is_attention and (c.level, c.phase) in best]
    decoding = [c for c in lengths if c.phase == "decode" and c.matching == "width"]
    return Study(
        cells=cells,
        lengths=lengths,
        heads=heads,
        depths=depths,
        headline_phase=headline,
        growths=[g for c in lengths for q in QUANTITIES if (g := growth(c, q)) is not None],
        crossings=[
            x for q in ("step_seconds", "flops") for a, r in against if (x := crossing(a, r, q, floor)) is not None
        ],
        versus=[v for a, r in against for v in versus(a, r, floor)],
        shares=[s for c in lengths for s in _shares(c, lengths, headline)],
        head_changes=[x for c in heads if (x := change(c, floor)) is not None],
        depth_changes=[x for c in depths if (x := change(c, floor)) is not None],
        decode_changes=[x for c in decoding if (x := change(c, floor)) is not None],
        floor=floor if pairs else None,
        missing=_missing(cells, lengths, heads, depths),
    )


def growth(curve: Curve, quantity: str) -> Growth | None:
    """The exponent of one quantity, or None where fewer than three lengths have it in a common round."""
    lengths, samples = together(curve.samples(quantity))
    lengths, samples = _of_one_program(curve, lengths, samples)
    if len(lengths) < 3:
        return None
    if quantity != "step_seconds":
        (samples,) = samples  # counted, not sampled
    far = [t for t in lengths if t >= ASYMPTOTIC]
    timed = quantity == "step_seconds" and len(lengths) > 3
    if timed and len(far) >= 3:  # these lengths alone may share more rounds
        found = curve.samples(quantity)
        exponent = fits.fit_exponent(*together({t: found[t] for t in far}))
    else:
        exponent = fits.fit_exponent(lengths, samples, first=ASYMPTOTIC if len(far) >= 3 else 0)
    within = [curve.at(t) for t in lengths if exponent.first <= t <= exponent.last]
    return Growth(
        curve=curve,
        quantity=quantity,
        exponent=exponent,
        local=tuple(fits.local_slopes(lengths, samples)),
        fitted=fits.fit_polynomial(lengths, samples) if timed else None,
        suspect=quantity == "step_seconds" and suspect(*within),
    )


def suspect(*cells: dict) -> bool:
    """Whether most of these cells' samples were taken while the machine was noisy."""
    return 2 * sum(cell["rounds_noisy"] for cell in cells) > sum(cell["rounds"] for cell in cells)


def _of_one_program(curve: Curve, lengths: list[int], samples: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The lengths at which the curve runs what it runs at the longest: `auto` changes the implementation."""
    programs = [curve.at(t).get("implementation") for t in lengths]
    same = [i for i, program in enumerate(programs) if program == programs[-1]]
    return ([lengths[i] for i in same], samples[:, same]) if same else (lengths, samples)


def crossing(attention: Curve, recurrence: Curve, quantity: str, floor: float = 0.0) -> Crossing | None:
    """Where attention's cost passes the recurrence's, or None with fewer than two common lengths."""
    lengths, mine, theirs = together(attention.samples(quantity), recurrence.samples(quantity))
    if len(lengths) < 2:
        return None
    exact = quantity != "step_seconds"
    floor = 0.0 if exact else floor
    suspects = [not exact and suspect(attention.at(t), recurrence.at(t)) for t in lengths]
    verdicts = tuple(
        fits.compare(theirs[:, i], mine[:, i], floor, exact, noisy).verdict for i, noisy in enumerate(suspects)
    )
    if exact:
        (mine,), (theirs,) = mine, theirs
    found = fits.crossover(lengths, mine, theirs, floor, suspects)
    return Crossing(quantity, attention, recurrence, found, tuple(lengths), verdicts)


def versus(attention: Curve, recurrence: Curve, floor: float = 0.0) -> list[Versus]:
    """Attention's step over the recurrence's at every length that both have."""
    place = (
        recurrence.level,
        recurrence.phase,
        recurrence.matching,
        attention.contender,
        recurrence.contender,
    )
    lengths, mine, theirs = together(attention.samples("step_seconds"), recurrence.samples("step_seconds"))
    return [
        Versus(
            *place, t, fits.compare(theirs[:, i], mine[:, i], floor, suspect=suspect(attention.at(t), recurrence.at(t)))
        )
        for i, t in enumerate(lengths)
    ]


def change(curve: Curve, floor: float = 0.0) -> Change | None:
    """The last point of the curve over its first, or None where no two points were timed together."""
    points, samples = together(curve.samples("step_seconds"))
    if len(points) < 2:
        return None
    first, last = curve.at(points[0]), curve.at(points[-1])
    counts = {q: last[q] / first[q] for q in ("flops", "memory_bytes") if first.get(q) and last.get(q)}
    ratio = fits.compare(samples[:, 0], samples[:, -1], floor, suspect=suspect(first, last))
    return Change(curve, points[0], points[-1], ratio, counts)


def twice(cells: Iterable[dict]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The samples of each program that was measured once more (`measure.repeat`), and those of its first time."""
    by_program = defaultdict(dict)
    for cell in cells:
        config = {k: v for k, v in cell.items() if "." in k and k not in (REPEAT, "measure.rounds")}
        samples = dict(zip(cell["sampled_rounds"], cell.get("step_seconds") or [], strict=False))
        by_program[json.dumps(config, sort_keys=True)][cell.get(REPEAT) or 0] = samples
    pairs = []
    for measured in by_program.values():
        for first, again in ((measured.get(0, {}), measured[i]) for i in measured if i):
            if rounds := sorted(first.keys() & again.keys()):
                pairs.append(tuple(np.array([one[r] for r in rounds]) for one in (first, again)))
    return pairs


def together(*series: dict[int, dict[int, float]]) -> tuple:
    """What several series have in common: the points of all, and for each an array of rounds x points.

    A drift of the machine cancels only between samples of the same round, so only rounds count in which every
    point was measured; without one such round there are no points.
    """
    points = sorted(set.intersection(*map(set, series)))
    rounds = sorted(set.intersection(*(set(one[x]) for one in series for x in points))) if points else []
    if not rounds:
        points = []
    return points, *(np.array([[one[x][r] for x in points] for r in rounds]) for one in series)


def _shares(curve: Curve, lengths: list[Curve], phase: str) -> list[Share]:
    """The parts of a model's step, for the curves of the whole model in that phase."""
    if (curve.level, curve.phase, curve.matching) != ("model", phase, "width"):
        return []
    parts = {c.level: c for c in lengths if (c.contender, c.phase, c.matching) == (curve.contender, phase, "width")}
    if "op" not in parts:
        return []
    found = []
    for cell in curve.cells:
        t, blocks = cell[LENGTH], cell.get(DEPTH) or 1
        times = [_median_time(parts[level].at(t)) if level in parts else None for level in ("op", "block")]
        whole = _median_time(cell)
        if whole and times[0]:
            op, block = (None if time is None else blocks * time / whole for time in times)
            found.append(Share(curve.contender, t, op, block))
    return found


def _median_time(cell: dict | None) -> float | None:
    return median(cell["step_seconds"]) if cell and cell.get("step_seconds") else None


def _missing(cells, lengths, heads, depths) -> tuple[str, ...]:
    """In words, what the main job measures and these cells do not."""
    have = {column: {cell.get(column) for cell in cells} for column in (LEVEL, PHASE, MATCHING)}
    attention = [c for c in lengths if c.is_attention]
    absent = {
        "any sweep over sequence length": not lengths,
        "attention over sequence length": bool(lengths) and not attention,
        "a recurrence over sequence length": bool(lengths) and len(attention) == len(lengths),
        "a sweep over heads": not heads,
        "a sweep over depth": not depths,
        "memory": not any("memory_bytes" in cell for cell in cells),
    }
    absent |= {f"the level {level}": level not in have[LEVEL] for level in ("op", "block", "model")}
    absent |= {f"the phase {phase}": phase not in have[PHASE] for phase in ("forward", "train", "decode")}
    absent |= {f"equal {m}": m not in have[MATCHING] for m in ("width", "params", "flops")}
    return tuple(name for name, is_absent in absent.items() if is_absent)
