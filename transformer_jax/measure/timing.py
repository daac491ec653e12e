"""The clock: compiled programs timed in samples, beside a matmul that describes the machine.

A sample is a few batches of steps; its time is the median batch's, so that a burst of foreign work in one batch
does not count. It is taken once: none is thrown away or taken again, as noise belongs into the intervals. The steps
of a batch are handed to the device one after another and the last result is waited for. A device runs the programs
that it is given in order, so this is the time of a step when steps follow each other, as in training; Python's and
the runtime's share of a call counts where it is longer than the step. A compiled program computes all its outputs at
every call, whether or not they are used.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import monitoring

BATCHES = 3
MAX_BATCH_STEPS = 1_000_000
TRIALS, TRIAL_SECONDS = 5, 0.5  # of one size of batch: up to so many, of long steps two

_cache_hits = threading.local()  # .count: of programs that this thread has asked for


class Clock:
    """Monotonic wall time, and CPU time of this process over all its threads, in nanoseconds."""

    def now(self) -> int:
        return time.perf_counter_ns()

    def cpu(self) -> int:
        return time.process_time_ns()


@dataclass(frozen=True)
class Compiled:
    """A compiled program: call it like the function.

    compile_seconds: tracing, lowering and compiling. cached: XLA's part came from JAX's persistent cache, so
    that compile_seconds is the time of loading it.
    """

    program: jax.stages.Compiled
    compile_seconds: float
    cached: bool

    def __call__(self, *args: Any) -> Any:
        return self.program(*args)


def compile_program(fn: Callable, args: Sequence, donate: Sequence[int] = (), clock: Clock | None = None) -> Compiled:
    """Compiles `fn(*args)` ahead of time; `args` are pytrees of arrays or of `jax.ShapeDtypeStruct`.

    Everything in `args` stays an argument of the program, so nothing of it is constant-folded. `donate`: indices
    of arguments whose memory the results may take; the caller then steps with what it was given back. Several
    threads may compile at once.
    """
    clock = clock or Clock()
    _listen()
    hits, start = getattr(_cache_hits, "count", 0), clock.now()
    program = jax.jit(fn, donate_argnums=tuple(donate)).lower(*args).compile()
    seconds = (clock.now() - start) / 1e9
    return Compiled(program, seconds, getattr(_cache_hits, "count", 0) > hits)


@cache
def _listen() -> None:
    """Counts the programs that come from the cache, each in the thread that asks for it, from here on."""

    def count(event: str, **_) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _cache_hits.count = getattr(_cache_hits, "count", 0) + 1

    monitoring.register_event_listener(count)


class Calibration:
    """A square matmul in JAX's default precision: how fast is this machine at this moment?

    It describes and decides nothing. `at(place)` gives its seconds there, the best of `repeats` runs: with 2, half of
    all calls on an idle 2-core machine differed by more than 10 % from the call before, with 8 one in seven did.
    """

    def __init__(self, dtype: str = "float32", size: int | None = None, repeats: int = 8, clock: Clock | None = None):
        size = size or (512 if jax.default_backend() == "cpu" else 8192)
        self.flops, self.repeats, self.clock = 2 * size**3, repeats, clock or Clock()
        self.operand = jnp.full((size, size), 1 / size, dtype)
        self.matmul = compile_program(jnp.matmul, (self.operand, self.operand)).program
        self.best_seconds, self._place = float("inf"), None
        self._seconds = self._run()

    def at(self, place: Hashable) -> float:
        """Seconds of the matmul, run anew where the place (a pass and a group of cells, say) is not the last call's."""
        if place != self._place:
            self._place, self._seconds = place, self._run()
        return self._seconds

    def _run(self) -> float:
        seconds = []
        for _ in range(self.repeats):
            start = self.clock.now()
            jax.block_until_ready(self.matmul(self.operand, self.operand))
            seconds.append((self.clock.now() - start) / 1e9)
        self.best_seconds = min(self.best_seconds, *seconds)
        return min(seconds)

    def columns(self, place: Hashable) -> dict[str, float]:
        """What a row says of the machine."""
        return {"calibration_seconds": self.at(place), "matmul_peak_flops": self.peak_flops}

    @property
    def peak_flops(self) -> float:
        """FLOP/s of the best run so far: the measured peak that achieved FLOP/s are a share of."""
        return self.flops / self.best_seconds


@cache
def calibration(dtype: str = "float32") -> Calibration:
    """This process's calibration in one dtype, compiled once."""
    return Calibration(dtype)


@dataclass(frozen=True)
class Sample:
    """One sample: seconds of a step in the median batch, and CPU seconds per step over all `inner_steps` steps."""

    step_seconds: float
    cpu_seconds: float
    inner_steps: int


class Timer:
    """Samples the time of `step()`, which returns the arrays to wait for (or has waited already).

    `step` has been called before: what a first call has to set up is not timed here. A sample lasts at least
    `min_sample_seconds`, in `BATCHES` batches, or one step that is as long. How many steps make a batch is found once,
    from the fastest of several trials of each size: a burst of foreign work in one trial must not pass for the time
    of a step, and leave all later samples with batches that are too short.
    """

    def __init__(self, step: Callable[[], Any], min_sample_seconds: float, clock: Clock | None = None):
        self.step, self.min_sample_seconds, self.clock = step, min_sample_seconds, clock or Clock()
        self.batch_steps, enough = 1, min_sample_seconds / BATCHES
        while (wall := self._fastest(enough)) < enough:
            if self.batch_steps == MAX_BATCH_STEPS:
                raise RuntimeError(f"{self.batch_steps} steps took {wall} s: the clock stands still")
            growth = min(100, 1.2 * enough / max(wall, 1e-9))
            self.batch_steps = min(MAX_BATCH_STEPS, max(self.batch_steps + 1, int(growth * self.batch_steps)))
        self.num_batches = 1 if wall >= min_sample_seconds else BATCHES  # of two the median is the mean
        self.sample_seconds = self.num_batches * wall

    def __call__(self) -> Sample:
        batches = [self._batch() for _ in range(self.num_batches)]
        while sum(wall for wall, _ in batches) < self.min_sample_seconds:
            batches.append(self._batch())
        wall, cpu = np.median([wall for wall, _ in batches]), np.mean([cpu for _, cpu in batches])
        return Sample(float(wall) / self.batch_steps, float(cpu) / self.batch_steps, len(batches) * self.batch_steps)

    def _fastest(self, enough: float) -> float:
        """Wall seconds of the fastest batch of today's size; one that is too short settles it at once."""
        walls = [self._batch()[0]]
        while min(walls) >= enough and len(walls) < TRIALS and (len(walls) < 2 or sum(walls) < TRIAL_SECONDS):
            walls.append(self._batch()[0])
        return min(walls)

    def _batch(self) -> tuple[float, float]:
        start, start_cpu = self.clock.now(), self.clock.cpu()
        for _ in range(self.batch_steps):
            result = self.step()
        jax.block_until_ready(result)
        return (self.clock.now() - start) / 1e9, (self.clock.cpu() - start_cpu) / 1e9
