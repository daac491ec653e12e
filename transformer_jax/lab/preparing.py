"""All programs of a run are compiled before anything is measured, and anew where the process that held them is lost."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from transformer_jax.config import Config
from transformer_jax.lab.display import View
from transformer_jax.lab.plan import Cell
from transformer_jax.lab.supervisor import Worker


class Preparation:
    """Asks the worker to prepare cells. sample_seconds: what one sample of each will take, by identity, where known."""

    def __init__(self, worker: Worker, limit: Callable[[Config], float], view: View):
        """limit: seconds that the preparation of one config may take."""
        self._worker, self._limit, self._view = worker, limit, view
        self._pid: int | None = None  # of the process that holds what is ready
        self._ready: set[str] = set()
        self._together, self._given_up = True, False
        self.sample_seconds: dict[str, float] = {}

    def holds(self) -> bool:
        """Whether there is nothing to prepare: the process is the one that was made ready."""
        return self._given_up or self._pid is not None and self._worker.pid == self._pid

    def prepare(self, cells: Sequence[Cell]) -> dict[str, dict]:
        """Makes the process that now is the worker ready for the cells; outcomes of those that cannot be prepared, by
        identity.

        All are prepared together. What failed then, or had not come to an end when the process died, is tried alone:
        another may have taken its memory, and only that shows which one was the cause of a death.

        Raises:
          WorkerError, Stopped: as `Worker.start`.
        """
        done = self._ask(cells) if self._together and cells else {}
        bad = {}
        for cell in cells:
            if not _is_good(done.get(cell.identity)):
                outcome = self._ask([cell])[cell.identity]
                if not _is_good(outcome):
                    bad[cell.identity] = outcome
        if lost := [cell for cell in cells if cell.identity not in bad and not self._is_ready(cell)]:
            for part in [lost] if self._together else [[cell] for cell in lost]:
                self._ask(part)  # from the cache, after a death that took it
            # Where even that fails, cells compile as they come, and fail on their own account.
            self._given_up = not all(map(self._is_ready, lost))
        return bad

    def _is_ready(self, cell: Cell) -> bool:
        return self._pid is not None and self._worker.pid == self._pid and cell.identity in self._ready

    def _ask(self, cells: Sequence[Cell]) -> dict[str, dict]:
        """The last outcome of each cell, by identity; where the process died, of those that had come to an end by then,
        or of a cell that was alone."""
        self._worker.start()
        if self._worker.pid != self._pid:
            self._pid, self._ready = self._worker.pid, set()
        began, counts, found = time.monotonic(), Counter(), {}
        limit = max(self._limit(cell.config) for cell in cells)
        for outcome in self._worker.prepare([cell.config for cell in cells], limit):
            if "prepared" not in outcome:
                self._together = self._together and len(cells) == 1
                return found | ({cells[0].identity: outcome} if len(cells) == 1 else {})
            stage, identity = outcome["stage"], cells[outcome["prepared"]].identity
            if not _is_good(outcome):
                found[identity] = outcome
            elif stage == "ready":
                found[identity] = outcome
                self._ready.add(identity)
                if seconds := outcome["row"].get("sample_seconds"):
                    self.sample_seconds[identity] = seconds
            began = time.monotonic() if stage == "ready" and not counts[stage] else began
            counts[stage] += 1
            left = (time.monotonic() - began) / counts[stage] * (len(cells) - counts[stage])
            if len(cells) > 1:
                self._view.preparing(stage, counts[stage], len(cells), left)
        return found


def _is_good(outcome: dict | None) -> bool:
    return outcome is not None and outcome["status"] in ("ok", "nan")
