"""The report of the experiment vectorized_heads: how much faster heads are together than in a loop."""

from collections.abc import Iterable
from statistics import median

import numpy as np

from transformer_jax import intervals as fits
from transformer_jax.report import panels
from transformer_jax.report.content import Figure, Report, Table
from transformer_jax.report.curves import HEADS, LENGTH
from transformer_jax.report.drawing import PALETTE
from transformer_jax.report.words import listed, number

LOOKS = {"vmap": (PALETTE["blue"], "s", (0, (5, 2))), "batched": (PALETTE["black"], "o", "-")}


def report(rows: Iterable[dict]) -> Report:
    """The loop's time over that of the other two forms, round by round."""
    speedups, compiling = _speedups(rows)
    return Report(
        title="Attention's heads: in a loop, under vmap, batched",
        sentences=_sentences(speedups),
        figures=(_figure(speedups),) if speedups else (),
        tables=(_table(speedups, compiling),) if speedups else (),
    )


def _speedups(rows: Iterable[dict]) -> tuple[dict[tuple, fits.Ratio], dict[tuple, list[float]]]:
    """By (T, heads, form): the loop's time over the form's; and the median seconds that each form took to compile."""
    cells = {}
    for row in rows:
        if row["status"] == "ok":
            cells.setdefault((row[LENGTH], row[HEADS]), []).append(row)
    found, compiling = {}, {}
    for place, of_cell in sorted(cells.items()):
        for form in LOOKS:
            samples = ([row[f"{name}_seconds"] for row in of_cell] for name in (form, "loop"))
            found[(*place, form)] = fits.compare(*samples)
        compiling[place] = [median(row[f"{name}_compile_seconds"] for row in of_cell) for name in ("loop", *LOOKS)]
    return found, compiling


def _sentences(speedups: dict) -> tuple[str, ...]:
    said = []
    for T in sorted({t for t, *_ in speedups}):
        most = max(heads for t, heads, _ in speedups if t == T)
        parts = [f"{form} {_said(speedups[T, most, form])}" for form in LOOKS]
        said.append(f"At T = {T} with {most} heads, the time of a loop over the heads over that of: {listed(parts)}.")
    if not said:
        return ("No cell was measured.",)
    return (*said, "All forms give the same numbers. Square brackets hold 95 % intervals over rounds.")


def _said(ratio: fits.Ratio) -> str:
    if not np.isfinite(ratio.high):
        return f"{number(ratio.value)} (one round)"
    doubt = ", not distinguishable from 1" if ratio.verdict == "not distinguishable" else ""
    return f"{number(ratio.value)} [{number(ratio.low)}, {number(ratio.high)}]{doubt}"


def _table(speedups: dict, compiling: dict) -> Table:
    rows = []
    for T, heads in compiling:
        ratios = [speedups[T, heads, form] for form in LOOKS]
        finite = [part if np.isfinite(part) else None for r in ratios for part in (r.value, r.low, r.high)]
        rows.append((T, heads, *finite, *compiling[T, heads]))
    columns = ("T", "heads", "loop / vmap", "low", "high", "loop / batched", "low ", "high ",
               "compiling the loop (s)", "vmap (s)", "batched (s)")  # fmt: skip
    return Table("How many times faster than a loop over the heads", columns, tuple(rows))


def _figure(speedups: dict) -> Figure:
    lengths = sorted({t for t, *_ in speedups})

    def draw(canvas):
        axes = panels.grid(canvas, 1, len(lengths), "number of heads")
        for T, one in zip(lengths, axes[0], strict=True):
            one.set_title(f"T = {T}")
            one.axhline(1, color="#555555", linewidth=1)
            for form, (color, marker, dashes) in LOOKS.items():
                heads = [h for t, h, name in speedups if (t, name) == (T, form)]
                values = np.array([speedups[T, h, form].value for h in heads])
                ends = np.array([(speedups[T, h, form].low, speedups[T, h, form].high) for h in heads]).T
                bars = np.where(np.isfinite(ends), np.abs(ends - values), 0)
                look = {"color": color, "marker": marker, "linestyle": dashes, "capsize": 2}
                one.errorbar(heads, values, bars, label=form, **look)
        panels.y_ticks(axes[0, 0], "time of the loop / time of the form")
        panels.doubling_ticks(axes, {heads for _, heads, _ in speedups})
        panels.legend(canvas, axes)

    caption = "Above the line the heads are faster together. Bars are 95 % intervals over rounds."
    return Figure("speedup_by_heads", "Speed-up over a loop, by number of heads", caption, draw, (10, 3.6))
