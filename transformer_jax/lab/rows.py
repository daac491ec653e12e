"""The results on disk: rows.jsonl takes whole lines from many writers and is read past a torn end."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE = "rows.jsonl"

# Rows are compared only where all of this is the same (another code or jax makes a row stale instead).
COMPARED = ("device", "device_count", "cpu_model", "threads", "xla_flags", "dtype", "matmul_precision", "x64")
# Decides how often a cell is sampled, not what is sampled, so that more rounds only add rows.
NOT_IN_KEY = ("measure.rounds",)

MIN_FREE_BYTES = 32 * 2**20


class FolderError(Exception):
    """A folder that cannot be used for this run: the message says why and what to do."""


class Results(NamedTuple):
    headers: list[dict]
    rows: list[dict]  # each filled with its header's base config
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
    """All headers and rows of a folder, in file order; of several rows of one (key, round) the last.

    A line that is not a whole JSON object is dropped with a note; its cell counts as missing and runs again.

    Raises:
      FolderError: the folder has no rows.jsonl, or something else of that name.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            *lines, torn = file.read().split(b"\n")
    except FileNotFoundError:
        raise FolderError(f"{folder} holds no results ({FILE} is not there)") from None
    except IsADirectoryError:
        raise FolderError(f"{path} is a folder: choose another --out") from None
    headers, rows = {}, {}
    bad_lines = [len(lines) + 1] if torn else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry["kind"] == "header":
                headers.pop(entry["id"], None)  # the last launch is last
                headers[entry["id"]] = entry
            else:
                filled = headers[entry["header"]]["base"] | entry
                rows[entry["key"], entry["round"]] = filled
        except (ValueError, KeyError, TypeError):
            bad_lines.append(number)
    notes = []
    if bad_lines:
        which = f"line {min(bad_lines)}" + (f" and {len(bad_lines) - 1} more" if len(bad_lines) > 1 else "")
        notes = [f"{FILE} {which}: torn or damaged, dropped; a re-run measures again what it held"]
    return Results(list(headers.values()), list(rows.values()), notes)


def current(results: Results) -> Results:
    """The rows that the last launch stands by: of its code and jax, comparable, one for each (cell, round).

    With `accept_stale` in the last header, rows of other code count too.

    Raises:
      FolderError: rows that differ in device, threads, dtype or precision.
    """
    if not results.headers:
        return results
    trusted = {header["id"]: header for header in results.headers if is_current(header, results.headers[-1])}
    kept: dict[tuple, dict] = {}
    for row in results.rows:
        if row["header"] in trusted:
            kept[identity(row, trusted[row["header"]]), row["round"]] = row
    used = [trusted[name] for name in dict.fromkeys(row["header"] for row in kept.values())]
    for header in used[1:]:
        refuse_mix(used[0], header)
    stale = sum(row["header"] not in trusted for row in results.rows)
    notes = []
    if stale:
        notes = [f"{stale} rows of other code or another jax were left out (--accept-stale takes those of other code)"]
    return Results(list(trusted.values()), list(kept.values()), results.notes + notes)


def identity(row: dict, header: dict) -> str:
    """The row's config as `config.canonical_json` writes it, without what only says how often it is run."""
    config = {key: row[key] for key in header["base"] if key not in NOT_IN_KEY}
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def is_current(header: dict, last: dict) -> bool:
    """Whether rows under `header` still count when `last` is the header of the newest launch."""
    same_jax = all(header["versions"].get(name) == last["versions"].get(name) for name in ("jax", "jaxlib"))
    return same_jax and (header["code"] == last["code"] or bool(last["accept_stale"]))


def refuse_mix(one: dict, other: dict) -> None:
    """Raises FolderError where two headers' rows must not be compared, naming what differs."""
    differences = [f"{key} ({one.get(key)} and {other.get(key)})" for key in COMPARED if one.get(key) != other.get(key)]
    if differences:
        raise FolderError(f"rows that differ in {', '.join(differences)} cannot be compared: use another folder")


_OURS = {".lock", FILE, "config.json"}
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL")
