"""Result folders beside each other: the cells that they share, how many times as long each takes, what differs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax import intervals
from transformer_jax.config import SAMPLING, ConfigError, unread
from transformer_jax.intervals import Estimate
from transformer_jax.lab import rows
from transformer_jax.report import Figure, Finding, Report, Table, dots
from transformer_jax.report.points import is_positive, merge

TIME = "step_seconds"
NOT_COMPARED = (*SAMPLING, "task.data_dir", "task.workers")  # of a config: how and from where, not what
PROVENANCE = ("commit", "dirty", "code", "platform", *rows.COMPARED)
DRAWN = 40  # cells in a figure
NAMED = 3  # cells in a message
USUAL = 0.8  # so many cells have what then goes without saying

Key = tuple[str, int | None]  # a cell's config as text, and the part of it


class Side(NamedTuple):
    """What one folder holds."""

    name: str
    header: dict
    base: dict[str, Any]
    cells: dict[Key, list[dict]]
    """By cell its rows, one for each round."""


class Shared(NamedTuple):
    """A cell that both folders hold."""

    label: str
    studies: tuple[str, ...]
    ratio: Estimate
    """Of times, the later folder's over the earlier one's; n = 0 where one of them has no time."""
    statuses: tuple[str, str]

    @property
    def verdict(self) -> str:
        """What the interval allows to conclude of the later folder, or how the cell ended in both."""
        if self.ratio.n:
            return intervals.verdict(self.ratio)
        return self.statuses[0] if self.statuses[0] == self.statuses[1] else " → ".join(self.statuses)


class Comparison(NamedTuple):
    """A folder against the first one."""

    name: str
    shared: list[Shared]
    only: tuple[list[str], list[str]]
    """Labels of the cells that only the first folder holds, and only this one."""

    @property
    def counts(self) -> Counter:
        """How many cells have which verdict."""
        return Counter(cell.verdict for cell in self.shared)

    def slower_than(self, factor: float) -> list[Shared]:
        """The cells whose ratio's whole interval lies above the factor."""
        return [cell for cell in self.shared if cell.ratio.n and cell.ratio.low > factor]


