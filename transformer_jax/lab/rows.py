"""The results on disk: rows.jsonl takes whole lines from many writers and is read past a torn end.

Its lines are headers, one for each launch that differs from the last one, and rows, one for each round of a cell. A
row holds what its cell's studies set, and the cell's own columns: flat, or as a list of flat dicts under "rows" where
the cell gave several.
"""

import errno
import fcntl
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax.config import SAMPLING, content_key
from transformer_jax.host.folders import FolderError
from transformer_jax.host.provenance import without_private

FILE = "rows.jsonl"

# Rows are compared only where all of this is the same (another code or jax makes a row stale instead).
COMPARED = ("device", "device_count", "cpu_model", "threads", "xla_flags", "dtype", "matmul_precision", "x64")
# Decides how often a cell is sampled, not what is sampled, so that more rounds only add rows.
NOT_IN_KEY = ("measure.rounds",)
# What a measured column ends in that can hold nothing but a number.
UNITS = ("_seconds", "_bytes", "_flops")


class Results(NamedTuple):
    headers: list[dict]
    rows: list[dict]  # each filled with its header's base config, and with the studies that it is in
    notes: list[str]  # what was dropped while reading, and why


def append(path: Path, entry: dict) -> None:
    """Adds one line, whole or not at all.

    The file's lock makes concurrent writers take turns; what a killed writer left of a line is cut off first.

    Raises:
      OSError: the disk is full, read-only or broken; the lines written earlier are intact.
      ValueError: a number that JSON does not have (NaN, infinity).
    """
    line = (json.dumps(without_private(entry), allow_nan=False) + "\n").encode()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end_of_last_line(file)
        os.ftruncate(file, end)
        if os.write(file, line) != len(line):
            os.ftruncate(file, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


def _end_of_last_line(file: int) -> int:
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read(folder: Path) -> Results:
    """All headers and rows of a folder, in file order; of several lines for one (key, round) the last.

    The rows of a cell that gave several become as many, numbered by their column `part`. A line that is not a whole
    and sound JSON object is dropped with a note; its cell counts as missing and runs again.

    Raises:
      FolderError: the folder has no rows.jsonl, or something else of that name.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            *lines, torn = file.read().split(b"\n")
    except FileNotFoundError:
        inside = [str(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]
        instead = f"; did you mean {' or '.join(inside[:3])}?" if inside else ""
        raise FolderError(f"{folder} holds no results ({FILE} is not there){instead}") from None
    except IsADirectoryError:
        raise FolderError(f"{path} is a folder: choose another --out") from None
    headers: dict[str, dict] = {}
    rows: dict[tuple[str, int], list[dict]] = {}
    places: dict[tuple[str, int], int] = {}
    bad_lines = [len(lines) + 1] if torn else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry["kind"] == "header":
                _check_header(entry)
                headers.pop(entry["id"], None)  # the last launch is last
                headers[entry["id"]] = entry
            else:
                place = entry["key"], entry["round"]
                rows[place], places[place] = _expanded(entry, headers[entry["header"]]["base"]), number
        except (ValueError, KeyError, TypeError, RecursionError):
            bad_lines.append(number)
    for place in _texts_for_numbers(rows):
        bad_lines.append(places[place])
        del rows[place]
    notes = []
    if bad_lines:
        which = f"line {min(bad_lines)}" + (f" and {len(bad_lines) - 1} more" if len(bad_lines) > 1 else "")
        notes = [f"{FILE} {which}: torn or damaged, dropped; a re-run measures again what it held"]
    found = [row for of_line in rows.values() for row in of_line]
    return Results(list(headers.values()), with_studies(found, list(headers.values())), notes)


def _check_header(header: dict) -> None:
    """Raises TypeError where a header lacks what reading needs."""
    kinds = {
        "id": str,
        "base": dict,
        "versions": dict,
        "code": str,
        "accept_stale": bool,
        "studies": dict,
        "data": dict,
    }
    header = {"studies": {}, "data": {}} | header  # earlier code did not write them
    sound = all(isinstance(header.get(name), kind) for name, kind in kinds.items())
    if not sound or any(not isinstance(one, dict) for of_study in header["studies"].values() for one in of_study):
        raise TypeError("not a whole header")


def _texts_for_numbers(rows: Mapping[tuple[str, int], list[dict]]) -> list[tuple[str, int]]:
    """The lines with a text in a measured column that holds numbers: by its unit, or in most of the other rows."""
    kinds = Counter((name, isinstance(value, str)) for of_line in rows.values() for row in of_line
                    for name, value in row.items() if value is not None and "." not in name)  # fmt: skip
    numeric = {name for name, text in kinds if kinds[name, False] > kinds[name, True] or name.endswith(UNITS)}
    return [place for place, of_line in rows.items()
            if any(isinstance(row.get(name), str) for row in of_line for name in numeric)]  # fmt: skip


def _expanded(entry: dict, base: dict) -> list[dict]:
    """The rows of one line, filled with the base config.

    Raises:
      TypeError, ValueError, KeyError: the line is none that `append` was given: a column is missing or no scalar, a
        number is not finite, or a key of the config has a text in the place of a number.
    """
    own = {name: value for name, value in entry.items() if name != "rows"}
    parts = [{"part": part, **columns} for part, columns in enumerate(entry["rows"])] if "rows" in entry else [{}]
    if not (isinstance(own["key"], str) and type(own["round"]) is int and isinstance(own["status"], str) and parts):
        raise TypeError("not a whole row")
    filled = [base | own | columns for columns in parts]
    for name, value in (item for row in filled for item in row.items()):
        if name not in base and not (value is None or isinstance(value, (str, bool, int, float))):
            raise TypeError(f"{name} is no scalar")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is not finite")
    for name in base.keys() & own.keys():
        if isinstance(base[name], str) != isinstance(own[name], str) and None not in (base[name], own[name]):
            raise TypeError(f"{name} is of another type than in the base config")
    return filled


def current(results: Results) -> Results:
    """The rows that the last launch stands by: of its code, jax and data, comparable, one line for each cell and round.

    They come by round and by config, whichever was measured first: of several workers that is chance.
    With `accept_stale` in the last header, rows of other code count too.

    Raises:
      FolderError: rows that differ in device, threads, dtype or precision.
    """
    if not results.headers:
        return results
    last = results.headers[-1]
    trusted = {header["id"]: header for header in results.headers if is_current(header, last)}
    kept: dict[tuple[str, int], list[dict]] = {}
    stale = 0
    for row in results.rows:
        if row["header"] not in trusted or not _same_data(row, trusted[row["header"]], last):
            stale += 1
        else:
            of_round = kept.setdefault((identity(row, trusted[row["header"]]), row["round"]), [])
            if of_round and of_round[-1]["key"] != row["key"]:
                of_round.clear()  # other code measured the same before
            of_round.append(row)
    found = [row for place in sorted(kept, key=_order) for row in kept[place]]
    used = [trusted[name] for name in dict.fromkeys(row["header"] for row in found)]
    for header in used[1:]:
        refuse_mix(used[0], header)
    notes = []
    if stale:
        notes = [f"{stale} rows of other code, data or jax were left out (--accept-stale takes those of other code)"]
    headers = list(trusted.values())
    return Results(headers, with_studies(found, headers), results.notes + notes)


def _order(place: tuple[str, int]) -> tuple:
    """By which a config as text and a round are sorted: numbers in it by their value, not as 128, 16, 64."""
    config, round_ = place
    return round_, re.sub(r"\d+", lambda digits: digits[0].zfill(20), config), config


def with_studies(rows: Sequence[dict], headers: Sequence[dict]) -> list[dict]:
    """The rows with their column `studies`: names of the studies that planned them, by the last header that did.

    A row is in a study if its config, but for how it was sampled, is what an override of the study makes of the
    header's base. Keys that only one of the two has, as in rows that earlier code measured, are not compared.
    """
    by_keys: list[tuple[list[str], dict[str, tuple[str, ...]]]] = []
    keys_of_rows = {key for row in rows for key in row if "." in key}
    for header in reversed(headers):
        keys = sorted(key for key in header["base"] if key in keys_of_rows and key not in SAMPLING)
        planned: dict[str, tuple[str, ...]] = {}
        for name, overrides in header.get("studies", {}).items():
            for override in overrides:
                place = _config_text(header["base"] | override, keys)
                planned[place] = tuple(dict.fromkeys((*planned.get(place, ()), name)))
        if planned:
            by_keys.append((keys, planned))
    found = []
    for row in rows:
        places = (planned.get(_config_text(row, keys)) for keys, planned in by_keys)
        found.append(row | {"studies": next(filter(None, places), ())})
    return found


def _config_text(columns: Mapping[str, Any], keys: Sequence[str]) -> str:
    return json.dumps([columns.get(key) for key in keys])


def identity(row: dict, header: dict) -> str:
    """The row's config as `config.canonical_json` writes it, without measure.rounds."""
    config = {key: row[key] for key in header["base"] if key not in NOT_IN_KEY}
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def is_current(header: dict, last: dict) -> bool:
    """Whether rows under `header` still count when `last` is the header of the newest launch."""
    same_jax = all(header["versions"].get(name) == last["versions"].get(name) for name in ("jax", "jaxlib"))
    return same_jax and (header["code"] == last["code"] or last["accept_stale"])


def _same_data(row: dict, header: dict, last: dict) -> bool:
    """Whether a row's cell read the prepared data that are there now, as far as the last launch asked for them."""
    if not last.get("data"):
        return True
    key = content_key(identity(row, header))
    found = last["data"].get(key)
    return found is None or found == header.get("data", {}).get(key)


def refuse_mix(one: dict, other: dict) -> None:
    """Raises FolderError where two headers' rows must not be compared, naming what differs."""
    differences = [f"{key} ({one.get(key)} and {other.get(key)})" for key in COMPARED if one.get(key) != other.get(key)]
    if differences:
        raise FolderError(f"rows that differ in {', '.join(differences)} cannot be compared: use another folder")
