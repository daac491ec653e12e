"""Rows (one per cell and round) become cells: samples gathered, status decided, derived columns added."""

import json
import math
from collections.abc import Iterable
from statistics import median

import numpy as np

SAMPLED = ("step_seconds", "cpu_seconds", "calibration_seconds", "matmul_peak_flops")
"""Columns which every round measures again: a merged cell holds the list of them."""

LARGEST = ("compile_seconds", "peak_rss_bytes", "rss_rise_bytes")
"""Columns of which the largest counts: a warm cache makes later compiles look free."""


def merge(rows: Iterable[dict]) -> list[dict]:
    """One dict per cell, in order of first appearance.

    The columns in SAMPLED become lists with one number per successful round; `rounds` and `rounds_failed`
    count them and `rounds_noisy` those that the harness marked. The status is `ok` only if no round failed.
    `sampled_rounds` says which round each of `step_seconds` comes from.

    A cell is its config, not its key: rounds that another version of the code measured (`--accept-stale`)
    join it. Of two rows for the same cell and round the later one counts, since it is a retry.
    """
    by_cell: dict[str, dict[int, dict]] = {}
    for row in rows:
        by_cell.setdefault(_identity(row), {})[row.get("round", 0)] = row
    return [_merge_rounds([rounds[r] for r in sorted(rounds)]) for rounds in by_cell.values()]


def _identity(row: dict) -> str:
    config = {column: value for column, value in row.items() if "." in column and column != "measure.rounds"}
    return json.dumps(config or row["key"], sort_keys=True)


def _merge_rounds(rounds: list[dict]) -> dict:
    good = [row for row in rounds if row.get("status", "ok") == "ok"]
    failed = [row for row in rounds if row not in good]
    cell: dict = {}
    for row in failed + good:
        for column, value in row.items():
            if value is not None or column not in cell:
                cell[column] = value
    for column in ("kind", "round", "noisy"):
        cell.pop(column, None)
    for column in SAMPLED:
        if any(column in row for row in rounds):
            cell[column] = _numbers(good, column)
    for column in LARGEST:
        if numbers := _numbers(rounds, column):
            cell[column] = max(numbers)
    if cached := [row["compile_cached"] for row in rounds if row.get("compile_cached") is not None]:
        cell["compile_cached"] = all(cached)
    cell["status"] = failed[0]["status"] if failed else "ok"
    cell["sampled_rounds"] = [row.get("round", 0) for row in good if _numbers([row], "step_seconds")]
    cell["rounds"] = len(good)
    cell["rounds_failed"] = len(failed)
    cell["rounds_noisy"] = sum(bool(row.get("noisy")) for row in good)
    return cell | derived(cell)


def _numbers(rows: list[dict], column: str) -> list[float]:
    values = [row.get(column) for row in rows]
    return [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]


def derived(cell: dict) -> dict:
    """Columns that follow from others, for as far as those are there.

    tokens_per_second; achieved_flops_per_second and peak_share (closed-form matmul FLOPs over the median
    step, and that over the best measured matmul peak); memory_bytes (argument + output + temp - alias).
    """
    found = {}
    step = median(cell["step_seconds"]) if cell.get("step_seconds") else None
    if step and cell.get("tokens"):
        found["tokens_per_second"] = cell["tokens"] / step
    if step and cell.get("closed_form_flops"):
        found["achieved_flops_per_second"] = cell["closed_form_flops"] / step
        if cell.get("matmul_peak_flops"):
            found["peak_share"] = found["achieved_flops_per_second"] / max(cell["matmul_peak_flops"])
    parts = [cell.get(f"{part}_bytes") for part in ("argument", "output", "temp")]
    if all(isinstance(part, (int, float)) for part in parts):
        found["memory_bytes"] = sum(parts) - (cell.get("alias_bytes") or 0)
    return found


def flat(cell: dict) -> dict:
    """A cell without lists: step_seconds as min, median, quartiles and n; other samples as their median."""
    line = {}
    for column, value in cell.items():
        if column == "step_seconds":
            quantiles = np.quantile(value, (0, 0.25, 0.5, 0.75)).tolist() if value else [None] * 4
            names = ("min", "q25", "median", "q75")
            line |= {f"step_seconds_{n}": q for n, q in zip(names, quantiles, strict=True)}
            line["step_seconds_n"] = len(value)
        elif column == "sampled_rounds":
            continue
        elif column in SAMPLED:
            line[column] = median(value) if value else None
        else:
            line[column] = value
    return line
