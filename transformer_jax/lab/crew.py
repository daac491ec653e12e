"""The workers of a run: one, or several beside each other for cells that time nothing."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from transformer_jax.lab.plan import Cell
from transformer_jax.lab.supervisor import Stopped, Worker


def beside(cells: ModuleType, cell: Cell) -> bool:
    """Whether others may run while a cell of an experiment does: its SIDE_BY_SIDE says so of all, or of each by its
    config."""
    rule = getattr(cells, "SIDE_BY_SIDE", False)
    return bool(rule(cell.config) if callable(rule) else rule)


def why_alone(cells: ModuleType, planned: Sequence[Cell], platform: str) -> str | None:
    """Why all planned cells of an experiment must run one after the other on such a device; None where several may run
    at once, and the others alone after them."""
    if not any(beside(cells, cell) for cell in planned):
        return "its cells measure time or memory, which others at work would change"
    return None if platform == "cpu" else f"every worker would take the {platform}, or its memory, from the others"


class Crew:
    """Workers of one experiment, each with a process of its own, which starts when there is something for it to do."""

    def __init__(self, experiment: Path, count: int = 1, stopping: Callable[[], bool] = lambda: False):
        """As `Worker`."""
        self._broken = threading.Event()
        self.workers = [Worker(experiment, lambda: stopping() or self._broken.is_set()) for _ in range(count)]
        self.first = self.workers[0]
        """Whom everything else is asked that the experiment must say."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill(self.workers)

    def start(self) -> dict:
        """Starts the first; what it says of code and machine must be so for the others as well. Raises: as `Worker`."""
        facts = self.first.start()
        for worker in self.workers:
            worker.facts = facts
        return facts

    def kill(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.kill()

    def share(self, cells: Sequence[Cell], call: Callable[[Worker, Cell], bool]) -> list[Cell]:
        """Calls for each cell, in their order, with whichever worker is free, a thread for each; the cells for which
        that gave False. All workers but the first are gone then, if there are such cells.

        Raises:
          what a call raises: the other calls are told to stop, and the first error that is no Stopped counts.
        """
        waiting, taking, refused = iter(cells), threading.Lock(), []

        def work(worker: Worker) -> None:
            try:
                while not self._broken.is_set():
                    with taking:
                        cell = next(waiting, None)
                    if cell is None:
                        return
                    if not call(worker, cell):
                        refused.append(cell)
            except BaseException:
                self._broken.set()
                raise

        with ThreadPoolExecutor(len(self.workers)) as threads:
            ended = [threads.submit(work, worker) for worker in self.workers]
        errors = sorted(filter(None, (one.exception() for one in ended)), key=lambda e: isinstance(e, Stopped))
        if errors:
            raise errors[0]
        if refused:
            self.kill(self.workers[1:])
        return refused
