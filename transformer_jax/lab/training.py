"""A cell that trains, seen from outside by what its run's folder holds: how far it is."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 1.0  # between two looks
TAIL = 4096  # bytes; a row has a few hundred


def step(folder: Path) -> int | None:
    """The last step that a training in the folder has logged, 0 where it only compiled; None: nothing trains there.

    Of several trainings one after another, each in a folder of its own below, or one further down, that of the last.
    """
    try:
        logs = [path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}metrics.jsonl")]
        with open(max(logs, key=os.path.getmtime), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")[:-1]  # what does not end in a newline is being written
        return json.loads(lines[-1])["step"] if lines else 0
    except (OSError, ValueError, KeyError):
        return None


class Watch:
    """Looks into a cell's folder now and then, and shows each step that is new there.

    A cell that measures has no log there, so that this costs its samples no more than the look.
    """

    def __init__(self, folder: Path, show: Callable[[int], None]):
        """show: called with the step."""
        self._folder, self._show = folder, show
        self._next, self._shown = time.monotonic() + SECONDS, None

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        found, self._next = step(self._folder), time.monotonic() + SECONDS
        if found not in (None, self._shown):
            self._shown = found
            self._show(found)
