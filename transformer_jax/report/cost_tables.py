"""The tables of the attention-cost report: exponents, crossovers, changes, FLOPs counted three ways."""

from math import isfinite
from statistics import median

from transformer_jax import intervals as fits
from transformer_jax.report.content import Table
from transformer_jax.report.curves import HOLD, LENGTH, LEVEL, MATCHING, PHASE, contender
from transformer_jax.report.growth import Study
from transformer_jax.report.words import NAMES


def tables(study: Study) -> tuple[Table, ...]:
    """Every table that has a row."""
    made = (_growths(study), _polynomials(study), _crossings(study), _changes(study), _three_ways(study))
    return tuple(table for table in made if table.rows)


def _growths(study: Study) -> Table:
    rows = []
    for g in study.growths:
        e = g.exponent
        slopes = ", ".join(f"{slope.first:g}–{slope.last:g}: {slope.value:.2f}" for slope in g.local)
        interval = (e.low, e.high) if isfinite(e.low) and not g.exact else (None, None)
        place = (NAMES[g.quantity], g.curve.level, g.curve.phase, g.curve.contender, g.curve.matching)
        quadratic = "inconclusive" if g.suspect else fits.claim_quadratic(e)
        rows.append((*place, e.value, *interval, f"{e.first:g}–{e.last:g}", quadratic, slopes))
    return Table(
        "Exponents in T",
        ("quantity", "level", "phase", "contender", "matching", "exponent", "low", "high", "over T",
         "quadratic", "local slopes, from each length to the next"),
        tuple(sorted(rows, key=lambda row: list(NAMES.values()).index(row[0]))),
        "Log-log slopes with 95 % intervals over rounds; FLOPs and memory are counted and have none."
        f" Quadratic is claimed only where the interval, or the exponent of what is counted, lies above"
        f" {fits.QUADRATIC_SLOPE}.",
    )  # fmt: skip


def _polynomials(study: Study) -> Table:
    rows = []
    for curve, fitted in ((g.curve, g.fitted) for g in study.growths if g.fitted):
        terms = [
            f"{term.value:.3g}" + (f" [{term.low:.2g}, {term.high:.2g}]" if isfinite(term.high) else "")
            for term in (fitted.a, fitted.b, fitted.c)
        ]
        place = (curve.level, curve.phase, curve.contender, curve.matching)
        rows.append((*place, f"{fitted.first:g}–{fitted.last:g}", *terms, fitted.error))
    return Table(
        "Time as a + bT + cT²",
        ("level", "phase", "contender", "matching", "over T", "a (s)", "b (s per token)", "c (s per token²)",
         "largest relative error"),
        tuple(rows),
        "Non-negative terms with 95 % intervals over rounds, over the lengths at which one program runs (at least"
        " four). The error is that of the fit at the length where it is worst.",
    )  # fmt: skip


def _crossings(study: Study) -> Table:
    rows = [
        (
            NAMES[x.quantity], x.recurrence.level, x.recurrence.phase, x.recurrence.matching,
            x.attention.contender, x.recurrence.contender, x.found.length,
            *((x.found.low, x.found.high) if x.quantity == "step_seconds" else (None, None)),
            f"{x.lengths[0]}–{x.lengths[-1]}",
            *(x.verdicts.count(verdict) for verdict in ("faster", "not distinguishable", "slower", "inconclusive")),
        )
        for x in study.crossings
    ]  # fmt: skip
    return Table(
        "Crossovers",
        ("quantity", "level", "phase", "matching", "attention", "recurrence", "T*", "low", "high", "over T",
         "lengths where attention costs less", "not distinguishable", "more", "inconclusive"),
        tuple(rows),
        "T* is where attention's cost becomes equal to the recurrence's; a dash: none in the measured range.",
    )  # fmt: skip


def _changes(study: Study) -> Table:
    rows = [
        (
            axis, c.curve.level, c.curve.phase, c.curve.contender, c.curve.held.get(LENGTH),
            c.curve.held.get(HOLD) if axis == "heads" else None, c.first, c.last,
            c.ratio.value, c.ratio.low, c.ratio.high, c.ratio.verdict,
            c.counts.get("flops"), c.counts.get("memory_bytes"),
        )
        for axis, changes in (
            ("heads", study.head_changes), ("blocks", study.depth_changes), ("context", study.decode_changes)
        )
        for c in changes
    ]  # fmt: skip
    return Table(
        "Heads, depth and decoding: the last point over the first",
        ("axis", "level", "phase", "contender", "T", "holding", "from", "to", "times the time", "low", "high",
         "verdict", "times the FLOPs", "times the memory"),
        tuple(rows),
        "A ratio whose 95 % interval contains 1, or that is closer to 1 than a program differed from itself, is not"
        " distinguishable from no change; one that rests mostly on noisy samples is inconclusive.",
    )  # fmt: skip


def _three_ways(study: Study) -> Table:
    seen: dict[int, dict] = {id(cell): cell for curve in study.lengths for cell in curve.cells}
    rows = []
    for cell in seen.values():
        closed, walked = cell.get("closed_form_flops"), cell.get("jaxpr_matmul_flops")
        xla, everything = cell.get("xla_flops"), cell.get("jaxpr_flops")
        rows.append(
            (
                cell.get(LEVEL), cell.get(PHASE), contender(cell), cell.get(MATCHING), cell[LENGTH],
                closed, walked, walked / closed if walked and closed else None, everything, xla,
                xla / everything if xla and everything else None,
                median(cell["step_seconds"]) if cell.get("step_seconds") else None,
                cell.get("achieved_flops_per_second"), cell.get("peak_share"),
            )
        )  # fmt: skip
    return Table(
        "FLOPs three ways, and measured",
        ("level", "phase", "contender", "matching", "T", "closed form (matmul)", "jaxpr (matmul)",
         "jaxpr / closed form", "jaxpr (all)", "XLA (all)", "XLA / jaxpr", "measured seconds",
         "achieved FLOP/s (matmul)", "share of matmul peak"),
        tuple(rows),
        "XLA's own figure counts the body of a loop once (over time steps, blocks of keys, layers) and, each time, what"
        " a fusion computes again for another of its readers: it may lie below the jaxpr's or above.",
    )  # fmt: skip
