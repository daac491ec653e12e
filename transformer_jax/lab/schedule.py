"""Runs the cells of an experiment, each round in a random order, so that only what is missing is ever run."""

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from transformer_jax import rows
from transformer_jax.config import ConfigError, content_key, flatten
from transformer_jax.lab.plan import PACKAGE, Cell
from transformer_jax.lab.supervisor import Stopped, Worker
from transformer_jax.lab.display import Eta, View
from transformer_jax.host.signals import stop_signals

TIMEOUT_SECONDS = 300.0

Statuses = dict[tuple[str, int], str]  # by (identity of the cell, round)


class Summary(NamedTuple):
    added: Counter  # statuses of the rows that this launch wrote
    cells: Counter  # how the plan's cells stand now: "ok", "missing", or what went wrong
    interrupted: bool


def run(
    path: Path,
    module: ModuleType,
    cells: Sequence[Cell],
    folder: Path,
    *,
    given: Mapping[str, Any] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    retry_failed: bool = False,
    accept_stale: bool = False,
    seed: int = 0,
    view: View | None = None,
) -> Summary:
    """Runs whatever of the cells is missing in the folder and appends a row for each (cell, round).

    A cell that does not end well is not attempted again, but by a later launch with `retry_failed`.

    Args:
      path, module, cells: the experiment's file, what is in it, and the plan (`experiment.plan`).
      folder: made if need be; one experiment and one base config a folder.
      given: the overrides of the base that the plan was made with.
      timeout: seconds that one call of `cell` may take, compilation included.
      accept_stale: rows measured with other code count as done.
      seed: of the order in which a round takes its cells.

    Raises:
      rows.FolderError: the folder is in use, cannot be written, or holds rows that these must not join.
      ConfigError: a cell cannot be, by the experiment's own prediction; nothing was compiled.
      process.WorkerError: no worker process can be started.
      OSError: a row could not be written; those before it are intact.
    """
    if (folder / "checkpoints").exists():
        raise rows.FolderError(f"{folder} holds a training run: choose another --out")
    with rows.locked(folder), stop_signals() as stopping, Worker(path, stopping) as worker:
        try:
            facts = worker.start()
        except Stopped:
            return Summary(Counter(), Counter(missing=len(cells)), True)
        header = make_header(path, module, cells, given or {}, facts, accept_stale)
        statuses, notes = _open(folder, header)
        if retry_failed:
            statuses = {at: status for at, status in statuses.items() if status == "ok"}
        calls = list(_calls(cells, statuses, seed))
        view = view or View()
        view.start(len(calls), notes)
        try:
            eta = Eta(_predicted(calls, worker, timeout) if hasattr(module, "predict") else None)
            added = _measure(calls, worker, folder, header, timeout, view, eta)
        finally:
            view.stop()
        for identity, round_, status in added:
            statuses[identity, round_] = status
        stands = Counter(_standing(cell, statuses) for cell in cells)
        return Summary(Counter(status for *_, status in added), stands, stopping() and stands["missing"] > 0)


def _measure(calls, worker, folder, header, timeout, view, eta) -> list[tuple[str, int, str]]:
    """Makes the calls, in order, until all are made or the user stops; (identity, round, status) of each."""
    added, bad = [], set()
    for index, (round_, cell) in enumerate(calls):
        if cell.identity in bad:
            continue
        began = time.monotonic()
        try:
            outcome = worker.run(cell.config, timeout)
        except Stopped:
            break
        seconds = time.monotonic() - began
        row = make_row(cell, round_, outcome, header)
        rows.append(folder / rows.FILE, row)
        added.append((cell.identity, round_, row["status"]))
        if row["status"] != "ok":
            bad.add(cell.identity)
        eta.observe(cell.identity, seconds, row.get("compile_seconds") or 0.0)
        left = [c.identity for _, c in calls[index + 1 :] if c.identity not in bad]
        view.done(cell, row, seconds, len(left), eta.remaining(left))
    return added


def _calls(cells: Sequence[Cell], statuses: Statuses, seed: int) -> Iterator[tuple[int, Cell]]:
    """What is missing, round by round; a round's order does not depend on how much of it is done."""
    bad = {identity for (identity, _), status in statuses.items() if status != "ok"}
    for round_ in range(max(cell.config.measure.rounds for cell in cells)):
        for cell in random.Random(f"{seed} {round_}").sample(cells, len(cells)):
            wanted = round_ < cell.config.measure.rounds and cell.identity not in bad
            if wanted and (cell.identity, round_) not in statuses:
                yield round_, cell


