"""The attention-cost figures over the shape of a model: heads, depth, and the parts of its step."""

import itertools
from collections import defaultdict
from functools import partial

import numpy as np

from transformer_jax.report import panels
from transformer_jax.report.content import Figure
from transformer_jax.report.curves import HOLD, LENGTH, Curve
from transformer_jax.report.drawing import PALETTE
from transformer_jax.report.growth import Share, Study

_LENGTH_LOOKS = (
    {"color": PALETTE["black"], "marker": "o", "linestyle": "-"},
    {"color": PALETTE["blue"], "marker": "s", "linestyle": (0, (5, 2))},
    {"color": PALETTE["vermilion"], "marker": "^", "linestyle": ":"},
    {"color": PALETTE["green"], "marker": "D", "linestyle": (0, (6, 2, 1, 2))},
    {"color": PALETTE["purple"], "marker": "v", "linestyle": (0, (3, 1, 1, 1))},
)


def heads(study: Study) -> Figure | None:
    """Time over the number of heads, for what a sweep holds fixed and each length."""
    return _relative(
        study.heads,
        "heads_by_length",
        "Heads and sequence length",
        "Time over the time with the fewest heads. Holding d_model, the heads share it; holding head_dim,"
        " each head brings its own width. Thin grey: the same ratio of FLOPs.",
        "number of heads",
        lambda c: f"{c.contender}, {c.level}, {c.phase}\nholding {c.held[HOLD]}",
    )


def depth(study: Study) -> Figure | None:
    """Time over the number of blocks, for each contender and length."""
    return _relative(
        study.depths,
        "depth_by_length",
        "Depth and sequence length",
        "Time over the time with the fewest blocks. Thin grey: the same ratio of FLOPs.",
        "number of blocks",
        lambda c: f"{c.contender}\n{c.level}, {c.phase}",
    )


def _relative(curves: list[Curve], name: str, title: str, caption: str, x_label: str, panel) -> Figure | None:
    groups = defaultdict(list)
    for curve in curves:
        if curve.samples("step_seconds"):
            groups[panel(curve)].append(curve)
    rows = -(-len(groups) // 6)
    draw = partial(_draw_relative, groups=groups, rows=rows, x_label=x_label)
    return Figure(name, title, caption, draw, (10, 0.8 + 2.9 * rows)) if groups else None


def _draw_relative(canvas, groups: dict[str, list[Curve]], rows: int, x_label: str) -> None:
    """Time over the time at the first point: one panel for each group of curves, one line for each length."""
    curves = [curve for group in groups.values() for curve in group]
    lengths = sorted({c.held[LENGTH] for c in curves})
    looks = dict(zip(lengths, itertools.cycle(_LENGTH_LOOKS), strict=False))
    axes = panels.grid(canvas, rows, -(-len(groups) // rows), x_label)
    for empty in axes.flat[len(groups) :]:
        empty.set_visible(False)
    for length, look in looks.items():  # in the legend in this order, whichever panel has them
        axes.flat[0].plot([], [], label=f"T = {length}", **look)
    for one, (name, group) in zip(axes.flat, groups.items(), strict=False):
        one.set_title(name, fontsize=9)
        for curve in sorted(group, key=lambda c: c.held[LENGTH]):
            points, medians = curve.medians("step_seconds")
            one.plot(points, np.divide(medians, medians[0]), **looks[curve.held[LENGTH]])
            points, flops = curve.medians("flops")
            if points:
                one.plot(points, np.divide(flops, flops[0]), color="#999999", linewidth=0.9, zorder=1)
        panels.walls(one, group)
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(min(low, 0.5), max(high, 2))
    for one in axes[:, 0]:
        panels.y_ticks(one, "time / time at the first point")
    panels.doubling_ticks(axes, {cell[c.axis] for c in curves for cell in (*c.cells, *c.failed)})
    panels.legend(canvas, axes)


def split(study: Study) -> Figure | None:
    """The op and the block as shares of the model."""
    if not study.shares:
        return None
    return Figure(
        "time_split",
        f"How much of the model's step is the mixer ({study.headline_phase})",
        "The mixer's op and the whole block, each timed alone and multiplied by the number of blocks, over"
        " the model's step at the same length. Between the lines: projections, MLP, norms, and in training their"
        " update. Above the upper line: embedding, head, loss and theirs. Parts timed alone can add up to more than"
        " the whole.",
        partial(_draw_split, shares=study.shares),
        (10, 3.4),
    )


def _draw_split(canvas, shares: list[Share]) -> None:
    from matplotlib.ticker import PercentFormatter

    names = list(dict.fromkeys(s.contender for s in shares))
    axes = panels.grid(canvas, 1, len(names), panels.T_LABEL)
    for name, one in zip(names, axes[0], strict=True):
        one.set_yscale("linear")
        one.set_title(name, fontsize=9)
        one.axhline(1, color="#444444", linewidth=0.8)
        mine = [s for s in shares if s.contender == name]
        one.fill_between([s.length for s in mine], [s.op for s in mine], color="#cccccc", linewidth=0)
        one.plot([s.length for s in mine], [s.op for s in mine], color="black", marker="o", label="mixer's op")
        blocks = [(s.length, s.block) for s in mine if s.block is not None]
        if blocks:
            look = {"color": PALETTE["blue"], "linestyle": (0, (5, 2)), "markerfacecolor": "white"}
            one.plot(*zip(*blocks, strict=True), marker="s", label="whole block", **look)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes[0, 0].set_ylabel("share of the model's step")
    panels.doubling_ticks(axes, {s.length for s in shares})
    panels.legend(canvas, axes)
