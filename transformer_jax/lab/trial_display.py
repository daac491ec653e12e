"""What a person sees of a training run while it goes: a bar on a terminal, now and then a line elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_LINES = 10


class Progress:
    """Counts steps and shows nothing; `Shown` shows them."""

    seconds = 0.0
    """Wall time of the steps since the first look at them, compilation left out."""
    steps = 0
    """The steps in that time."""
    began: int | None = None
    """The step from which this launch goes on; None until its loop begins."""
    advanced = False
    """Whether this launch has something to lose: steps of its own, or its end, which the loop sets as it gets there."""

    @contextlib.contextmanager
    def showing(self, step: int, num_steps: int) -> Iterator[None]:
        """While the loop runs, from `step` to `num_steps`."""
        self.num_steps, self._at, self._since = num_steps, step, None
        self.began = step
        yield
        self.advanced = True  # what is left to do is quick

    def advance(self, step: int, lanes: list[dict[str, float]]) -> None:
        """After every chunk, with its mean metrics by lane."""
        now = time.monotonic()
        if self._since is not None and step > self._at:  # the first chunk compiles
            self.seconds += now - self._since
            self.steps += step - self._at
        self._at, self._since = step, now

    def evaluated(self, step: int, lanes: list[dict[str, float]]) -> None:
        """After every evaluation and save; their time is not that of the steps."""
        self._since = time.monotonic()

    @property
    def step_seconds(self) -> float | None:
        """Mean wall time of a step, None before there is one."""
        return self.seconds / self.steps if self.steps else None


class Shown(Progress):
    """Loss, tokens per second, share of the machine's matmul peak and time left."""

    def __init__(self, console: Console, tokens: int, flops: float | None = None, peak: float | None = None):
        """`tokens` and matmul `flops` of one step; `peak` FLOP/s that the machine was measured to reach."""
        self._console, self._tokens, self._flops, self._peak = console, tokens, flops, peak

    @contextlib.contextmanager
    def showing(self, step, num_steps):
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with super().showing(step, num_steps):
            with Bar(*columns, console=self._console, disable=not self._console.is_terminal) as self._bar:
                self._task = self._bar.add_task("compiling", total=num_steps, completed=step)
                yield

    def advance(self, step, lanes):
        before = self._at * PLAIN_LINES // self.num_steps
        super().advance(step, lanes)
        text = f"loss {_mean(lanes, 'loss'):.4f}"
        if self.step_seconds:
            text += f"  {self._tokens / self.step_seconds:,.0f} tokens/s"
            if self._flops and self._peak:
                text += f"  {self._flops / self.step_seconds / self._peak:.0%} of peak"
        self._bar.update(self._task, completed=step, description=text)
        if not self._console.is_terminal and step * PLAIN_LINES // self.num_steps > before:
            left = (self.num_steps - step) * (self.step_seconds or 0)
            self._line(f"step {step}/{self.num_steps}  {text}" + (f"  {left:.0f} s left" if left else ""))

    def evaluated(self, step, lanes):
        super().evaluated(step, lanes)
        said = "  ".join(f"{name} {_mean(lanes, name):.4f}" for name in lanes[0])
        self._line(f"step {step}/{self.num_steps}  validation: {said}")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _mean(lanes: list[dict[str, float]], name: str) -> float:
    return sum(lane[name] for lane in lanes) / len(lanes)
