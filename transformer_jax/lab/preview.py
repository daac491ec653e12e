"""What a run would do, in this folder and on this machine: what is there already, what cannot be, how long it takes."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax.config import ConfigError, content_key, with_overrides
from transformer_jax.host.accelerator import Device
from transformer_jax.host.folders import require_free
from transformer_jax.lab import passes, schedule
from transformer_jax.lab.joining import Statuses, held
from transformer_jax.lab.launch import Launch, ending, make_header
from transformer_jax.lab.plan import Cell, Experiment
from transformer_jax.lab.supervisor import Worker

PREDICT_SECONDS = 300.0


class Outlook(NamedTuple):
    """What is known of a cell before it runs."""

    cell: Cell
    predicted: Mapping[str, Any]
    """By the experiment's `predict`; empty where it has none."""
    there: int
    """Rounds that the folder holds."""
    ended: str | None
    """The status of a round that did not end well: such a cell is not attempted again."""
    obstacle: str | None
    """Why it cannot run on this machine, as far as that is known."""
    rounds: float
    """How many there will be; `math.inf` where a clock ends the run."""

    @property
    def left(self) -> float:
        """Rounds that a run would measure."""
        return 0 if self.ended else max(0, self.rounds - self.there)

    def with_what_is_left(self) -> Cell:
        """The cell with as many rounds as are left, where it is their number that ends the run."""
        if self.left == math.inf:
            return self.cell
        return replace(self.cell, config=with_overrides(self.cell.config, {"measure.rounds": max(1, self.left)}))

    @property
    def note(self) -> str:
        """How it stands, in a few words."""
        stands = self.ended or ("measured" if not self.left else f"{self.there} rounds there" if self.there else "")
        return ", ".join(filter(None, (stands, self.obstacle)))


class Preview(NamedTuple):
    """What a run would do."""

    outlooks: list[Outlook]
    notes: list[str]
    """What the reader of the folder noted."""
    clock: float | None
    """Seconds after which the clock would end the run; None: it makes its rounds, however long."""

    @property
    def there(self) -> int:
        """Cells that the folder holds."""
        return sum(outlook.there > 0 for outlook in self.outlooks)


def look(experiment: Experiment, cells: Sequence[Cell], folder: Path, device: Device, *, given: Mapping[str, Any],
         accept_stale: bool, retry_failed: bool, budget: float | None) -> Preview:  # fmt: skip
    """An outlook for each cell of a plan, as `schedule.run` would make it; nothing is written.

    The worker predicts, as what a cell costs depends on the platform.

    Raises:
      FolderError: the folder holds something else, or what the run must not join.
      ConfigError: the experiment finds that a cell cannot be, which the config alone does not show, or its data are
        missing.
      WorkerError: no worker process can be started.
    """
    require_free(folder)
    with Worker(experiment.folder) as worker:
        facts = worker.start()
        data = schedule.data_of(experiment, cells, worker)
        predicted = [_predicted(worker, cell) for cell in cells] if hasattr(experiment.cells, "predict") else None
    facts = facts | {"data": {content_key(identity): found for identity, found in data.items()}}
    header = make_header(experiment, cells, given, facts, accept_stale)
    statuses, notes, headers = held(folder, header)
    ended = ending(headers, Launch(folder, header, data).plan_key(cells))
    clock = None if budget is None or budget <= ended["budget_seconds"] else budget - ended["budget_seconds"]
    if retry_failed:
        statuses = {at: status for at, status in statuses.items() if status == "ok"}
    judge = _standing(statuses)
    found = []
    for cell, prediction in zip(cells, predicted or [{}] * len(cells), strict=True):
        known = {name: value for name, value in prediction.items() if name != "refusal"}
        obstacle = prediction.get("refusal") or _too_large(prediction.get("bytes"), device)
        rounds = cell.config.measure.rounds if budget is None else math.inf if clock else ended["passes"]
        found.append(Outlook(cell, known, *judge(cell), obstacle, rounds))
    return Preview(found, notes, clock)


def length(experiment: Experiment, preview: Preview) -> str:
    """How long a run of what is left will take, for people, as far as it can be predicted or a clock ends it."""
    runs = [one for one in preview.outlooks if not (one.ended or one.obstacle) and one.left]
    steps = [one.predicted["seconds"] for one in runs] if all(one.predicted for one in runs) else None
    left = [one.with_what_is_left() for one in runs]
    return passes.outlook(left, steps, preview.clock, hasattr(experiment.cells, "prepare"))


def _predicted(worker: Worker, cell: Cell) -> dict:
    outcome = worker.ask("predict", cell.config, PREDICT_SECONDS)
    if outcome.get("message", "").startswith("ConfigError: "):
        raise ConfigError(outcome["message"].removeprefix("ConfigError: "))
    return outcome["row"] if outcome["status"] == "ok" else {"refusal": f"no prediction: {outcome['message']}"}


def _standing(statuses: Statuses) -> Callable[[Cell], tuple[int, str | None]]:
    there = Counter(identity for (identity, _), status in statuses.items() if status == "ok")
    bad = {identity: status for (identity, _), status in statuses.items() if status != "ok"}
    return lambda cell: (there[cell.identity], bad.get(cell.identity))


def _too_large(predicted: float | None, device: Device) -> str | None:
    if predicted is None or device.memory_bytes is None or predicted <= device.memory_bytes:
        return None
    return f"will not fit: {predicted / 2**30:.3g} of {device.memory_bytes / 2**30:.3g} GiB"
