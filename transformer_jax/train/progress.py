"""Counts the steps of a launch and measures their time; a display extends it."""

import contextlib
import time
from collections.abc import Iterator


class Progress:
    """Counts steps and shows nothing."""

    seconds = 0.0
    """Wall time of all steps but those of the first chunk, which may compile; evaluations are left out."""
    steps = 0
    """The steps in that time."""
    began: int | None = None
    """The step from which this launch goes on; None until its loop begins."""
    advanced = False
    """Whether ending the process now would lose something: the loop has done steps, or has ended."""

    def starting(self, step: int, num_steps: int) -> None:
        """Called once the folder is this run's, before anything compiles; `step` is that of the newest checkpoint."""

    @contextlib.contextmanager
    def showing(self, step: int, num_steps: int) -> Iterator[None]:
        """A context around the loop, which goes from `step` to `num_steps`."""
        self.num_steps, self._at, self._since = num_steps, step, None
        self.began = step
        self.seconds, self.steps = 0.0, 0  # of this training alone, where one follows another
        yield
        self.advanced = True  # what is left to do is quick

    def note(self, text: str) -> None:
        """Called before the loop, or where it ends early, with what a person should know of this launch."""

    def compiling(self, number: int, count: int) -> None:
        """Called before there are steps to lose, as each of `count` programs is about to be compiled, from the first
        on."""

    def advance(self, step: int, lanes: list[dict[str, float]]) -> None:
        """Called after every chunk, with its metrics by lane."""
        now = time.monotonic()
        if self._since is not None and step > self._at:  # the first chunk compiles
            self.seconds += now - self._since
            self.steps += step - self._at
        self._at, self._since = step, now

    def evaluated(self, step: int, lanes: list[dict[str, float]]) -> None:
        """Called after every evaluation, whose time is not that of steps."""
        self._since = time.monotonic()

    @property
    def step_seconds(self) -> float | None:
        """Mean wall time of a step, None before there is one."""
        return self.seconds / self.steps if self.steps else None
