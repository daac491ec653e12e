"""How the reports say a number, a time, a list, and what the columns of a config mean."""

from collections.abc import Iterable
from math import isfinite

from transformer_jax import intervals as fits

PHASES = {"forward": "forward pass", "train": "training step", "decode": "decoding step"}
LEVELS = {"op": "the op alone", "block": "one block", "model": "the whole model"}
MATCHINGS = {"width": "width", "params": "number of parameters", "flops": "training FLOPs"}
STATUSES = {"ok": "succeeded", "oom": "ran out of memory", "timeout": "timed out", "nan": "gave NaN"}
NAMES = {"step_seconds": "time", "flops": "FLOPs", "memory_bytes": "memory"}


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def seconds(value: float) -> str:
    """A time in the unit that keeps it between 1 and 1000."""
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)) if value >= s), ("ns", 1e-9))
    return f"{number(value / size)} {unit}"


def percent(share: float) -> str:
    """Whole per cent, tenths below ten."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def listed(parts: Iterable[str], last: str = ", ") -> str:
    """`a, b, c`, or with `last=" and "` `a, b and c`."""
    *start, end = parts
    return f"{', '.join(start)}{last}{end}" if start else end


def times(ratio: fits.Ratio) -> str:
    """`2.1 [1.9, 2.3] times the time`, or that the two times cannot be told apart."""
    if not isfinite(ratio.high):
        return f"a time that one round cannot distinguish (ratio {number(ratio.value)})"
    value = f"{number(ratio.value)} [{number(ratio.low)}, {number(ratio.high)}]"
    if ratio.verdict == "not distinguishable":
        return f"a time that is not distinguishable (ratio {value})"
    if ratio.verdict == "inconclusive":
        return f"{value} times the time (inconclusive: the machine was noisy)"
    return f"{value} times the time"
