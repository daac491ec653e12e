"""Rows and columns of logarithmic panels: margins, axes with units, one legend, cells that hit a wall."""

from collections.abc import Iterable

import numpy as np

from transformer_jax.report.curves import Curve
from transformer_jax.report.drawing import PALETTE

# Colour, marker, dashes: any two differ in marker and dashes too, and attention's markers alone are filled.
LOOKS = {
    "attention (auto)": (PALETTE["black"], "o", "-"),
    "attention (reference)": (PALETTE["sky"], "s", (0, (5, 2))),
    "attention (xla)": (PALETTE["purple"], "X", (0, (1, 1))),
    "attention (blockwise)": (PALETTE["orange"], "P", (0, (3, 1, 1, 1))),
    "rnn": (PALETTE["orange"], "^", (0, (1, 1.5))),
    "gru": (PALETTE["green"], "D", (0, (6, 2, 1, 2))),
    "lstm": (PALETTE["blue"], "v", (0, (4, 1.5))),
    "min_gru": (PALETTE["vermilion"], "*", (0, (2, 1))),
    "min_gru (associative)": (PALETTE["purple"], "p", (0, (4, 1, 1, 1, 1, 1))),
}
OTHER_LOOK = (PALETTE["purple"], "h", (0, (3, 3)))
T_LABEL = "sequence length T (tokens)"
WALLS = {"oom": "out of memory", "timeout": "timed out"}

LEFT, RIGHT, BOTTOM, TITLE, LEGEND, BETWEEN = 0.8, 0.15, 0.5, 0.32, 0.3, 0.16
"""Margins in inches. Set outright: finding them by trial drawing doubles the time that a report takes."""


def grid(canvas, rows: int, columns: int, x_label: str, sharey: bool | str = True):
    """Axes of shape (rows, columns), logarithmic both ways, between a legend and a common x label."""
    width, height = canvas.get_size_inches()
    across = BETWEEN if sharey else LEFT
    axes_width = (width - LEFT - RIGHT - across * (columns - 1)) / columns
    axes_height = (height - BOTTOM - LEGEND - TITLE * rows) / rows
    axes = canvas.subplots(
        rows, columns, sharex=True, sharey=sharey, squeeze=False,
        gridspec_kw={
            "left": LEFT / width, "right": 1 - RIGHT / width, "wspace": across / axes_width,
            "bottom": BOTTOM / height, "top": 1 - (LEGEND + TITLE) / height, "hspace": TITLE / axes_height,
        },
    )  # fmt: skip
    for one in axes.flat:
        one.set(xscale="log", yscale="log")
        one.minorticks_off()
    canvas.text((1 + (LEFT - RIGHT) / width) / 2, 0.08 / height, x_label, ha="center", va="bottom")
    return axes


def look(name: str) -> dict:
    """Keyword arguments that draw one contender the same in every figure."""
    color, marker, dashes = LOOKS.get(name, OTHER_LOOK)
    return {
        "color": color, "marker": marker, "linestyle": dashes, "markersize": 7 if marker == "*" else 5,
        "markerfacecolor": color if name.startswith("attention") else "white",
    }  # fmt: skip


def legend(canvas, axes, names: Iterable[str] = (), extra: dict | None = None) -> None:
    """One legend on top: the named contenders, or whatever the axes have labelled, each once."""
    from matplotlib.lines import Line2D

    handles = {name: Line2D([], [], **look(name)) for name in dict.fromkeys(names)}
    for one in axes.flat:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    handles |= extra or {}
    if handles:
        canvas.legend(
            handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 1.0),
            ncols=len(handles), borderaxespad=0.2, columnspacing=1.4, handlelength=2.6,
        )  # fmt: skip


def doubling_ticks(axes, values: Iterable) -> None:
    """Labels the shared x axis at the values themselves (64, 128, ...), as many as there is room for."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    values = sorted(set(values))
    values = [value for value, after in zip(values, [*values[1:], np.inf], strict=True) if after >= 1.4 * value]
    first = axes.flat[0]
    inches = first.get_position().width * first.figure.get_size_inches()[0]
    every = int(np.ceil(0.38 * len(values) / inches))
    first.xaxis.set_major_locator(FixedLocator(values[::-every][::-1]))
    first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def y_ticks(axes, label: str, unit: str | None = None) -> None:
    """Ticks at powers of ten, between them too if there are few; `1 ms` with a unit, plain ratios without."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain if unit is None else EngFormatter(unit=unit))
    axes.set_ylabel(label)


def headroom(axes) -> None:
    """Room above the data of axes that share a y axis, where walls and notes can stand."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.1)


def walls(axes, curves: Iterable[Curve]) -> None:
    """Cells that failed: a cross in the contender's colour near the top, and in words what happened there."""
    failed = [(cell[c.axis], cell["status"], c.contender) for c in curves for cell in c.failed]
    height = {x: 0 for x, _, _ in failed}
    for x, status, contender in failed:
        y, at = 0.96 - 0.07 * height[x], axes.get_xaxis_transform()
        height[x] += 1
        color = LOOKS.get(contender, OTHER_LOOK)[0]
        axes.axvline(x, color="#999999", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        axes.plot([x], [y], marker="x", markeredgewidth=2, color=color, transform=at, clip_on=False)
        axes.annotate(
            WALLS.get(status, status), (x, y), xycoords=at, xytext=(-6, 0), textcoords="offset points",
            ha="right", va="center", fontsize=7.5, color="#444444",
        )  # fmt: skip
