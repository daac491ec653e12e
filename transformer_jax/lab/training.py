"""A cell that trains, seen from outside by what its run's folder holds: in which phase it is, and how far."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SECONDS = 1.0  # between two looks
TAIL = 4096  # bytes; a row has a few hundred


PHASES = {"rates": "choosing the rate", "seeds": "{lanes} seeds"}
"""What a training does, by the name of its folder, as `lab.tuned` gives it."""


class Stage(NamedTuple):
    """How far a training is."""

    step: int
    """The last one that it has logged; 0 where it only compiled."""
    steps: int
    """All of them."""
    phase: str = "training"


def stage(folder: Path) -> Stage | None:
    """How far a training in the folder is; None: nothing trains there.

    Of several trainings one after another, each in a folder of its own below, or one further down, the last.
    """
    try:
        logs = [path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}metrics.jsonl")]
        last = max(logs, key=os.path.getmtime)
        with open(last, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")[:-1]  # what does not end in a newline is being written
        config = json.loads((last.parent / "config.json").read_text())
        phase = PHASES.get(last.parent.name, "training").format(lanes=config["train.lanes"])
        return Stage(json.loads(lines[-1])["step"] if lines else 0, config["train.num_steps"], phase)
    except (OSError, ValueError, KeyError):
        return None


class Watch:
    """Looks into a cell's folder now and then, and shows each stage that is new there.

    A cell that measures has no log there, so that this costs its samples no more than the look.
    """

    def __init__(self, folder: Path, show: Callable[[Stage], None]):
        """show: called with how far it is."""
        self._folder, self._show = folder, show
        self._next, self._shown = time.monotonic() + SECONDS, None

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        found, self._next = stage(self._folder), time.monotonic() + SECONDS
        if found not in (None, self._shown):
            self._shown = found
            self._show(found)
