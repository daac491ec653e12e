"""Figures over long rows: one line for each value of a column, one panel for each value of another; forest plots.

No screen, no LaTeX, legible in grey, safe inside a page. matplotlib is loaded when the first figure is drawn.
"""

import contextlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from transformer_jax import intervals
from transformer_jax.config import MIXERS
from transformer_jax.intervals import Estimate
from transformer_jax.report.points import Rows, column, groups, is_share, relative, samples, select, values
from transformer_jax.report.tables import shown

# Okabe and Ito's palette, which the common colour-blindnesses keep apart; any two differ in marker and dashes too.
# The mixers come first, so that each looks the same in every figure.
LOOKS = (
    ("#000000", "o", "-"), ("#E69F00", "^", (0, (1, 1.5))), ("#009E73", "D", (0, (6, 2, 1, 2))),
    ("#0072B2", "v", (0, (4, 1.5))), ("#D55E00", "*", (0, (2, 1))), ("#56B4E9", "s", (0, (5, 2))),
    ("#CC79A7", "X", (0, (1, 1))), ("#7F7F7F", "P", (0, (3, 1, 1, 1))), ("#8C510A", "p", (0, (4, 1, 1, 1, 1, 1))),
)  # fmt: skip
LABELS = {"seq_len": "sequence length T (tokens)", "num_heads": "number of heads", "num_layers": "number of blocks"}
UNITS = {"seconds": "s", "bytes": "B", "flops": "FLOP"}  # by the last word of a column's name
WALLS = {"oom": "out of memory", "timeout": "timed out"}
RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
SMALL = 6.0
"""Inches of width below which panels stand one above the other."""
STYLE = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.4,
    "lines.markersize": 5, "svg.fonttype": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A picture: `draw` is given an empty matplotlib Figure to fill; size in inches.

    `name` becomes the file's name and the anchor, so it is confined to lower-case letters, digits and `_`. `narrow` is
    the size at which it is drawn once more for a small screen; keys are those of the rows that it shows.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (10.0, 3.8)
    narrow: tuple[float, float] | None = None
    keys: frozenset[str] = frozenset()

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(f"a figure's name is made of a-z, 0-9 and _; {self.name!r} was given")


def render(figure: Figure) -> tuple[str, bytes]:
    """The figure as SVG text and PNG bytes, drawn once for both; equal figures give equal bytes."""
    with _drawn(figure) as canvas:
        return _svg(canvas), _png(canvas)


def svg(figure: Figure, narrow: bool = False) -> str:
    """The figure as SVG text, for a page; narrow: for a small screen."""
    with _drawn(figure, narrow) as canvas:
        return _svg(canvas)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, for a file."""
    with _drawn(figure) as canvas:
        return _png(canvas)


def _svg(canvas) -> str:
    file = io.StringIO()
    canvas.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return file.getvalue()


def _png(canvas) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


@contextlib.contextmanager
def _drawn(figure: Figure, narrow: bool = False):
    """A canvas with the figure on it, while the style holds."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"figure {figure.name}"}):
        canvas = Canvas(figsize=figure.narrow if narrow else figure.size, layout="constrained")
        figure.draw(canvas)
        for axis in (axis for one in canvas.axes for axis in (one.xaxis, one.yaxis)):
            for formatter in (axis.get_major_formatter(), axis.get_minor_formatter()):
                _write_powers(formatter)
        yield canvas


def _write_powers(formatter) -> None:
    """Lets it write 10² where it wrote mathematics, which no text of ours is read as: a dollar is a dollar."""
    original = formatter.format_ticks

    def plain(text: str) -> str:
        text = re.sub(r"\\math\w+|\\times", lambda found: "×" if "times" in found[0] else "", text.strip("$"))
        text = re.sub(r"\^\{([^}]*)\}", lambda found: found[1].translate(RAISED), text)
        return re.sub(r"[{}\\]", "", text)

    formatter.format_ticks = lambda ticks: [
        plain(text) if re.fullmatch(r"\$.+\$", text) else text for text in original(ticks)
    ]


