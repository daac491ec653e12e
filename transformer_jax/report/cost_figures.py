"""The figures of the attention-cost report, drawn from a `growth.Study`."""

from functools import partial
from statistics import median

import numpy as np

from transformer_jax.report import panels, shape_figures
from transformer_jax.report.content import Figure
from transformer_jax.report.curves import LEVEL, Curve, contender
from transformer_jax.report.drawing import PALETTE
from transformer_jax.report.growth import QUANTITIES, Crossing, Study, Versus
from transformer_jax.report.panels import LOOKS, OTHER_LOOK
from transformer_jax.report.words import percent

LEVELS = ("op", "block", "model")
MAX_FIT_ERROR = 0.25


def figures(study: Study) -> tuple[Figure, ...]:
    """Every figure for which there is at least one curve."""
    makers = (
        _time,
        _amounts,
        _matchings,
        shape_figures.heads,
        shape_figures.depth,
        shape_figures.split,
        _speed,
        _predicted,
    )
    return tuple(figure for make in makers if (figure := make(study)) is not None)


def _time(study: Study) -> Figure | None:
    curves = [c for c in study.lengths if c.matching == "width" and c.phase != "decode"]
    phases = [p for p in ("forward", "train") if any(c.phase == p for c in curves)]
    if not phases:
        return None
    return Figure(
        "time_by_length",
        "Time against sequence length",
        "Markers: median over rounds. Lines: fits of a + bT + cT² with no negative coefficient, over the lengths at"
        " which one program runs; straight lines from marker to marker where those are fewer than four, or where the"
        f" fit misses one by more than {percent(MAX_FIT_ERROR)}. Rings and the lists of T*: where attention's step"
        " becomes as long as the recurrence's of the same width (bar: 95 % interval). Crosses at the top: cells that"
        " did not succeed.",
        partial(_draw_growth, study=study, rows=[("step_seconds", p) for p in phases], curves=curves),
        (10, 0.8 + 3 * len(phases)),
    )


def _amounts(study: Study) -> Figure | None:
    phase = study.headline_phase
    curves = [c for c in study.lengths if c.matching == "width" and c.phase == phase]
    quantities = [q for q in ("flops", "memory_bytes") if any(c.samples(q) for c in curves)]
    if not quantities:
        return None
    return Figure(
        "flops_and_memory_by_length",
        f"FLOPs and memory against sequence length ({phase})",
        "FLOPs: all operations, counted in the jaxpr with loops multiplied out. Memory: what XLA plans"
        " for arguments, outputs and temporaries; a training step's old and new state both count. Both are"
        " properties of the program, without noise. Rings, for FLOPs alone: where attention's amount equals the"
        " recurrence's of the same width.",
        partial(_draw_growth, study=study, rows=[(q, phase) for q in quantities], curves=curves),
        (10, 0.8 + 3 * len(quantities)),
    )


def _draw_growth(canvas, study: Study, rows: list[tuple[str, str]], curves: list[Curve]) -> None:
    """One row of panels for each (quantity, phase), one column for each level."""
    from matplotlib.lines import Line2D

    levels = [level for level in LEVELS if any(c.level == level for c in curves)]
    axes = panels.grid(canvas, len(rows), len(levels), panels.T_LABEL, sharey="row")
    for (quantity, phase), line in zip(rows, axes, strict=True):
        for level, one in zip(levels, line, strict=True):
            here = [c for c in curves if (c.level, c.phase) == (level, phase)]
            if not here:
                one.set_axis_off()
                continue
            one.set_title(f"{level}, {phase}")
            for curve in here:
                _points_and_fit(one, study, curve, quantity)
            crossings = [x for x in study.crossings if x.place == (level, phase, "width", quantity)]
            _mark_crossings(one, crossings, quantity)
            panels.walls(one, here)
        panels.headroom(line[0])
        panels.y_ticks(line[0], *QUANTITIES[quantity])
    panels.doubling_ticks(axes, _lengths(curves))
    ring = Line2D([], [], marker="o", markersize=10, markerfacecolor="none", color="#444444", linestyle="none")
    panels.legend(canvas, axes, [c.contender for c in curves], {"crossover": ring})


def _lengths(curves: list[Curve]) -> set[int]:
    return {cell[c.axis] for c in curves for cell in (*c.cells, *c.failed)}


def _points_and_fit(axes, study: Study, curve: Curve, quantity: str) -> None:
    lengths, medians = curve.medians(quantity)
    if not lengths:
        return
    look = panels.look(curve.contender)
    growth = study.growth(curve, quantity)
    fitted = growth and growth.fitted
    if fitted is None or fitted.error > MAX_FIT_ERROR:
        axes.plot(lengths, medians, **look)
        return
    fine = np.geomspace(fitted.first, fitted.last, 40)
    axes.plot(fine, fitted(fine), color=look["color"], linestyle=look["linestyle"])
    axes.plot(lengths, medians, **look | {"linestyle": "none"})


def _mark_crossings(axes, crossings: list[Crossing], quantity: str) -> None:
    """A ring at each crossing, and in the empty corner the lengths as numbers."""
    noted = []
    for crossing in crossings:
        name, found = crossing.recurrence.contender, crossing.found
        noted.append(f"{name} {'none' if found.length is None else f'{found.length:.0f}'}")
        if found.length is None:
            continue
        lengths, medians = crossing.recurrence.medians(quantity)
        height = np.exp(np.interp(np.log(found.length), np.log(lengths), np.log(medians)))
        color = LOOKS.get(name, OTHER_LOOK)[0]
        axes.plot([found.length], [height], marker="o", markersize=10, markerfacecolor="none", color=color)
        axes.plot([found.low, found.high], [height, height], color=color, linewidth=3, alpha=0.5)
    if noted:
        axes.text(
            0.03,
            0.97,
            "\n".join(["T*", *noted]),
            transform=axes.transAxes,
            va="top",
            fontsize=7.5,
            color="#333333",
        )


