"""The peers in pictures: attention against length, and one dot for each recurrence and training step."""

from transformer_jax.report import panels
from transformer_jax.report.content import Figure
from transformer_jax.report.drawing import PALETTE
from transformer_jax.report.peer_pairs import ORDER, Pair, Study

# Colour, marker, dashes: any two differ in marker and dashes too; the markers of what is not JAX are filled.
LOOKS = {
    "PyTorch": (PALETTE["vermilion"], "o", "-"),
    "torch.compile": (PALETTE["orange"], "s", "-"),
    "jax.nn": (PALETTE["blue"], "v", (0, (4, 1.5))),
    "flax.linen": (PALETTE["green"], "D", (0, (6, 2, 1, 2))),
    "flax.nnx": (PALETTE["purple"], "X", (0, (1, 1))),
    "Keras": (PALETTE["sky"], "^", (0, (5, 2))),
    "ours: reference": (PALETTE["black"], "P", (0, (1, 2))),
}
SCALE = "our time / theirs (below 1: ours is faster)"


def figures(study: Study) -> tuple[Figure, ...]:
    """Every figure that has a point."""
    pairs = [pair for pair in study.pairs if pair.ratio and not pair.same_program and pair.peer in LOOKS]
    attention = [pair for pair in pairs if pair.problem in ORDER[:2]]
    others = [pair for pair in pairs if pair.problem not in ORDER[:2]]
    made = [_attention(attention)] if attention else []
    return tuple(made + ([_dots(others)] if others else []))


def _attention(pairs: list[Pair]) -> Figure:
    problems = [p for p in ORDER[:2] if any(pair.problem == p for pair in pairs)]
    works = sorted({pair.work for pair in pairs})

    def draw(canvas):
        axes = panels.grid(canvas, len(problems), len(works), "sequence length T")
        axes[0, 0].set_ylim(_limits(pairs))
        for row, problem in zip(axes, problems, strict=True):
            for one, work in zip(row, works, strict=True):
                one.set_title(f"{problem}, {work}")
                one.axhline(1, color="#555555", linewidth=1)
                for peer in LOOKS:
                    _line(one, [p for p in pairs if (p.problem, p.work, p.peer) == (problem, work, peer)])
            panels.y_ticks(row[0], "our time / theirs")
        panels.doubling_ticks(axes, {pair.length for pair in pairs})
        panels.legend(canvas, axes)

    return Figure(
        "attention_by_length",
        "Attention: our time over the others' against sequence length",
        "Below the line ours is faster. Bars are 95 % intervals over rounds. Lines end where an implementation that"
        " stores every score would need more memory than the sweep allows.",
        draw,
        (10.0, 0.9 + 3.0 * len(problems)),
    )


def _line(one, pairs: list[Pair]) -> None:
    if pairs:
        lengths, values = [pair.length for pair in pairs], [pair.ratio.value for pair in pairs]
        one.errorbar(lengths, values, _bars(pairs), label=pairs[0].peer, **_look(pairs[0].peer))


def _limits(pairs: list[Pair]) -> tuple[float, float]:
    """Room for every ratio and for 1; the interval of two rounds may reach far out of the picture."""
    values = [1.0, *(pair.ratio.value for pair in pairs)]
    return min(values) / 1.5, max(values) * 1.5


def _bars(pairs: list[Pair]) -> list[list[float]]:
    below = [pair.ratio.value - pair.ratio.low for pair in pairs]
    return [below, [pair.ratio.high - pair.ratio.value for pair in pairs]]


def _look(peer: str) -> dict:
    color, marker, dashes = LOOKS[peer]
    filled = color if peer in ("PyTorch", "torch.compile") else "white"
    return {"color": color, "marker": marker, "linestyle": dashes, "markerfacecolor": filled, "elinewidth": 0.8}


def _dots(pairs: list[Pair]) -> Figure:
    places = list(dict.fromkeys((pair.problem, pair.work, pair.length) for pair in pairs))
    height = 1.1 + 0.3 * len(places)

    def draw(canvas):
        axes = canvas.subplots(squeeze=False)
        canvas.subplots_adjust(left=0.36, right=0.97, bottom=0.5 / height, top=1 - 0.4 / height)
        one = axes[0, 0]
        one.set(xscale="log", xlim=_limits(pairs))
        one.axvline(1, color="#555555", linewidth=1)
        for peer in LOOKS:
            of_peer = [pair for pair in pairs if pair.peer == peer]
            at = [places.index((pair.problem, pair.work, pair.length)) for pair in of_peer]
            if of_peer:
                values = [pair.ratio.value for pair in of_peer]
                one.errorbar(values, at, xerr=_bars(of_peer), label=peer, **(_look(peer) | {"linestyle": "none"}))
        one.set_yticks(range(len(places)), [f"{problem}, {work}, T = {length}" for problem, work, length in places])
        one.invert_yaxis()
        one.set_xlabel(SCALE)
        _plain_ticks(one)
        panels.legend(canvas, axes)

    return Figure(
        "layers_and_steps",
        "Recurrent layers and training steps: our time over the others'",
        "Left of the line ours is faster. Bars are 95 % intervals over rounds.",
        draw,
        (10.0, height),
    )


def _plain_ticks(one) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = one.get_xlim()
    subs = (1, 2, 5) if high / low > 6 else tuple(range(1, 10))
    one.xaxis.set_major_locator(LogLocator(subs=subs))
    one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    one.xaxis.set_minor_formatter(NullFormatter())