def read(folders: Sequence[Path]) -> list[Side]:
    """What the folders hold, of each what its last launch stands by; ready to be compared.

    A key of the config that the code behind one folder did not have yet stands at the value of the others' base.

    Raises:
      FolderError: no results, or rows in one folder that must not be compared with each other.
      ConfigError: the folders hold different experiments, or no times.
    """
    found = [rows.current(rows.read(folder)) for folder in folders]
    for folder, results in zip(folders, found, strict=True):
        if not results.rows:
            raise ConfigError(f"{folder} holds no rows to compare")
    names = dict.fromkeys(results.headers[-1].get("experiment") for results in found)
    if len(names) > 1:
        raise ConfigError(f"the folders hold different experiments: {', '.join(map(str, names))}")
    if not any(is_positive(row.get(TIME)) for results in found for row in results.rows):
        raise ConfigError(f"{next(iter(names))} measures no times ({TIME}): there is nothing to compare")
    base: dict[str, Any] = {}
    for results in found:
        base = results.headers[-1]["base"] | base
    keys = sorted(base.keys() - set(NOT_COMPARED))
    return [_side(name, results, base, keys) for name, results in zip(_names(folders), found, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names where these tell them apart, else their paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _side(name: str, results: rows.Results, base: dict[str, Any], keys: Sequence[str]) -> Side:
    cells: dict[Key, list[dict]] = {}
    for row in results.rows:
        config = json.dumps([row.get(key, base[key]) for key in keys])
        cells.setdefault((config, row.get("part")), []).append(base | row)
    return Side(name, results.headers[-1], base, cells)


def compare(before: Side, after: Side) -> Comparison:
    """The cells of both, and those of one alone.

    The samples of two runs are not paired by round, so the interval is that of two independent means of log times.
    """
    common = [key for key in before.cells if key in after.cells]
    labels = _labels({**before.cells, **after.cells}, before.base)
    shared = [_shared(labels[key], before.cells[key], after.cells[key]) for key in common]
    only = [[labels[key] for key in one.cells if key not in other.cells]
            for one, other in ((before, after), (after, before))]  # fmt: skip
    return Comparison(after.name, shared, tuple(only))


def require_common(sides: Sequence[Side], comparisons: Sequence[Comparison]) -> None:
    """Raises ConfigError where the first folder shares no cell with any other, with what differs."""
    if any(one.shared for one in comparisons):
        return
    bases = [line for line in differences(sides).rows if "." in line[0]]
    held = [(sides[0].name, comparisons[0].only[0]), *((one.name, one.only[1]) for one in comparisons)]
    differ = [f"{key} is {', '.join(f'{text} in {side.name}' for side, text in zip(sides, texts, strict=True))}"
              for key, *texts in bases]  # fmt: skip
    differ = differ or [f"{name} holds {_first(labels)}" for name, labels in held]
    raise ConfigError(f"no cell is common to {' and '.join(side.name for side in sides)}: {'; '.join(differ)}")


def _first(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return ", ".join(labels[:NAMED]) + more


def _shared(label: str, before: list[dict], after: list[dict]) -> Shared:
    times = [[row[TIME] for row in of_cell if row["status"] == "ok" and is_positive(row.get(TIME))]
             for of_cell in (before, after)]  # fmt: skip
    ratio = intervals.ratio_unpaired(times[1], times[0]) if all(times) else intervals.NOTHING
    statuses = tuple(merge(of_cell)[0]["status"] for of_cell in (before, after))
    studies = dict.fromkeys(name for row in (*after, *before) for name in row.get("studies", ()))
    return Shared(label, tuple(studies), ratio, statuses)


def _labels(cells: Mapping[Key, list[dict]], base: Mapping[str, Any]) -> dict[Key, str]:
    """Each cell by what varies among all of them and its mixer reads: "mixer=lstm seq_len=128".

    What nearly all cells have as the base has it (4 heads) is named in the others alone.
    """
    first = {key: of_cell[0] for key, of_cell in cells.items()}
    columns = dict.fromkeys(c for row in first.values() for c in row if "." in c and c not in NOT_COMPARED)
    varied = [c for c in columns if len({json.dumps(row.get(c)) for row in first.values()}) > 1]
    usual = {c for c in varied if sum(row.get(c) == base.get(c) for row in first.values()) >= USUAL * len(first)}

    def label(key: Key, named: Sequence[str]) -> str:
        row, (_, part) = first[key], key
        words = [f"{c.rpartition('.')[2]}={row[c]}" for c in named if row.get(c) is not None]
        return " ".join([*words, *([f"part={part}"] if part is not None else [])]) or "base"

    def short(key: Key) -> str:
        row = first[key]
        ignored = {f"model.{name}" for name in unread(row["model.mixer"])}
        return label(key, [c for c in varied if c not in ignored and (c not in usual or row.get(c) != base.get(c))])

    shorts = {key: short(key) for key in first}
    seen = Counter(shorts.values())
    return {key: text if seen[text] == 1 else label(key, varied) for key, text in shorts.items()}


def differences(sides: Sequence[Side]) -> Table:
    """What the folders' last launches do not share: code, versions, machine, settings, base config."""
    known = [
        {name: side.header.get(name) for name in PROVENANCE}
        | {f"version of {name}": text for name, text in side.header["versions"].items()}
        | {key: value for key, value in side.header["base"].items() if key not in NOT_COMPARED}
        for side in sides
    ]
    names = dict.fromkeys(name for facts in known for name in facts)
    lines = [(name, *(_text(facts.get(name)) for facts in known)) for name in names]
    lines = tuple(line for line in lines if len(set(line[1:])) > 1)
    return Table("What differs in provenance", ("", *(side.name for side in sides)), lines)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def report(sides: Sequence[Side], comparisons: Sequence[Comparison]) -> Report:
    """The page: how many cells became slower or faster, each cell's ratio in figures by study and in a table."""
    before = sides[0].name
    answers = [_answer(before, one) for one in comparisons]
    studies = dict.fromkeys(name for one in comparisons for cell in one.shared for name in cell.studies or ("",))
    figures = [_figure(number, study, before, comparisons) for number, study in enumerate(studies)]
    tables = [differences(sides)]
    for one in comparisons:
        lines = tuple(
            (cell.label, cell.ratio if cell.ratio.n else None, cell.verdict) for cell in _by_ratio(one.shared)
        )
        title = f"Every common cell: time in {one.name} over time in {before} ({len(lines)})"
        tables.append(Table(title, ("cell", "ratio", one.name), lines))
        for name, other, labels in ((before, one.name, one.only[0]), (one.name, before, one.only[1])):
            lines = tuple((label,) for label in labels)
            tables.append(Table(f"In {name}, not in {other} ({len(labels)})", ("cell",), lines))
    limits = (
        "An interval (95 %, Welch's t on log times) holds the noise inside the two runs. What the machine does"
        " differently from one run to the next is not in it: two runs of the same code show how large that is.",
        "Of cells that are equally fast about one in forty is called slower, one in forty faster, by chance.",
    )
    question = f"What takes another time than in {before}?"
    return Report(question, answers, [figure for figure in figures if figure], tables, limits)


def _answer(before: str, one: Comparison) -> Finding:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in one.counts.most_common()) or "none"
    text = f"Of {len(one.shared)} common cells: {counts}."
    timed = _by_ratio([cell for cell in one.shared if cell.ratio.n])
    names = ("slowest", "fastest")
    ends = {f"{name}, {c.label}": c.ratio for name, c in zip(names, timed[:1] + timed[1:][-1:], strict=False)}
    return Finding(f"Is {one.name} slower or faster than {before}?", text, ends, judge=intervals.verdict)


def _by_ratio(cells: Iterable[Shared]) -> list[Shared]:
    """The slowest first; those without a ratio before them, as they are what most needs a look."""
    return sorted(cells, key=lambda cell: (cell.ratio.n > 0, -cell.ratio.value if cell.ratio.n else 0))


def _figure(number: int, study: str, before: str, comparisons: Sequence[Comparison]) -> Figure | None:
    found: dict[str, dict[str, Estimate]] = {}
    for one in comparisons:
        for cell in one.shared:
            if study in (cell.studies or ("",)) and cell.ratio.n > 1:
                found.setdefault(cell.label, {})[one.name] = cell.ratio
    farthest = sorted(found, key=lambda label: -max(_distance(ratio) for ratio in found[label].values()))
    kept = {label: found[label] for label in sorted(farthest[:DRAWN], key=lambda label: -_largest(found[label]))}
    rest = (
        f" The {DRAWN} of {len(found)} cells that are farthest from 1; the table has all." if len(found) > DRAWN else ""
    )
    return dots(
        kept,
        name=f"study_{number}",
        title=f"Study {study}" if study else "Cells that no study names",
        caption=f"Above 1: slower than in {before}. Bars are 95 % intervals.{rest}",
        x_label=f"time over time in {before}",
    )


def _largest(ratios: Mapping[str, Estimate]) -> float:
    return max(ratio.value for ratio in ratios.values())


def _distance(ratio: Estimate) -> float:
    return max(ratio.value, 1 / ratio.value)
