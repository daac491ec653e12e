"""What a `growth.Study` says, in sentences made from its numbers and from nothing else."""

from collections import defaultdict
from collections.abc import Callable
from math import isfinite
from statistics import median

from transformer_jax import intervals as fits
from transformer_jax.report.cost_conditions import conditions
from transformer_jax.report.curves import HOLD, LENGTH, PHASE, contender
from transformer_jax.report.growth import Change, Crossing, Growth, Study, suspect, together
from transformer_jax.report.words import LEVELS, MATCHINGS, NAMES, PHASES, listed, number, percent, seconds, times

COSTS = {
    "slower": "attention costs more",
    "faster": "attention costs less",
    "not distinguishable": "the two are not distinguishable",
    "inconclusive": "the machine was too noisy to tell",
}
GROW = {"step_seconds": "grows", "flops": "grow", "memory_bytes": "grows"}


def sentences(study: Study) -> tuple[str, ...]:
    """The findings in the order in which a reader asks for them; what was not measured is said last."""
    found = (
        _attention_growth(study) + _recurrence_growth(study) + _forms(study) + _crossings(study)
        + _at_the_longest(study) + _split(study) + _heads(study) + _depth(study) + _decoding(study) + _peak(study)
    )  # fmt: skip
    brackets = (
        "Square brackets hold 95 % intervals over rounds; FLOPs and memory are counted and have none. A ratio or an"
        " exponent is the average of the rounds' own, and so differs a little from that of the medians."
    )
    return (*([brackets] if any("[" in sentence for sentence in found) else []), *found, *conditions(study))


def _exponent(growth: Growth) -> str:
    e = growth.exponent
    interval = "" if growth.exact else f" [{e.low:.2f}, {e.high:.2f}]" if isfinite(e.low) else " (one round)"
    if growth.suspect:
        return f"T^{e.value:.2f}{interval} (inconclusive: the machine was noisy)"
    return f"T^{e.value:.2f}{interval}" + (" (quadratic)" if fits.claim_quadratic(e) else "")


def _grows(growths: list[Growth], who: Callable[[Growth], str]) -> str:
    """`a as T^1.9 [1.8, 2.0], b and c as T^1.0 over T = 1024–4096`, the range once if all share it."""
    ranges = {(g.exponent.first, g.exponent.last) for g in growths}
    groups = defaultdict(list)
    for g in growths:
        own_range = f" over T = {g.exponent.first:g}–{g.exponent.last:g}" if len(ranges) > 1 else ""
        groups[_exponent(g) + own_range].append(who(g))
    first, last = next(iter(ranges))
    parts = listed(f"{listed(names, ' and ')} as {exponent}" for exponent, names in groups.items())
    return parts + (f", over T = {first:g}–{last:g}" if len(ranges) == 1 else "")


def _attention_growth(study: Study) -> list[str]:
    """Time in each phase; FLOPs in one; memory of every implementation, since that is where they differ."""
    groups = defaultdict(list)
    for g in study.growths:
        curve, everywhere = g.curve, g.quantity == "step_seconds"
        wanted = curve.phase in ("forward", "train") if everywhere else curve.phase == study.headline_phase
        if curve.is_attention and wanted and (g.quantity == "memory_bytes" or study.is_best(curve)):
            groups[g.quantity, curve.phase, curve.contender].append(g)
    return [
        f"With {name}, the {NAMES[quantity]} of a {PHASES[phase]} {GROW[quantity]}:"
        f" {_grows(growths, lambda g: LEVELS[g.curve.level])}."
        for (quantity, phase, name), growths in sorted(groups.items(), key=lambda item: list(NAMES).index(item[0][0]))
    ]


