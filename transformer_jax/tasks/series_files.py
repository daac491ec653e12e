"""A series in a CSV file, a column of times and columns of numbers: its layout found, its rows checked, cut in time."""

import calendar
import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import nearest
from transformer_jax.tasks import sentences
from transformer_jax.tasks.raw import BadSource, Record, Splits

SPLIT_BY = "time: 70, 10 and 20 % of the steps, the earliest train"
SHARES = {"train": 7, "test": 2}
"""Tenths of the steps, rounded down; the rest validates. Usual since Zeng et al. 2023 (arXiv 2205.13504)."""
FEWEST = 10
"""Rows of which each part gets one at least."""

OTHER_DATE = re.compile(r"\d{1,4}[/.]\d{1,2}[/.]\d{1,4}\b")
"""01/31/2024, 31.1.24: which part is the month cannot be known."""

Time = datetime | int


class Layout(NamedTuple):
    """Which column of a file is what."""

    time: str
    columns: tuple[str, ...]
    """Those of the numbers, in the file's order or in that which was asked for."""

    @property
    def metadata(self) -> dict:
        """For the set's metadata.json."""
        return {"time_column": self.time, "columns": list(self.columns)}


ETT_FILE = "ETTh1.csv"
ETT = Layout("date", ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"))
ETT_COUNTS = {"train": 12 * 30 * 24, "validation": 4 * 30 * 24, "test": 4 * 30 * 24}
"""Hours of 12, 4 and 4 months of 30 days, as since Zhou et al. 2021 (arXiv 2012.07436); later hours are not used."""


def ett_h1(folder: Path) -> Splits:
    """ETTh1.csv, of which each part is as long as in the published comparisons."""
    return _parts(lambda: rows(folder / ETT_FILE, ETT), ETT_COUNTS)


def layout(path: Path, time_column: str | None = None, columns: Sequence[str] | None = None) -> Layout:
    """Which column has the times and which the numbers; only the first two lines are read.

    Args:
      time_column: that of the times; None: the one whose first cell is a date.
      columns: those of the numbers; None: all others.

    Raises:
      BadSource: no header, a column that is not there, no column of dates or several, none left for the numbers;
        what `sentences.lines` finds.
    """
    lines = _cells(path)
    names = next(lines, (1, []))[1]
    first = next(lines, (2, []))[1]
    where = f"{path}, line 1"
    if len(names) < 2:
        others = [mark for mark in ";\t|" if mark in "".join(names)]
        hint = f" (it has {others[0]!r}: put a comma in its place)" if others else ""
        raise BadSource(f"{where}: it must name two columns or more, with commas between them{hint}")
    if "" in names or len(set(names)) < len(names):
        wrong = next(name for name in names if name == "" or names.count(name) > 1)
        lacks = f"{names.count(wrong)} are called {wrong!r}" if wrong else f"column {names.index('') + 1} has no name"
        raise BadSource(f"{where}: each column needs a name of its own, and {lacks}")
    if all(_as_number(name) is not None or _as_date(name) is not None for name in names):
        raise BadSource(f"{where} has no names of columns ({', '.join(names[:3])}): put a line with them first")
    for name in (*([time_column] if time_column is not None else []), *(columns or ())):
        if name not in names:
            raise BadSource(f"{where}: no column {name!r}{nearest(name, names)}; it has {', '.join(names)}")
    if time_column is None:
        dates = [name for name, cell in zip(names, first, strict=False) if _is_date(cell)]
        if other := None if dates else next((cell for cell in first if OTHER_DATE.match(cell)), None):
            raise BadSource(
                f"{path}, line 2: {other!r} looks like a date, but times are read in ISO 8601 alone (2024-01-31 or"
                " 2024-01-31 18:00): write them so"
            )
        if len(dates) != 1:
            found = f"the first cells of {' and '.join(dates)} are dates" if dates else "no column begins with a date"
            raise BadSource(
                f"{path}, line 2: {found} (ISO 8601: 2024-01-31 or 2024-01-31 18:00):"
                f" name the column of the times with --time-column, one of {', '.join(names)}"
            )
        time_column = dates[0]
    numbers = tuple(columns or (name for name in names if name != time_column))
    if time_column in numbers or len(set(numbers)) < len(numbers):
        raise BadSource(f"{where}: --columns {','.join(numbers)} names one twice, or that of the times, {time_column}")
    return Layout(time_column, numbers)


def rows(path: Path, layout: Layout) -> Iterator[tuple[str, list[float]]]:
    """The time of each row, as it is written, and its numbers.

    Raises:
      BadSource: a row with more or fewer cells than the header; a cell that is empty, no number, or not finite; a time
        that does not follow the one before by the step from the first to the second; an empty line before the last.
    """
    lines = _cells(path)
    names = next(lines)[1]
    places, time_place = {name: names.index(name) for name in layout.columns}, names.index(layout.time)
    first, expected, before, empty = None, None, "", None
    for index, (number, cells) in enumerate(lines):
        where = f"{path}, line {number}"
        if not cells:
            empty = empty or number
            continue
        if empty:
            raise BadSource(f"{path}, line {empty} is empty, and line {number} is not: remove it")
        if len(cells) != len(names):
            raise BadSource(
                f"{where} has {len(cells)} cells, and line 1 names {len(names)} columns: as many are needed"
            )
        text = cells[time_place]
        time = _time(text, f"{where}, column {layout.time}")
        if index == 0:
            first = time
        elif index == 1:
            expected = _steps(first, time, f"{where}, column {layout.time}: {text} after {before}")
        elif time != expected(index):
            raise BadSource(
                f"{where}, column {layout.time}: {text} after {before}, where {expected(index)} was to come: times must"
                " rise by one step, that from the first row to the second, without gaps"
            )
        before = text
        yield text, [_number(cells[place], f"{where}, column {name}") for name, place in places.items()]


def cut(path: Path, layout: Layout) -> tuple[Splits, dict[str, int]]:
    """The records of each split, and how many these are; the file has been read through and checked once.

    Raises:
      BadSource: too few rows, or a column that does not vary in the training part; what `rows` finds.
    """
    count, ends = sum(1 for _ in rows(path, layout)), {}
    if count < FEWEST:
        raise BadSource(f"{path} has {count} rows: to be cut in three a series needs {FEWEST} at least")
    counts = {split: count * tenths // 10 for split, tenths in SHARES.items()}
    counts = {"train": counts["train"], "validation": count - sum(counts.values()), "test": counts["test"]}
    for _, values in islice(rows(path, layout), counts["train"]):
        for name, value in zip(layout.columns, values, strict=True):
            low, high = ends.get(name, (value, value))
            ends[name] = min(low, value), max(high, value)
    if still := [name for name, (low, high) in ends.items() if low == high]:
        raise BadSource(
            f"{path}, column {still[0]} is {ends[still[0]][0]:g} in all of the first {counts['train']} rows, which"
            " train: a column that does not vary there cannot be scaled by them; leave it out (--columns)"
        )
    return _parts(lambda: rows(path, layout), counts), counts


def _parts(read: Callable[[], Iterator[tuple[str, list[float]]]], counts: dict[str, int]) -> Splits:
    """Records one after another, the splits in the order of time."""

    def part(start: int, count: int) -> Iterator[Record]:
        for number, (time, values) in enumerate(islice(read(), start, start + count), start):
            yield number, {"time": time, "values": values}

    starts = [sum(list(counts.values())[:i]) for i in range(len(counts))]
    return {split: part(start, count) for start, (split, count) in zip(starts, counts.items(), strict=True)}


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of each line and its cells, without white space around them; none of an empty line.

    Raises:
      BadSource: a quotation mark that is not closed in its line; what `sentences.lines` finds.
    """
    for number, line in enumerate(sentences.lines(path), 1):
        try:
            (cells,) = csv.reader([line], strict=True) if line else ([],)
        except (csv.Error, ValueError) as error:
            raise BadSource(f"{path}, line {number} is no line of a CSV file: {error}") from None
        yield number, [cell.strip() for cell in cells]


def _time(cell: str, where: str) -> Time:
    if cell.lstrip("-").isdecimal():
        return int(cell)
    if (date := _as_date(cell)) is None:
        raise BadSource(f"{where}: {cell!r} is no time: ISO 8601 (2024-01-31 or 2024-01-31 18:00) or whole numbers")
    return date


def _as_date(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _is_date(cell: str) -> bool:
    """20240131 may be a number as well."""
    return _as_date(cell) is not None and _as_number(cell) is None


def _as_number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _number(cell: str, where: str) -> float:
    value = _as_number(cell)
    if value is None or not math.isfinite(value):
        what = "is empty" if cell == "" else f"has {cell!r}"
        hint = "" if cell == "" or value is not None else " (a column of other things: leave it out with --columns)"
        raise BadSource(
            f"{where} {what}: each cell must be a finite number, with a decimal point: fill or cut the series{hint}"
        )
    return value


def _steps(first: Time, second: Time, where: str) -> Callable[[int], Time]:
    """n -> the time of row n; months and years are steps as well, of the same day or from end to end."""
    dates = isinstance(first, datetime), isinstance(second, datetime)
    if dates == (True, True) and (first.tzinfo is None) == (second.tzinfo is None) and first < second:
        months = 12 * (second.year - first.year) + second.month - first.month
        if months and _later(first, months) == second:
            return lambda n: _later(first, months * n)
        return lambda n: first + n * (second - first)
    if dates == (False, False) and first < second:
        return lambda n: first + n * (second - first)
    raise BadSource(f"{where}: times must rise by one step, and be written in one form")


def _later(time: datetime, months: int) -> datetime:
    """So many months later: the last day of a month stays one; another day stays what it is, as far as there is one."""
    year, month = divmod(12 * time.year + time.month - 1 + months, 12)
    last, of_first = calendar.monthrange(year, month + 1)[1], calendar.monthrange(time.year, time.month)[1]
    return time.replace(year=year, month=month + 1, day=last if time.day == of_first else min(time.day, last))