def lines(
    rows: Rows, x: str, y: str, series: str, panel: str | Sequence[str] = (), *, pair: str | None = "round",
    log: str = "xy", relative_to: Mapping[str, Any] | None = None, reference: float | None = None,
    marks: Mapping[tuple, Mapping[str, Estimate]] | None = None, name: str, title: str = "", caption: str = "",
    x_label: str = "", y_label: str = "",
) -> Figure | None:  # fmt: skip
    """y over x with 95 % intervals: one line for each value of `series`, one panel for each value of `panel`.

    Args:
      log: which axes are logarithmic. On such a y points are geometric means, else means.
      relative_to: y is divided by y of the row that has these values and is else alike.
      reference: a level that is drawn as a line.
      marks: by panel and series, an x (a crossing) and its interval.

    Rows that failed are drawn as walls: a cross at their x, and what happened there. None: there is nothing to draw.
    """
    panels = (panel,) if isinstance(panel, str) else tuple(panel)
    y = column(rows, y)
    for asked in (x, series, *panels):  # a misspelt name is an error here, and not an empty figure
        column(rows, asked)
    if relative_to:
        on = [name for name in (x, series, *panels) if name not in relative_to]
        rows, y = relative(rows, y, select(rows, **relative_to), on), "ratio"
    rows = [row for row in rows if row.get(y) is not None or row.get("status", "ok") != "ok"]
    parts, names = groups(rows, *panels) if rows else {}, values(rows, series)
    wide = {4: 2}.get(len(parts), min(len(parts), 3))

    def draw(canvas):
        across = 1 if canvas.get_figwidth() < SMALL else wide
        axes = canvas.subplots(ceil(len(parts) / across), across, sharex=True, sharey=True, squeeze=False)
        axes[0, 0].set(**{f"{axis}scale": "log" for axis in log})
        styles = dict(zip(map(str, names), _styles(names), strict=True))
        for one, (key, part) in zip(axes.flat, parts.items(), strict=False):
            one.set_title(", ".join(_named(p, v) for p, v in zip(panels, key, strict=True)))
            if reference is not None:
                one.axhline(reference, color="#555555", linewidth=1, zorder=1)
            for (value,), line in groups(part, series).items():
                _line(one, line, x, y, pair, "y" in log, label=_named(series, value), **styles[str(value)])
                _walls(one, line, column(rows, x), styles[str(value)]["color"])
            _marks(one, (marks or {}).get(key, {}), styles)
        for empty in axes.flat[len(parts) :]:
            empty.set_visible(False)
        for one in axes.flat:
            _ticks(one.xaxis, "x" in log, values(rows, x), room=(21 if across == wide else 8) // across)
            _ticks(one.yaxis, "y" in log, unit=UNITS.get(y.rpartition("_")[2], ""))
            for axis, name in ((one.xaxis, x), (one.yaxis, y)):
                if axis.axis_name not in log and all(isinstance(value, int) for value in values(rows, name)):
                    whole(axis)
        canvas.supxlabel(x_label or LABELS.get(x, x.replace("_", " ")), fontsize=9)
        canvas.supylabel(y_label or y.replace("_", " "), fontsize=9)
        _legend(canvas)

    if not parts:
        return None
    down = ceil(len(parts) / wide)
    size, narrow = (10, 1 + (2.1 if down == 1 else 2.6 * down)), (4.6, 1.3 + 2.2 * len(parts))
    drawn = [row for row in rows if row.get(column(rows, x)) is not None and row.get(column(rows, series)) is not None]
    keys = frozenset(row["key"] for row in drawn if "key" in row)
    return Figure(name, title or name.replace("_", " "), caption, draw, size, narrow, keys)


def _styles(names: Sequence) -> list[dict]:
    """How each name is drawn: a mixer as always, other names in turn, the looks of mixers that are not there last."""
    known, there = dict(zip(MIXERS, LOOKS, strict=False)), set(map(str, names))
    absent = [look for mixer, look in known.items() if mixer not in there]
    others = [look for look in LOOKS if look not in known.values()]
    free = [*others, *absent] if there & set(known) else list(LOOKS)
    looks = [known.get(str(name)) or (free.pop(0) if free else LOOKS[-1]) for name in names]
    return [
        {"color": color, "marker": marker, "linestyle": dashes, "markerfacecolor": color if marker == "o" else "white"}
        for color, marker, dashes in looks
    ]


def _line(one, rows: Rows, x: str, y: str, pair: str | None, log: bool, **style) -> None:
    """Each point by itself: it need not share its rounds with the others."""
    points = {}
    for (value,), part in groups(rows, x).items():
        _, found = samples(part, y, pair)
        if found.size and not (log and found.min() <= 0):
            ends = np.squeeze(intervals.interval(np.log(found) if log else found, pair is None), axis=1)
            ends = np.where(np.isfinite(ends), ends, ends[0])  # one round has no interval
            points[value] = np.exp(ends) if log else ends
            points[value] = np.clip(points[value], 0, 1) if is_share(y) else points[value]
    if points:
        centre, low, high = np.array(list(points.values())).T
        bars = np.array([centre - low, high - centre])
        one.errorbar(list(points), centre, bars if bars.any() else None, elinewidth=0.9, capsize=2, **style)


def _marks(one, marks: Mapping[str, Estimate], styles: Mapping[str, dict]) -> None:
    """At each mark a line in the colour of its name, a band over its interval or bounds; the numbers in a corner."""
    for name, mark in marks.items():
        if np.isfinite(mark.value):
            one.axvline(mark.value, color=styles[name]["color"], linestyle=styles[name]["linestyle"], linewidth=0.9)
        if mark.low > 0 and np.isfinite(mark.high):
            one.axvspan(mark.low, mark.high, color=styles[name]["color"], alpha=0.12, linewidth=0)
    found = {name: f"{'at ' if np.isfinite(mark.value) else ''}{shown(mark)}" for name, mark in marks.items() if mark.n}
    text = "\n".join(f"crosses {name} {where}" for name, where in found.items() if where != "open")
    if text:  # behind the lines
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
        one.text(0.03, 0.97, text, transform=one.transAxes, va="top", fontsize=8, zorder=1.5, bbox=box)


def _walls(one, rows: Rows, x: str, color: str) -> None:
    """Cells that failed: a cross in the line's colour near the top, and what happened there. One without an x, which
    would have measured it, has no place."""
    failed = {(row[x], row["status"]) for row in rows if row.get("status", "ok") != "ok" and row.get(x) is not None}
    for at, status in sorted(failed):
        one.axvline(at, color="#999999", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        one.plot([at], [0.95], "x", markeredgewidth=2, color=color, transform=one.get_xaxis_transform())
        one.annotate(WALLS.get(status, status), (at, 0.95), xycoords=one.get_xaxis_transform(), xytext=(-6, 0),
                     textcoords="offset points", ha="right", va="center", fontsize=7.5)  # fmt: skip


def _ticks(axis, log: bool, at: Sequence[float] = (), room: int = 1, unit: str = "") -> None:
    """Plain numbers: at the values themselves, as many as there is room for; else 1, 2, 5, 10. Of more values than
    that, over more than four powers of ten, the powers."""
    from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogFormatterMathtext, LogLocator

    low, high = axis.get_view_interval()
    powers = log and len(at) > room and max(at) > 1e4 * min(at)
    if powers:
        axis.set_major_locator(LogLocator(numticks=room))
    elif log and at:
        at = sorted(at)
        if at[0] == at[-1]:  # of one value a logarithmic axis makes a range of no width
            axis.axes.set_xlim(at[0] / 2, at[0] * 2)
        at = [v for v, after in zip(at, [*at[1:], np.inf], strict=True) if after >= 1.4 * v]
        axis.set_major_locator(FixedLocator(at[:: -ceil(len(at) / room)][::-1]))
    elif log:
        subs = range(1, 10) if high < 5 * low else (1, 2, 5) if high < 300 * low else (1,)
        axis.set_major_locator(LogLocator(subs=subs))
    plain = EngFormatter(unit=unit) if unit else FuncFormatter(_plain)
    axis.set_major_formatter(LogFormatterMathtext() if powers else plain)
    axis.minorticks_off()


def whole(*axes) -> None:
    """Ticks of linear axes at whole numbers alone: of steps, seeds, lengths and counts there are no others."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True))


def _plain(value: float, _=None) -> str:
    """Whole numbers as they are, others to three digits: a tick may stand at what was measured."""
    return f"{value:.6g}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"


def _legend(canvas) -> None:
    """Above the panels, each name once."""
    found = [pair for one in canvas.axes for pair in zip(*one.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in found}
    most = 2 if canvas.get_figwidth() < SMALL else 6
    canvas.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(handles), most) or 1)


def _named(column: str, value) -> str:
    """A name says what it is; a number says of what."""
    return str(value) if isinstance(value, str) else f"{column.replace('_', ' ')} {value}"


def dots(found: Mapping[str, Mapping[str, Estimate]], *, reference: float = 1, name: str, title: str = "",
         caption: str = "", x_label: str = "") -> Figure | None:  # fmt: skip
    """A forest plot on a logarithmic axis: a line for each key, a mark and interval for each of its named estimates."""
    names = list(dict.fromkeys(n for line in found.values() for n in line))

    def draw(canvas):
        one = canvas.subplots()
        one.set_xscale("log")
        one.axvline(reference, color="#555555", linewidth=1)
        for place, (label, style) in enumerate(zip(names, _styles(names), strict=True)):
            mine = {i: line[label] for i, line in enumerate(found.values()) if label in line and line[label].n}
            at = [i + (place / max(len(names) - 1, 1) - 0.5) * 0.4 for i in mine]
            bars = np.array([(e.value - e.low, e.high - e.value) for e in mine.values()]).reshape(-1, 2).T
            bars = np.where(np.isfinite(bars), bars, 0)
            one.errorbar([e.value for e in mine.values()], at, xerr=bars, label=label, **style | {"linestyle": "none"})
        one.set_yticks(range(len(found)), found)
        one.invert_yaxis()
        one.set_xlabel(x_label)
        _ticks(one.xaxis, log=True)
        _legend(canvas)

    height = 1.1 + 0.32 * len(found)
    return Figure(name, title, caption, draw, (10, height), (5, height)) if found else None
