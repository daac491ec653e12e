"""Tables of plain values and estimates, and how a value is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan

from transformer_jax.intervals import Estimate
from transformer_jax.report.points import Rows, groups, mean, values


@dataclass(frozen=True)
class Table:
    """Named columns and rows of numbers, text, truth values and estimates; None where there is none."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    note: str = ""

    def __post_init__(self):
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: {len(self.columns)} columns but a row of another length")


def grid(title: str, index: Sequence[str], cells: Mapping[tuple, Mapping], note: str = "") -> Table:
    """One line for each key, the key's parts under the names of `index`; lines may differ in what columns they have."""
    columns = list(dict.fromkeys(name for line in cells.values() for name in line))
    numbers = sorted(name for name in columns if isinstance(name, (int, float)))
    columns = [name for name in columns if not isinstance(name, (int, float))] + numbers
    rows = tuple((*key, *(line.get(name) for name in columns)) for key, line in cells.items())
    return Table(title, (*index, *map(str, columns)), rows, note)


def table(rows: Rows, index: Sequence[str], columns: str, y: str, pair: str | None = "round", title: str = "") -> Table:
    """The mean of y, with its interval, for each combination of `index` and each value of `columns`."""
    names = values(rows, columns)
    cells = {
        key: dict.fromkeys(names) | {name: mean(part, y, pair) for (name,), part in groups(line, columns).items()}
        for key, line in groups(rows, *index).items()
    }
    return grid(title or f"{y} by {columns}".replace("_", " "), index, cells)


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return f"{value:,.0f}" if 99.95 <= abs(value) < 1e6 else f"{value:#.3g}"


def shown(value) -> str:
    """A value as a reader wants it: few digits, thousands apart, a dash for nothing, an estimate with its interval."""
    if isinstance(value, Estimate):
        if value.n == 0:
            return "no estimate"
        if isnan(value.value):
            if 0 < value.low and value.high < inf:
                return f"between {shown(value.low)} and {shown(value.high)}"
            bounds = (("above", value.low), ("below", value.high))
            return " ".join(f"{word} {shown(end)}" for word, end in bounds if 0 < end < inf) or "open"
        if not isfinite(value.high):
            return f"{number(value.value)} (one round)"
        interval = f" [{number(value.low)}, {number(value.high)}]" if value.low < value.high else ""
        return number(value.value) + interval
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and abs(value) < 10**7 and value == int(value):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    if isinstance(value, (int, float)):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
