"""A launch at work: what is missing is prepared and then sampled, pass after pass, a row for each sample."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType

from transformer_jax.config import Config, ConfigError
from transformer_jax.lab import rows, training
from transformer_jax.lab.crew import Crew, beside
from transformer_jax.lab.display import Eta, View
from transformer_jax.lab.launch import Launch
from transformer_jax.lab.passes import LEAST, Clock, Passes
from transformer_jax.lab.plan import Cell
from transformer_jax.lab.preparing import Preparation
from transformer_jax.lab.supervisor import Stopped, Worker

TIMEOUT_SECONDS = 300.0


@dataclass
class Sampling:
    """What a launch measures with. limit: seconds that one call of a cell may take; clock: None where the number of
    passes is given."""

    cells: ModuleType
    passes: Passes
    crew: Crew
    launch: Launch
    limit: Callable[[Config], float]
    view: View
    clock: Clock | None = None
    _one: threading.Lock = field(default_factory=threading.Lock)
    """Rows are written, counted and shown by one thread at a time."""

    def run(self) -> bool:
        """Until nothing is left to do, which is True, or the user stops.

        Raises:
          ConfigError, WorkerError, OSError: as `schedule.run`.
        """
        try:
            predicted = self._predicted() if hasattr(self.cells, "predict") else None
            self._eta, self._warned = Eta(predicted), False
            self._preparation = Preparation(self.crew.first, self.limit, self.view)
            self._prepare()
            if self._preparation.sample_seconds:
                self._eta = Eta(self._preparation.sample_seconds)
            self._sample()
            return True
        except Stopped:
            return False

    def _sample(self) -> None:
        """Makes the passes."""
        if self.clock:
            foreseen = [self._preparation.sample_seconds.get(cell.identity) for cell in self.passes.todo()]
            if foreseen and None not in foreseen:
                self.clock.foresee(sum(foreseen))
                self._warn(min(map(self.passes.next_round, self.passes.todo())))
        for round_ in self.passes.numbers():
            calls = self.passes.calls(round_)
            if self.clock and calls and not self.clock.allows_another():
                return
            began = time.monotonic()
            self._make(calls, round_)
            self.passes.begun = round_ + 1
            if self.clock and calls:
                self.clock.took(time.monotonic() - began, len(calls) / max(len(calls), len(self.passes.todo())))
                self._warn(round_ + 1)

    def _make(self, calls: Sequence[Cell], round_: int) -> None:
        """The calls of one pass; where there are several workers, beside each other; then those alone that may not be,
        and once more what found too little memory: that others had taken it says nothing of the cell."""
        if len(self.crew.workers) > 1:
            alone = [cell for cell in calls if not beside(self.cells, cell)]
            shared = [cell for cell in calls if beside(self.cells, cell)]
            calls = [*alone, *self.crew.share(shared, partial(self._call, round_, no_row=("oom",)))]
        for cell in calls:
            self._prepare()
            if not self.passes.is_bad(cell):
                self._call(round_, self.crew.first, cell)

    def _warn(self, made: int) -> None:
        """Says once, before the first pass where samples' times are known by then, that the clock leaves too few."""
        if not self._warned and made < LEAST and (warning := self.clock.warning(made)):
            self._warned = True
            self.view.note(warning)

    def _prepare(self) -> None:
        """What is not ready in the process that is there now; a cell that cannot be is a row in place of its sample."""
        if not hasattr(self.cells, "prepare") or self._preparation.holds():
            return
        of_identity = {cell.identity: cell for cell in self.passes.todo()}
        for identity, outcome in self._preparation.prepare(list(of_identity.values())).items():
            cell = of_identity[identity]
            self._add(cell, self.passes.next_round(cell), outcome, 0.0)

    def _predicted(self) -> dict[str, float]:
        """Seconds by identity, or nothing where a prediction fails.

        The worker predicts, as what a cell costs depends on the platform: to ask for that in this process would take
        the device, or memory on it, from the worker.

        Raises:
          ConfigError: the experiment finds that a cell cannot be, which the config alone does not show.
        """
        seconds = {}
        for cell in {cell.identity: cell for cell in self.passes.todo()}.values():
            outcome = self.crew.first.ask("predict", cell.config, TIMEOUT_SECONDS)
            if outcome.get("message", "").startswith("ConfigError: "):
                raise ConfigError(outcome["message"].removeprefix("ConfigError: "))
            if outcome["status"] != "ok":
                return {}
            seconds[cell.identity] = outcome["row"]["seconds"]
        return seconds

    def _call(self, round_: int, worker: Worker, cell: Cell, no_row: Sequence[str] = ()) -> bool:
        """Adds the row of one sample, unless its status is among `no_row`, which is False."""
        began = time.monotonic()
        self.passes.begun = max(self.passes.begun, round_ + 1)
        job = self.launch.job(cell, round_)
        worker.waiting = training.Watch(job.folder, partial(self._show, cell)).look
        outcome = worker.run(cell.config, self.limit(cell.config), job)
        worker.waiting = lambda: None
        if outcome["status"] in no_row:
            return False
        with self._one:
            self._add(cell, round_, outcome, time.monotonic() - began)
        return True

    def _show(self, cell: Cell, stage: training.Stage) -> None:
        with self._one:
            self.view.training(cell, stage)

    def _add(self, cell: Cell, round_: int, outcome: dict, seconds: float) -> None:
        row = self.launch.row(cell, round_, outcome)
        rows.append(self.launch.folder / rows.FILE, row)
        self.passes.add(cell, round_, row["status"])
        if self.clock:
            self.view.done(cell, row, seconds, None, max(0.0, self.clock.left()))
            return
        left = self.passes.todo()
        prepared = cell.identity in self._preparation.sample_seconds
        self._eta.observe(cell.identity, seconds, 0.0 if prepared else row.get("compile_seconds") or 0.0)
        seconds_left = self._eta.remaining(c.identity for c in left)
        at_once = max(1, min(len(self.crew.workers), len(left)))
        self.view.done(cell, row, seconds, len(left), seconds_left and seconds_left / at_once)
