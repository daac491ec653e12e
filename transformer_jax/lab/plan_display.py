"""What a person sees of a plan before it runs: its cells in tables that a terminal has room for."""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from transformer_jax.lab.display import short
from transformer_jax.lab.plan import Cell

WIDE = 1000  # columns: more than a table of a plan needs
NOTE = 24  # columns that a note has at least
ALL = "all cells"

Foreseen = tuple[Cell, Mapping[str, str]]
"""A cell, and by name what is known of it beforehand, as it is written; a note has no name."""


def _study(one: Foreseen) -> str:
    return next(iter(one[0].studies), "")


def _keys(one: Foreseen) -> tuple[str, ...]:
    return tuple(one[0].overrides)


def tables(
    cells: Sequence[Cell], predictions: Sequence[Mapping[str, Any]] | None, width: int
) -> Iterator[Table | Text]:
    """The cells of a plan, with whatever is predicted of each, within so many columns of a terminal.

    What all cells share is a line above one table of the rest. Where that is too wide each study has a line and a table
    of its own, or each set of keys in it; what still is too wide has a few lines for each cell. A cell of several
    studies is shown in its first.
    """
    each = [(cell, _written(of)) for cell, of in zip(cells, predictions or [{}] * len(cells), strict=True)]
    yield from _group(ALL, each, width, (_study, _keys))


def _group(
    name: str, each: Sequence[Foreseen], width: int, splits: Sequence[Callable[[Foreseen], Hashable]]
) -> Iterator[Table | Text]:
    """One table of such cells; or, where it is too wide, those of the groups that the first of the splits makes."""
    common = _common([cell for cell, _ in each])
    table, console = _table(each, common), Console(width=WIDE)
    too_wide = Measurement.get(console, console.options, table).minimum > width
    if too_wide and splits:
        split, *finer = splits
        groups: dict[Hashable, list[Foreseen]] = {}
        for one in each:
            groups.setdefault(split(one), []).append(one)
        for group in groups.values():
            count = f"{len(group)} cell" + "s" * (len(group) > 1)
            yield from _group(", ".join(filter(None, (_study(group[0]), count))), group, width, finer)
        return
    if common or name != ALL:
        yield _filled(f"{name}:", _words(common), width)
    if not too_wide:
        yield table
        return
    for cell, known in each:
        own = {key: value for key, value in cell.overrides.items() if key not in common}
        yield _filled("-", [*_words(own), *_words(known)], width)


def _table(each: Sequence[Foreseen], common: Mapping[str, Any]) -> Table:
    """A row for each cell, of what they do not have in common."""
    axes = [key for key in dict.fromkeys(key for cell, _ in each for key in cell.overrides) if key not in common]
    columns = list(dict.fromkeys(name for _, known in each for name in known))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in axes:
        table.add_column(_last(key), no_wrap=True)
    for column in filter(None, columns):
        table.add_column(column, justify="right", no_wrap=True)
    if "" in columns:  # notes alone may take several lines, in the last column
        columns = [*filter(None, columns), ""]
        longest = max(len(known.get("", "")) for _, known in each)
        table.add_column("", min_width=min(NOTE, longest))
    for cell, known in each:
        own = (Text(short(cell.overrides[key]) if key in cell.overrides else "") for key in axes)
        table.add_row(*own, *(Text(known.get(column, "")) for column in columns))
    return table


def _common(cells: Sequence[Cell]) -> dict[str, Any]:
    """What the studies set to the same for all of these cells; nothing where there is one cell."""
    first, *others = [cell.overrides for cell in cells]
    equal = {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}
    return equal if others else {}


def _written(prediction: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a cell; what is not has no column."""
    written = {name: f"{value:.3g}" if isinstance(value, (int, float)) else value for name, value in prediction.items()}
    return {name: text for name, text in written.items() if text}


def _words(values: Mapping[str, Any]) -> list[str]:
    return [f"{_last(key)}={short(value)}" if key else short(value) for key, value in values.items()]


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def _filled(begin: str, words: Sequence[str], width: int) -> Text:
    """In lines that break between words and, where one is too long, behind a comma or a blank in it."""
    lines, indent = [begin], "  "
    for word in words:
        parts = [word] if len(word) <= width - len(indent) else re.findall("[^, ]*[, ]*", word)
        for n, part in enumerate(parts):
            joint = "" if n else " "
            if len(lines[-1]) + len(joint) + len(part.rstrip()) <= width:
                lines[-1] += joint + part
            else:
                lines.append(indent + part)
    return Text("\n".join(line.rstrip() for line in lines))
