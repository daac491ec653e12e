"""What a report is made of, before anything is drawn or written."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A picture: `draw` is given an empty matplotlib Figure to fill.

    `name` becomes the file's name and the anchor, so it is confined to lower-case letters, digits and `_`.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (9.0, 5.0)
    """Width and height in inches."""

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(f"a figure's name is made of a-z, 0-9 and _; {self.name!r} was given")


@dataclass(frozen=True)
class Table:
    """Named columns and rows of plain values: numbers, text, truth values, None where there is none."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    note: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: {len(self.columns)} columns but a row of {len(row)}")


@dataclass(frozen=True)
class Report:
    """What an experiment found. The sentences come first: each is a statement that the numbers make true."""

    title: str
    sentences: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
