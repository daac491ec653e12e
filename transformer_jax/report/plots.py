"""Figures over long rows: one line for each value of a column, one panel for each value of another; forest plots.

No screen, no LaTeX, legible in grey, safe inside a page. matplotlib is loaded when the first figure is drawn.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np

from transformer_jax import intervals
from transformer_jax.config import MIXERS
from transformer_jax.intervals import Estimate
from transformer_jax.report.points import Rows, column, groups, relative, samples, select, values
from transformer_jax.report.tables import shown

# Okabe and Ito's palette, which the common colour-blindnesses keep apart; any two looks differ in marker and dashes too.
# The mixers come first, so that each looks the same in every figure; the first look alone has filled markers.
LOOKS = (
    ("#000000", "o", "-"), ("#E69F00", "^", (0, (1, 1.5))), ("#009E73", "D", (0, (6, 2, 1, 2))),
    ("#0072B2", "v", (0, (4, 1.5))), ("#D55E00", "*", (0, (2, 1))), ("#56B4E9", "s", (0, (5, 2))),
    ("#CC79A7", "X", (0, (1, 1))), ("#7F7F7F", "P", (0, (3, 1, 1, 1))), ("#8C510A", "p", (0, (4, 1, 1, 1, 1, 1))),
)  # fmt: skip
LABELS = {
    "seq_len": "sequence length T (tokens)", "num_heads": "number of heads", "num_layers": "number of blocks",
    "step_seconds": "time of a step", "flops": "operations of a step", "memory_bytes": "memory",
}  # fmt: skip
UNITS = {"seconds": "s", "bytes": "B", "flops": "FLOP"}
"""By the last word of a column's name."""
WALLS = {"oom": "out of memory", "timeout": "timed out"}
STYLE = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.4,
    "lines.markersize": 5, "svg.fonttype": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A picture: `draw` is given an empty matplotlib Figure to fill; size in inches.

    `name` becomes the file's name and the anchor, so it is confined to lower-case letters, digits and `_`.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (10.0, 3.8)

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(f"a figure's name is made of a-z, 0-9 and _; {self.name!r} was given")


