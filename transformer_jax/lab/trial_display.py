"""What a person sees of a training run while it goes: a bar on a terminal, now and then a line elsewhere."""

import contextlib
import time
from collections.abc import Callable
from functools import cache

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from transformer_jax.config import Config
from transformer_jax.measure import flops, timing
from transformer_jax.tasks.task import Task
from transformer_jax.train import programs
from transformer_jax.train.evaluate import texts
from transformer_jax.train.loop import next_stop
from transformer_jax.train.progress import Progress

PLAIN_LINES = 10
COMPILING = 2  # trainings, one after another: the second compiles what makes a Fisher of the first, later ones nothing
SECONDS_BETWEEN = 10.0  # lines about compiling, where there is no bar


def shown(console: Console, model, task: Task, config: Config) -> "Shown":
    """The display of a launch, with what is known of its work and of the machine."""
    tokens = config.task.batch_size * config.train.lanes * task.shape.seq_len
    tokens = None if _bucketed(task, config) else tokens

    def least_seconds() -> float | None:
        step_flops = matmul_flops(model, task, config)
        return step_flops and step_flops / timing.calibration().peak_flops

    return Shown(console, tokens, least_seconds)


def matmul_flops(model, task: Task, config: Config) -> float | None:
    """Matmul FLOPs of a training step; None: steps differ (texts bucketed by length), or a fused kernel or a loop of an
    unknown number of trips hides them."""
    if _bucketed(task, config):
        return None
    run = programs.build(model, task.objective, config.train)
    lanes = (config.train.lanes,) if config.train.lanes > 1 else ()
    batch = next(iter(task.evaluate("validation")))  # for one of training workers would start
    steps = next_stop(0, config.train)  # of a whole chunk: then its trace is that of the training
    shapes = {k: jax.ShapeDtypeStruct((steps, *lanes, *v.shape), v.dtype) for k, v in batch.items()}
    try:
        return flops.count(run.run_chunk, jax.eval_shape(run.init), shapes).matmul_flops / steps
    except (flops.HiddenInKernel, flops.UnknownTripCount):
        return None


def _bucketed(task: Task, config: Config) -> bool:
    """Whether steps differ in their lengths."""
    return bool(config.task.bucket_lengths) or task.examples is not None


class Shown(Progress):
    """Loss, tokens per second, share of the machine's matmul peak and time left; of one training, or of several one
    after another."""

    trainings = 0
    """How many have begun."""

    def __init__(self, console: Console, tokens: int | None, least_seconds: Callable = lambda: None):
        """`tokens` of one step, None: steps differ. `least_seconds()`: of a step, were it nothing but matrix products
        at the machine's peak; None: not known. It takes a while, and is asked once, when there is a time to compare.
        """
        self._console, self._tokens, self._least_seconds = console, tokens, cache(least_seconds)

    def starting(self, step, num_steps):
        if step < num_steps:  # else nothing is compiled
            after = f"from step {step} " if step else ""
            self.trainings += 1
            self._line(f"training {after}to step {num_steps}" + ": compiling ..." * self._compiles)

    def another(self) -> None:
        """Before another training: until its first steps are done nothing is lost by leaving."""
        self.advanced, self.began = False, None

    @contextlib.contextmanager
    def showing(self, step, num_steps):
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with super().showing(step, num_steps):
            self._shown = time.monotonic()
            with Bar(*columns, console=self._console, disable=not self._console.is_terminal) as self._bar:
                self._task = self._bar.add_task("compiling" * self._compiles, total=num_steps, completed=step)
                yield

    def note(self, text):
        self._line(text)

    def compiling(self, number, count):
        if not self._compiles:
            return
        text, now = f"compiling {number} of {count}", time.monotonic()
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal and now > self._shown + SECONDS_BETWEEN:
            self._line(text)
            self._shown = now

    def advance(self, step, lanes):
        before = self._at * PLAIN_LINES // self.num_steps
        super().advance(step, lanes)
        text = f"loss {_mean(lanes, 'loss'):.4f}"
        if self.step_seconds:
            steps = self.step_seconds
            text += f"  {self._tokens / steps:,.0f} tokens/s" if self._tokens else f"  {1 / steps:,.1f} steps/s"
            if least := self._least_seconds():
                text += f"  {least / steps:.0%} of peak"
            self._since = time.monotonic()  # what the first call of it took is no time of steps
        self._bar.update(self._task, completed=step, description=text)
        if not self._console.is_terminal and step * PLAIN_LINES // self.num_steps > before:
            left = (self.num_steps - step) * (self.step_seconds or 0)
            self._line(f"step {step}/{self.num_steps}  {text}" + (f"  {left:.0f} s left" if left else ""))

    def evaluated(self, step, lanes):
        super().evaluated(step, lanes)
        metrics = texts(lanes[0], digits=4)
        if len(lanes) > 1:
            metrics = {name: f"{_mean(lanes, name):.4f}" for name in metrics}
        metrics = "  ".join(f"{name} {text}" for name, text in metrics.items())
        self._line(f"step {step}/{self.num_steps}  validation: {metrics}")

    @property
    def _compiles(self) -> bool:
        return self.trainings <= COMPILING

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _mean(lanes: list[dict[str, float]], name: str) -> float:
    return sum(lane[name] for lane in lanes) / len(lanes)