def _standing(cell: Cell, statuses: Statuses) -> str:
    of_cell = [statuses.get((cell.identity, round_), "missing") for round_ in range(cell.config.measure.rounds)]
    bad = [status for status in of_cell if status not in ("ok", "missing")]
    return bad[0] if bad else "missing" if "missing" in of_cell else "ok"


def make_row(cell: Cell, round_: int, outcome: dict, header: dict) -> dict:
    """One line of rows.jsonl; nothing in it depends on when, or in which launch, it was measured."""
    key = content_key(
        cell.identity,
        header["code"],
        *(str(header["versions"][k]) for k in ("jax", "jaxlib")),
        header["device"],
    )
    row = {"kind": "row", "key": key, "round": round_, "status": outcome["status"], "header": header["id"]}
    said = {name: outcome[name] for name in ("message", "traceback", "requested_bytes") if name in outcome}
    return row | cell.overrides | outcome.get("row", {}) | said


def make_header(
    path: Path, module: ModuleType, cells: Sequence[Cell], given: Mapping, facts: dict, accept_stale: bool
) -> dict:
    """All that the rows of a launch have in common, and an id made from it."""
    first = flatten(cells[0].config)
    base = flatten(module.BASE) | {key: first[key] for key in given}
    header = {
        "kind": "header",
        "experiment": path.stem,
        "base": base,
        "sweep": [cell.overrides for cell in cells],
        **_commit(),
        "accept_stale": accept_stale,
        **facts,
        "dtype": base["model.dtype"],
    }
    text = json.dumps(header)
    return {"id": content_key(text)} | json.loads(text)  # as it will be read back: tuples are lists


def _open(folder: Path, header: dict) -> tuple[Statuses, list[str]]:
    """What the folder already holds of this run, after the checks that it may join it; appends the header."""
    results = rows.read(folder) if (folder / rows.FILE).exists() else rows.Results([], [], [])
    for row_header in _headers_of_rows(results):
        if row_header["experiment"] != header["experiment"]:
            raise rows.FolderError(f"{folder} holds the experiment {row_header['experiment']}: choose another --out")
    held = rows.current(rows.Results([*results.headers, header], results.rows, results.notes))
    for row_header in _headers_of_rows(held):
        rows.refuse_mix(row_header, header)
        _refuse_other_base(folder, row_header, header)
    if not results.headers or results.headers[-1]["id"] != header["id"]:
        rows.append(folder / rows.FILE, header)
    by_id = {h["id"]: h for h in held.headers}
    return {(rows.identity(r, by_id[r["header"]]), r["round"]): r["status"] for r in held.rows}, held.notes


def _headers_of_rows(results: rows.Results) -> list[dict]:
    used = {row["header"] for row in results.rows}
    return [header for header in results.headers if header["id"] in used]


def _refuse_other_base(folder: Path, one: dict, other: dict) -> None:
    swept = {key for header in (one, other) for overrides in header["sweep"] for key in overrides}
    for key in one["base"].keys() - swept - set(rows.NOT_IN_KEY):
        if one["base"][key] != other["base"].get(key):
            raise rows.FolderError(
                f"{folder} holds cells with {key}={one['base'][key]}, this run has {other['base'].get(key)}:"
                " choose another --out"
            )


def _predicted(calls, worker: Worker, timeout: float) -> dict[str, float]:
    """Seconds by identity, or nothing where a prediction fails.

    The worker predicts, as what a cell costs depends on the platform: to ask for that in this process would take
    the device, or memory on it, from the worker.

    Raises:
      ConfigError: the experiment finds that a cell cannot be, which the config alone does not show.
    """
    seconds = {}
    for cell in {cell.identity: cell for _, cell in calls}.values():
        try:
            outcome = worker.run(cell.config, timeout, "predict")
        except Stopped:
            return {}  # the first call stops as well
        if outcome.get("message", "").startswith("ConfigError: "):
            raise ConfigError(outcome["message"].removeprefix("ConfigError: "))
        if outcome["status"] != "ok":
            return {}
        seconds[cell.identity] = outcome["row"]["seconds"]
    return seconds


def _commit() -> dict:
    def git(*words: str) -> str:
        command = ["git", "-C", str(PACKAGE.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    unknown = {"commit": None, "dirty": None}
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != PACKAGE.parent:
            return unknown  # installed inside somebody's repository, whose commit says nothing of this code
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return unknown