def _recurrence_growth(study: Study) -> list[str]:
    said = []
    phase = study.headline_phase
    for quantity, level in (
        ("step_seconds", "op"), ("step_seconds", "model"), ("flops", "model"), ("memory_bytes", "model")
    ):  # fmt: skip
        place = (quantity, level, phase, "width", False)
        growths = [
            g for g in study.growths
            if (g.quantity, g.curve.level, g.curve.phase, g.curve.matching, g.curve.is_attention) == place
        ]  # fmt: skip
        if growths:
            clauses = _grows(growths, lambda g: g.curve.contender)
            said.append(
                f"With a recurrence, the {NAMES[quantity]} of a {PHASES[phase]} of {LEVELS[level]}"
                f" {GROW[quantity]}: {clauses}."
            )
    return said


def _forms(study: Study) -> list[str]:
    """A recurrence that was asked to run in another form, against the one that the library picks."""
    curves = {(c.level, c.phase, c.matching, c.contender): c for c in study.lengths if not c.is_attention}
    said = []
    for (*place, name), curve in curves.items():
        picked = curves.get((*place, name.split(" ")[0]))
        if picked in (None, curve):
            continue
        lengths, mine, theirs = together(curve.samples("step_seconds"), picked.samples("step_seconds"))
        if lengths:
            longest = lengths[-1]
            cells = [c.at(longest) for c in (curve, picked)]
            ratio = fits.compare(theirs[:, -1], mine[:, -1], study.floor or 0.0, suspect=suspect(*cells))
            depths = [cell.get("sequential_depth") for cell in cells]
            said.append(
                f"Against {picked.contender}, {name}, whose critical path has {depths[0]} loop steps instead of"
                f" {depths[1]}, takes at T = {longest} for a {PHASES[curve.phase]} of {LEVELS[curve.level]}"
                f" {times(ratio)}."
            )
    return said


def _crossings(study: Study) -> list[str]:
    """Time of the op and of the model under each matching; FLOPs of the model at equal width."""
    headline = study.headline_phase
    wanted = [("op", phase, "width", "step_seconds") for phase in dict.fromkeys(("forward", headline))]
    wanted += [("model", headline, matching, "step_seconds") for matching in MATCHINGS]
    wanted += [("model", headline, "width", "flops")]
    said = []
    for level, phase, matching, quantity in wanted:
        crossings = [c for c in study.crossings if c.place == (level, phase, matching, quantity)]
        groups = defaultdict(list)
        for c in crossings:
            groups[_after(c)].append(_where(c))
        if crossings:
            said.append(
                f"Crossover of {crossings[0].attention.contender} with a recurrence in {NAMES[quantity]},"
                f" {PHASES[phase]} of {LEVELS[level]}, same {MATCHINGS[matching]}: "
                + "; ".join(f"{listed(names)}, {after}" for after, names in groups.items())
                + "."
            )
    return said


def _where(crossing: Crossing) -> str:
    name, found = crossing.recurrence.contender, crossing.found
    if found.length is None:
        return name
    interval = f" [{found.low:.0f}, {found.high:.0f}]" if crossing.quantity == "step_seconds" else ""
    several = f" (the first of {found.count})" if found.count > 1 else ""
    return f"{name} at T* = {found.length:.0f}{interval}{several}"


def _after(crossing: Crossing) -> str:
    """What the measured lengths say beyond T*, or at all lengths where there is no T*."""
    lengths, verdicts = crossing.lengths, crossing.verdicts
    costs = COSTS if crossing.quantity == "step_seconds" else COSTS | {"not distinguishable": "both cost the same"}
    if crossing.found.length is None:
        parts = (f"{costs[v]} at {verdicts.count(v)}" for v in costs if v in verdicts)
        span = f"{lengths[0]}–{lengths[-1]}"
        return f"none in the measured range T = {span} ({listed(parts)} of {len(lengths)} lengths)"
    beyond = {v for t, v in zip(lengths, verdicts, strict=True) if t > crossing.found.length}
    if len(beyond) == 1:
        return f"with longer sequences {costs[beyond.pop()]}"
    return f"at T = {lengths[-1]} {costs[verdicts[-1]]}"