def render(figure: Figure) -> tuple[str, bytes]:
    """The figure as SVG text and PNG bytes; equal figures give equal bytes."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": figure.name}):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        canvas.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def lines(
    rows: Rows, x: str, y: str, series: str, panel: str | Sequence[str] | None = None, *, pair: str | None = "round",
    log: str = "xy", relative_to: Mapping[str, Any] | None = None, inverse: bool = False,
    reference: float | str | None = None, marks: Mapping[tuple, Mapping[str, Estimate]] | None = None,
    join: bool = True, name: str, title: str = "", caption: str = "", x_label: str = "", y_label: str = "",
) -> Figure:  # fmt: skip
    """y over x with 95 % intervals: one line for each value of `series`, one panel for each value of `panel`.

    Args:
      log: which axes are logarithmic. On such a y points are geometric means, else means.
      relative_to: y is divided by y of the row that has these values and is else alike; inverse: the other way round.
      reference: a level, or a counted column drawn thin and grey.
      marks: by panel and series, where on x a ring and its interval are drawn (a crossing).
      join: lines from point to point.

    Rows that failed are drawn as walls: a cross at their x, and what happened there.
    """
    panels = (panel,) if isinstance(panel, str) else tuple(panel or ())
    drawn = {}
    for key, part in groups(rows, *panels).items():
        grey = list(part) if isinstance(reference, str) else []
        if relative_to:
            on = [c for c in (x, series) if c not in relative_to]
            part = relative(part, y, select(part, **relative_to), on, inverse)
            grey = grey and relative(grey, reference, select(grey, **relative_to), on, inverse)
        if any(row.get(column(rows, y)) is not None or row.get("status", "ok") != "ok" for row in part):
            drawn[key] = part, grey

    def draw(canvas):
        across = min(len(drawn), 3 if len(drawn) != 4 else 4)
        axes = canvas.subplots(-(-len(drawn) // across), across, sharex=True, sharey=True, squeeze=False)
        looks = dict(zip(map(str, names), _looks(names), strict=True))
        for one, (key, (part, grey)) in zip(axes.flat, drawn.items(), strict=False):
            one.set_title(", ".join(_named(p, v) for p, v in zip(panels, key, strict=True)))
            one.set(**{f"{axis}scale": "log" for axis in log})
            if isinstance(reference, (int, float)):
                one.axhline(reference, color="#555555", linewidth=1, zorder=1)
            for line in groups(grey, series).values():
                at, found = samples(line, reference, None, x)
                one.plot([p for (p,) in at], found[0] if found.size else [], color="#999999", linewidth=0.9, zorder=1)
            for (value,), line in groups(part, series).items():
                _line(one, line, x, y, pair, "y" in log, looks[str(value)], _named(series, value), join)
            _marks(one, (marks or {}).get(key, {}), looks)
            _walls(one, [(row[column(rows, x)], row["status"], looks[str(row.get(column(rows, series)))])
                         for row in part if row.get("status", "ok") != "ok"])  # fmt: skip
        for empty in axes.flat[len(drawn) :]:
            empty.set_visible(False)
        _ticks(axes, values(rows, x) if join else [], log, y if not relative_to else "")
        canvas.supxlabel(x_label or LABELS.get(x, x.replace("_", " ")), fontsize=9)
        for one in axes[:, 0]:
            one.set_ylabel(y_label or LABELS.get(y, y.replace("_", " ")))
        _legend(canvas, axes)

    names = values(rows, series)
    if not drawn:
        return Figure(name, title or name, "Nothing to draw: no row has these numbers.", lambda canvas: None, (4, 0.3))
    high = 0.9 + 2.7 * ceil(len(drawn) / (3 if len(drawn) != 4 else 4))
    return Figure(name, title or name.replace("_", " "), caption, draw, (10, high))


def _looks(names: Sequence) -> list[tuple]:
    """A look for each name: a mixer's own, the next free one for other names and for a mixer's second form."""
    taken: list[int] = []
    for name in names:
        word = str(name).split(" ")[0]
        own = list(MIXERS).index(word) if word in MIXERS else -1
        others = any(str(n).split(" ")[0] in MIXERS for n in names)
        free = [i for i in range(len(MIXERS) if others else 0, len(LOOKS)) if i not in taken] or [len(LOOKS) - 1]
        taken.append(own if own >= 0 and own not in taken else free[0])
    return [LOOKS[i] for i in taken]


def _style(look: tuple) -> dict:
    color, marker, dashes = look
    return {
        "color": color, "marker": marker, "linestyle": dashes, "markersize": 7 if marker == "*" else 5,
        "markerfacecolor": color if look == LOOKS[0] else "white",
    }  # fmt: skip


def _line(one, rows: Rows, x: str, y: str, pair: str | None, log: bool, look: tuple, label: str, join: bool) -> None:
    """Each point by itself: it need not share its rounds with the others."""
    at, ends = [], []
    for (value,), part in groups(rows, x).items():
        _, found = samples(part, y, pair)
        if found.size and not (log and (found <= 0).any()):
            centre, low, high = intervals.interval(np.log(found) if log else found, pair is None)
            at.append(value)
            ends.append([np.exp(v[0]) if log else v[0] for v in (centre, low, high)])
    if at:
        centre, low, high = np.array(ends).T
        bars = np.where(np.isfinite([low, high]), np.abs([centre - low, high - centre]), 0)
        style = _style(look) | ({} if join else {"linestyle": "none"})
        one.errorbar(at, centre, bars if bars.any() else None, label=label, elinewidth=0.9, capsize=2, **style)


def _marks(one, marks: Mapping[str, Estimate], looks: Mapping[str, tuple]) -> None:
    """A ring where the line of that name is at the mark's x, a bar over its interval, and the numbers in the corner."""
    for name, mark in marks.items():
        line = next((c for c in one.containers if c.get_label() == name), None)
        if line is not None and mark.value == mark.value:
            xs, ys = (np.asarray(values, float) for values in line.lines[0].get_data())
            height = np.exp(np.interp(np.log(mark.value), np.log(xs), np.log(ys)))
            color = looks[name][0]
            one.plot([mark.value], [height], marker="o", markersize=10, markerfacecolor="none", color=color)
            one.plot([mark.low, mark.high], [height, height], color=color, linewidth=3, alpha=0.5)
    if marks:
        noted = [f"{name} {shown(mark)}" for name, mark in marks.items() if mark.n]
        one.text(0.03, 0.97, "\n".join(["crosses at", *noted]), transform=one.transAxes, va="top", fontsize=7.5)