def _matchings(study: Study) -> Figure | None:
    place = ("model", study.headline_phase)
    versus = [v for v in study.versus if (v.level, v.phase) == place]
    if not versus:
        return None
    return Figure(
        "attention_over_recurrence",
        f"Attention's step over the recurrence's, by what the two share ({', '.join(place)})",
        "Below 1 attention's step is the shorter one. Bars: 95 % intervals over rounds. Equal width, equal"
        " number of parameters and equal training FLOPs are three questions: where a line crosses 1 depends"
        " on which is asked.",
        partial(_draw_matchings, versus=versus),
        (10, 3.6),
    )


def _draw_matchings(canvas, versus: list[Versus]) -> None:
    looks = {
        "width": ("same width", PALETTE["black"], "o", "-"),
        "params": ("same number of parameters", PALETTE["vermilion"], "s", (0, (5, 2))),
        "flops": ("same training FLOPs", PALETTE["blue"], "^", (0, (1, 1.5))),
    }
    names = list(dict.fromkeys(v.recurrence for v in versus))
    axes = panels.grid(canvas, 1, len(names), panels.T_LABEL)
    for name, one in zip(names, axes[0], strict=True):
        one.set_title(f"against {name}")
        one.axhline(1, color="#444444", linewidth=0.8)
        for matching, (label, color, marker, dashes) in looks.items():
            mine = [v for v in versus if (v.recurrence, v.matching) == (name, matching)]
            if mine:
                value = np.array([v.ratio.value for v in mine])
                error = np.abs(np.array([(v.ratio.low, v.ratio.high) for v in mine]).T - value)
                error = np.where(np.isfinite(error), error, 0)  # one round has no interval
                one.errorbar(
                    [v.length for v in mine], value, error, color=color, marker=marker, linestyle=dashes,
                    capsize=2, label=label,
                )  # fmt: skip
    panels.y_ticks(axes[0, 0], "time with attention / with recurrence")
    panels.doubling_ticks(axes, {v.length for v in versus})
    panels.legend(canvas, axes)


def _speed(study: Study) -> Figure | None:
    curves = [c for c in study.lengths if c.level == "model" and c.matching == "width" and c.cells]
    if not curves:
        return None
    return Figure(
        "speed_and_decoding",
        "Tokens per second, and the cost of a new token",
        "Whole model. Forward and train: tokens per second, higher is faster. Decode: time of one step,"
        " which adds one token to each sequence of the batch, against the context, that token included.",
        partial(_draw_speed, curves=curves),
        (10, 3.6),
    )


def _draw_speed(canvas, curves: list[Curve]) -> None:
    phases = [p for p in ("forward", "train", "decode") if any(c.phase == p for c in curves)]
    axes = panels.grid(canvas, 1, len(phases), "sequence length T, or context when decoding (tokens)", sharey=False)
    for phase, one in zip(phases, axes[0], strict=True):
        one.set_title(phase)
        here = [c for c in curves if c.phase == phase]
        for curve in here:
            one.plot(
                *curve.medians("step_seconds" if phase == "decode" else "tokens_per_second"),
                **panels.look(curve.contender),
            )
        panels.walls(one, here)
        panels.headroom(one)
        panels.y_ticks(one, *(("time of a step", "s") if phase == "decode" else ("tokens per second", "")))
    panels.doubling_ticks(axes, _lengths(curves))
    panels.legend(canvas, axes, [c.contender for c in curves])


def _predicted(study: Study) -> Figure | None:
    cells = [c for c in study.cells if c.get("peak_share") and c["status"] == "ok"]
    if not cells:
        return None
    return Figure(
        "predicted_and_measured",
        "Predicted against measured time",
        "Predicted: closed-form matmul FLOPs over the matmul peak measured on this machine. On the diagonal"
        " a cell runs at that peak; ten times above it, at a tenth. Every cell that succeeded and has matmul"
        " FLOPs.",
        partial(_draw_predicted, cells=cells),
        (10, 4.0),
    )


def _draw_predicted(canvas, cells: list[dict]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator

    levels = [level for level in LEVELS if any(c.get(LEVEL) == level for c in cells)]
    names = sorted({contender(c) for c in cells}, key=lambda name: ([*LOOKS, name].index(name), name))
    axes = panels.grid(canvas, 1, len(levels), "predicted time of a step")
    for level, one in zip(levels, axes[0], strict=True):
        one.set_title(level)
        for name in names:
            mine = [c for c in cells if c.get(LEVEL) == level and contender(c) == name]
            measured = np.array([median(c["step_seconds"]) for c in mine])
            shares = [c["peak_share"] for c in mine]
            one.plot(measured * shares, measured, **panels.look(name) | {"linestyle": "none"}, alpha=0.75)
    ends = axes[0, 0].get_xlim()
    for one in axes[0]:
        one.plot(ends, ends, color="#444444", linewidth=0.8, zorder=0, label="at the measured peak")
    axes[0, 0].xaxis.set_major_locator(LogLocator())
    axes[0, 0].xaxis.set_major_formatter(EngFormatter(unit="s"))
    panels.y_ticks(axes[0, 0], "measured time of a step", "s")
    panels.legend(canvas, axes, names)
