"""Runs the cells of an experiment, pass after pass, so that only what is missing is ever run."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax.config import Config, ConfigError, content_key
from transformer_jax.host.folders import FolderError, locked
from transformer_jax.host.signals import stop_signals
from transformer_jax.lab import rows
from transformer_jax.lab.crew import Crew
from transformer_jax.lab.display import View
from transformer_jax.lab.joining import Statuses, held
from transformer_jax.lab.launch import NOT_ENDED, Launch, ending, make_header, rule_digests
from transformer_jax.lab.passes import Clock, Passes, spelled
from transformer_jax.lab.plan import Cell, Experiment
from transformer_jax.lab.sampling import TIMEOUT_SECONDS, Sampling
from transformer_jax.lab.supervisor import Stopped, Worker

SECONDS_OF_A_STEP = 0.5  # of training, that a cell may take beside its `time_limit`


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
    options: Sequence[str] = (),
    budget: float | None = None,
    began: float | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    accept_stale: bool = False,
    seed: int = 0,
    workers: int = 1,
    view: View | None = None,
) -> Summary:
    """Runs whatever of the cells is missing in the folder and appends a row for each (cell, round).

    Without a budget each cell has `measure.rounds` of them. With one there are passes until the clock ends the run,
    after a whole pass; a run that was stopped has its budget again when it goes on, and first ends the pass that it was
    in. Once the clock has ended a run, a launch with the same budget adds nothing, and one with a larger budget the
    difference.

    A cell that does not end well is not attempted again, but by a later launch with `retry_failed`. A round that was
    interrupted, or is tried again, gets the same folder as before, so that a training goes on there.

    Args:
      cells: the plan (`plan.plan`).
      folder: made if need be; one experiment and one base config a folder.
      given: the overrides of the base that the plan was made with.
      options: the words of the command line that chose the cells, for the header.
      budget: seconds of the whole run, compilation included.
      began: when it began, by `time.monotonic()`; None: now.
      timeout: seconds that one call of `cell` may take, compilation included; None: what the experiment's time_limit
        gives, or TIMEOUT_SECONDS, times the workers, as each may have but its share of the cores.
      accept_stale: rows measured with other code count as done.
      seed: of the order in which a pass takes its cells.
      workers: how many cells of a pass run at once, each in a process of its own; see `crew.why_alone`.

    Raises:
      FolderError: the folder is in use, cannot be written, or holds rows that these must not join.
      ConfigError: a cell cannot be, by the experiment's own prediction, or its data are missing; nothing was compiled.
      WorkerError: no worker process can be started.
      OSError: a row could not be written; those before it are intact.
    """
    if (folder / "checkpoints").exists():
        raise FolderError(f"{folder} holds a training run: choose another --out")
    began = time.monotonic() if began is None else began
    rules, view = rule_digests(experiment), view or View()
    with locked(folder), stop_signals() as stopping, Crew(experiment.folder, workers, stopping) as crew:
        try:
            facts = crew.start()
            data = data_of(experiment, cells, crew.first)
        except Stopped:
            return Summary(Counter(), Counter(missing=len(cells)), True)
        facts = facts | {"rules": rules, "data": {content_key(identity): found for identity, found in data.items()}}
        launch = Launch(folder, make_header(experiment, cells, given or {}, facts, accept_stale, options), data)
        key = launch.plan_key(cells)
        statuses, notes, ended = _open(folder, launch.header, key, budget)
        if retry_failed:
            statuses = {at: status for at, status in statuses.items() if status == "ok"}
        rounds, clock = _extent(budget, ended, began)
        group = getattr(experiment.cells, "group", lambda config: None)
        passes = Passes(cells, statuses, group, seed, rounds)
        ends = f"for {spelled(budget)}" if clock else f"{len(passes.todo())} measurements"
        what = f"{experiment.name}: {len(cells)} cells into {folder}, {ends}"
        view.start(None if clock else len(passes.todo()), [what, *notes])
        try:
            limit = _limits(experiment, timeout, workers)
            whole = Sampling(experiment.cells, passes, crew, launch, limit, view, clock).run()
        finally:
            view.stop()
        if clock and whole:
            ended = {"plan": key, "passes": passes.begun, "budget_seconds": budget}
            rows.append(folder / rows.FILE, launch.header | {"ended": ended})
        stands = passes.standing()
        interrupted = not whole if clock else stopping() and stands["missing"] > 0
        return Summary(passes.added, stands, interrupted)


def _extent(budget: float | None, ended: dict, began: float) -> tuple[Callable[[Cell], float], Clock | None]:
    """How often each cell is to be sampled, and the clock where it is the clock that ends the run."""
    if budget is None:
        return lambda cell: cell.config.measure.rounds, None
    if budget <= ended["budget_seconds"]:
        return lambda cell: ended["passes"], None
    return lambda cell: math.inf, Clock(budget - ended["budget_seconds"], began)


def _limits(experiment: Experiment, timeout: float | None, workers: int = 1) -> Callable[[Config], float]:
    """Gives the seconds that one call of a cell may take."""
    if timeout is not None:
        return lambda config: timeout
    own = getattr(experiment.cells, "time_limit", lambda config: TIMEOUT_SECONDS)
    if not callable(own):
        return lambda config: workers * (own + SECONDS_OF_A_STEP * config.train.num_steps)
    return lambda config: workers * own(config)


def _open(folder: Path, header: dict, key: str, budget: float | None) -> tuple[Statuses, list[str], dict]:
    """What the folder already holds of this run, after the checks that it may join it; appends the header, with the
    seconds after which a clock ends the run, or has ended it.

    Returns:
      the statuses of its rows, the reader's notes, and how a clock ended the run of this plan, where one did.
    """
    statuses, notes, headers = held(folder, header)
    if (ended := ending(headers, key)) is not NOT_ENDED:
        header["ended"] = ended
    if budget is not None:
        header["budget_seconds"] = max(budget, ended["budget_seconds"])
    if not headers or any(headers[-1].get(name) != header.get(name) for name in ("id", "budget_seconds")):
        rows.append(folder / rows.FILE, header)
    return statuses, notes, ended


def data_of(experiment: Experiment, cells: Sequence[Cell], worker: Worker) -> dict[str, dict[str, str]]:
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