def _walls(one, failed: Sequence[tuple]) -> None:
    """Cells that failed: a cross in the line's colour near the top, and what happened there."""
    for x, status, look in dict.fromkeys(failed):
        color, at = look[0], one.get_xaxis_transform()
        one.axvline(x, color="#999999", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        one.plot([x], [0.95], marker="x", markeredgewidth=2, color=color, transform=at, clip_on=False)
        one.annotate(WALLS.get(status, status), (x, 0.95), xycoords=at, xytext=(-6, 0), textcoords="offset points",
                     ha="right", va="center", fontsize=7.5, color="#444444")  # fmt: skip


def _ticks(axes, xs: Sequence[float], log: str, y: str) -> None:
    """x labelled at the values themselves, as many as there is room for; y with its unit."""
    from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator

    one, plain = axes.flat[0], FuncFormatter(lambda value, _: f"{value:g}")
    if xs and "x" in log:
        xs = [v for v, after in zip(xs, [*xs[1:], np.inf], strict=True) if after >= 1.4 * v]
        every = ceil(len(xs) / (21 / axes.shape[1]))
        one.xaxis.set_major_locator(FixedLocator(xs[::-every][::-1]))
    one.xaxis.set_major_formatter(plain if xs else EngFormatter())
    unit = UNITS.get(y.rpartition("_")[2])
    if "y" in log:
        low, high = one.get_ylim()
        one.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    one.yaxis.set_major_formatter(EngFormatter(unit=unit) if unit else plain)
    for each in axes.flat:
        each.minorticks_off()


def _legend(canvas, axes) -> None:
    handles = {}
    for one in axes.flat:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        canvas.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(handles), 6))


def _named(column: str, value) -> str:
    """A name says what it is; a number says of what."""
    return str(value) if isinstance(value, str) else f"{column.replace('_', ' ')} {value}"


def dots(found: Mapping[str, Mapping[str, Estimate]], *, log: bool = True, reference: float | None = 1, name: str,
         title: str = "", caption: str = "", x_label: str = "") -> Figure:  # fmt: skip
    """A forest plot: one line of the picture for each key, one mark and interval for each of its named estimates."""
    found = {key: {n: e for n, e in line.items() if e.n} for key, line in found.items()}
    found = {key: line for key, line in found.items() if line}
    names = list(dict.fromkeys(n for line in found.values() for n in line))

    def draw(canvas):
        one = canvas.subplots()
        one.set_xscale("log" if log else "linear")
        if reference is not None:
            one.axvline(reference, color="#555555", linewidth=1)
        for place, (label, look) in enumerate(zip(names, _looks(names), strict=True)):
            at = [i + (place - (len(names) - 1) / 2) * 0.5 / len(names) for i, l in enumerate(found.values()) if label in l]
            mine = [line[label] for line in found.values() if label in line]
            bars = np.array([(e.value - e.low, e.high - e.value) if isfinite(e.high) else (0, 0) for e in mine]).T
            one.errorbar([e.value for e in mine], at, xerr=bars, label=label, **_style(look) | {"linestyle": "none"})
        one.set_yticks(range(len(found)), found)
        one.invert_yaxis()
        one.set_xlabel(x_label)
        _legend(canvas, np.array([one]))

    return Figure(name, title or name.replace("_", " "), caption, draw, (10, 1.1 + 0.32 * len(found)))