def _at_the_longest(study: Study) -> list[str]:
    """Attention's step over each recurrence's at the greatest common length, a sentence for each matching."""
    said = []
    for matching, shared in MATCHINGS.items():
        place = ("model", study.headline_phase, matching)
        here = [v for v in study.versus if (v.level, v.phase, v.matching) == place]
        longest = max((v.length for v in here), default=None)
        here = [v for v in here if v.length == longest]
        if here:
            parts = "; ".join(f"against {v.recurrence}, {times(v.ratio)}" for v in here)
            said.append(
                f"At T = {longest} a {PHASES[study.headline_phase]} of the whole model with"
                f" {here[0].attention} takes, at the same {shared}: {parts}."
            )
    return said


def _split(study: Study) -> list[str]:
    """The op's share at the ends of each attention curve, and at the greatest length of the recurrences."""
    by_name = defaultdict(list)
    for share in study.shares:
        by_name[share.contender].append(share)
    parts = []
    for name, shares in by_name.items():
        ends = [shares[0], shares[-1]] if name.startswith("attention") and len(shares) > 1 else shares[-1:]
        parts.append(f"with {name}, {listed((f'{percent(s.op)} at T = {s.length}' for s in ends), ' and ')}")
    return parts and [
        "The mixer's op, timed alone and multiplied by the number of blocks, over the"
        f" {PHASES[study.headline_phase]} of the whole model is: {'; '.join(parts)}."
    ]


def _heads(study: Study) -> list[str]:
    """What more heads do at the greatest length, for the innermost level at which they were swept."""
    longest = max((c.curve.held[LENGTH] for c in study.head_changes), default=None)
    here = [c for c in study.head_changes if c.curve.held[LENGTH] == longest]
    return [
        f"From {c.first} to {c.last} heads, {c.curve.held[HOLD]} held fixed, a {PHASES[c.curve.phase]}"
        f" of {LEVELS[c.curve.level]} with {c.curve.contender} at T = {longest} takes {times(c.ratio)}"
        f"{_counted(c)}."
        for c in here
        if c.curve.level == here[0].curve.level
    ]


def _counted(change: Change) -> str:
    parts = [
        f"{'the same' if value == 1 else f'{value:.3g} times the'} {NAMES[quantity]}"
        for quantity, value in change.counts.items()
    ]
    return f", with {listed(parts, ' and ')}" if parts else ""


def _depth(study: Study) -> list[str]:
    """What more blocks do at the greatest length at which depth was swept."""
    longest = max((c.curve.held[LENGTH] for c in study.depth_changes), default=None)
    groups = defaultdict(list)
    for c in study.depth_changes:
        if c.curve.held[LENGTH] == longest:
            groups[c.curve.level, c.curve.phase, c.first, c.last].append(c)
    return [
        f"From {first} to {last} blocks, a {PHASES[phase]} of {LEVELS[level]} at T = {longest} takes: "
        + "; ".join(f"with {c.curve.contender}, {times(c.ratio)}" for c in changes)
        + f". In proportion to depth would be {number(last / first)} times."
        for (level, phase, first, last), changes in groups.items()
    ]


def _decoding(study: Study) -> list[str]:
    parts = [f"with {c.curve.contender}, {_ends(c)}, {times(c.ratio)}" for c in study.decode_changes]
    return parts and [f"One decoding step (a new token for each sequence): {'; '.join(parts)}."]


def _ends(change: Change) -> str:
    low, high = (median(change.curve.at(x)["step_seconds"]) for x in (change.first, change.last))
    return f"{seconds(low)} at context {change.first} and {seconds(high)} at {change.last}"


def _peak(study: Study) -> list[str]:
    shares = defaultdict(list)
    for cell in study.cells:
        if cell["status"] == "ok" and cell.get("peak_share") and cell.get(PHASE) == study.headline_phase:
            shares[contender(cell)].append(cell["peak_share"])
    parts = [f"{name} {percent(min(v))} to {percent(max(v))}" for name, v in shares.items()]
    return parts and [
        f"Of this machine's measured matmul peak, the matmul FLOPs of a {PHASES[study.headline_phase]} reach,"
        f" over all cells: {listed(parts)}."
    ]
