"""Runs the cells of an experiment, each round in a random order, so that only what is missing is ever run."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax.config import Config, ConfigError, content_key
from transformer_jax.host.folders import FolderError, locked
from transformer_jax.host.signals import stop_signals
from transformer_jax.lab import rows
from transformer_jax.lab.display import Eta, View
from transformer_jax.lab.launch import Launch, make_header, rule_digests
from transformer_jax.lab.plan import Cell, Experiment
from transformer_jax.lab.supervisor import Stopped, Worker

TIMEOUT_SECONDS = 300.0

Statuses = dict[tuple[str, int], str]  # by (identity of the cell, round)


class Summary(NamedTuple):
    added: Counter  # statuses of the rows that this launch wrote
    cells: Counter  # how the plan's cells stand now: "ok", "missing", or what went wrong
    interrupted: bool


def run(
    experiment: Experiment,
    cells: Sequence[Cell],
    folder: Path,
    *,
    given: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    accept_stale: bool = False,
    seed: int = 0,
    view: View | None = None,
) -> Summary:
    """Runs whatever of the cells is missing in the folder and appends a row for each (cell, round).

    A cell that does not end well is not attempted again, but by a later launch with `retry_failed`. A round that was
    interrupted, or is tried again, gets the same folder as before, so that a training goes on there.

    Args:
      cells: the plan (`plan.plan`).
      folder: made if need be; one experiment and one base config a folder.
      given: the overrides of the base that the plan was made with.
      timeout: seconds that one call of `cell` may take, compilation included; None: what the experiment's time_limit
        gives, or TIMEOUT_SECONDS.
      accept_stale: rows measured with other code count as done.
      seed: of the order in which a round takes its cells.

    Raises:
      FolderError: the folder is in use, cannot be written, or holds rows that these must not join.
      ConfigError: a cell cannot be, by the experiment's own prediction, or its data are missing; nothing was compiled.
      WorkerError: no worker process can be started.
      OSError: a row could not be written; those before it are intact.
    """
    if (folder / "checkpoints").exists():
        raise FolderError(f"{folder} holds a training run: choose another --out")
    rules, view = rule_digests(experiment), view or View()
    with locked(folder), stop_signals() as stopping, Worker(experiment.folder, stopping) as worker:
        try:
            facts = worker.start()
            data = _data(experiment, cells, worker)
        except Stopped:
            return Summary(Counter(), Counter(missing=len(cells)), True)
        facts = facts | {"rules": rules, "data": {content_key(identity): found for identity, found in data.items()}}
        header = make_header(experiment, cells, given or {}, facts, accept_stale)
        statuses, notes = _open(folder, header)
        if retry_failed:
            statuses = {at: status for at, status in statuses.items() if status == "ok"}
        calls = list(_calls(cells, statuses, seed))
        view.start(len(calls), notes)
        try:
            eta = Eta(_predicted(calls, worker) if hasattr(experiment.cells, "predict") else None)
            limit = _limits(experiment, timeout)
            added = _measure(calls, worker, Launch(folder, header, data), limit, view, eta)
        finally:
            view.stop()
        statuses |= {(identity, round_): status for identity, round_, status in added}
        stands = Counter(_standing(cell, statuses) for cell in cells)
        return Summary(Counter(status for *_, status in added), stands, stopping() and stands["missing"] > 0)


def _measure(calls, worker: Worker, launch: Launch, limit, view: View, eta: Eta) -> list[tuple[str, int, str]]:
    """Makes the calls, in order, until all are made or the user stops; (identity, round, status) of each."""
    added, bad = [], set()
    for index, (round_, cell) in enumerate(calls):
        if cell.identity in bad:
            continue
        began = time.monotonic()
        try:
            outcome = worker.run(cell.config, limit(cell.config), launch.job(cell, round_))
        except Stopped:
            break
        seconds = time.monotonic() - began
        row = launch.row(cell, round_, outcome)
        rows.append(launch.folder / rows.FILE, row)
        added.append((cell.identity, round_, row["status"]))
        if row["status"] != "ok":
            bad.add(cell.identity)
        eta.observe(cell.identity, seconds, row.get("compile_seconds") or 0.0)
        left = [c.identity for _, c in calls[index + 1 :] if c.identity not in bad]
        view.done(cell, row, seconds, len(left), eta.remaining(left))
    return added


def _limits(experiment: Experiment, timeout: float | None) -> Callable[[Config], float]:
    """Gives the seconds that one call of a cell may take."""
    if timeout is not None:
        return lambda config: timeout
    return getattr(experiment.cells, "time_limit", lambda config: TIMEOUT_SECONDS)


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


def _open(folder: Path, header: dict) -> tuple[Statuses, list[str]]:
    """What the folder already holds of this run, after the checks that it may join it; appends the header."""
    results = rows.read(folder) if (folder / rows.FILE).exists() else rows.Results([], [], [])
    for row_header in _headers_of_rows(results):
        if (held_name := row_header.get("experiment")) != header["experiment"]:
            raise FolderError(f"{folder} holds the experiment {held_name}: choose another --out")
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
    swept = {key for header in (one, other) for override in _overrides(header) for key in override}
    for key in one["base"].keys() - swept - set(rows.NOT_IN_KEY):
        if one["base"][key] != other["base"].get(key):
            raise FolderError(
                f"{folder} holds cells with {key}={one['base'][key]}, this run has {other['base'].get(key)}:"
                " choose another --out"
            )


def _overrides(header: dict) -> list[dict]:
    return [override for of_study in header.get("studies", {}).values() for override in of_study]


def _data(experiment: Experiment, cells: Sequence[Cell], worker: Worker) -> dict[str, dict[str, str]]:
    """By identity of the cell: what its prepared data are, {name: sha256}; nothing if the experiment has none.

    Raises:
      ConfigError: data are missing or damaged; the message is that of the experiment's `data`.
    """
    found = {}
    for cell in cells if hasattr(experiment.cells, "data") else ():
        outcome = worker.ask("data", cell.config, TIMEOUT_SECONDS)
        if outcome["status"] != "ok":
            raise ConfigError(outcome["message"].removeprefix("MissingData: ").removeprefix("ConfigError: "))
        found[cell.identity] = outcome["row"]
    return found


def _predicted(calls, worker: Worker) -> dict[str, float]:
    """Seconds by identity, or nothing where a prediction fails.

    The worker predicts, as what a cell costs depends on the platform: to ask for that in this process would take
    the device, or memory on it, from the worker.

    Raises:
      ConfigError: the experiment finds that a cell cannot be, which the config alone does not show.
    """
    seconds = {}
    for cell in {cell.identity: cell for _, cell in calls}.values():
        try:
            outcome = worker.ask("predict", cell.config, TIMEOUT_SECONDS)
        except Stopped:
            return {}  # the first call stops as well
        if outcome.get("message", "").startswith("ConfigError: "):
            raise ConfigError(outcome["message"].removeprefix("ConfigError: "))
        if outcome["status"] != "ok":
            return {}
        seconds[cell.identity] = outcome["row"]["seconds"]
    return seconds
