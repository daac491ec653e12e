"""The clock: compiled programs timed in samples, each between two matmuls that tell a noisy machine.

A sample is a few batches of steps; its time is the median batch's, so that a burst of foreign work in one batch
does not count. The steps of a batch are handed to the device one after another and the last result is waited
for. A device runs the programs that it is given in order, so this is the time of a step when steps follow each
other, as in training; Python's and the runtime's share of a call counts where it is longer than the step. A
compiled program computes all its outputs at every call, whether or not they are used.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import monitoring

BATCHES = 5
MAX_BATCH_STEPS = 1_000_000


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
    of arguments whose memory the results may take; the caller then steps with what it was given back.
    """
    clock, hits = clock or Clock(), []

    def listen(event: str, **_) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    monitoring.register_event_listener(listen)
    try:
        start = clock.now()
        program = jax.jit(fn, donate_argnums=tuple(donate)).lower(*args).compile()
        seconds = (clock.now() - start) / 1e9
    finally:
        monitoring.unregister_event_listener(listen)
    return Compiled(program, seconds, bool(hits))


class Calibration:
    """A square matmul in JAX's default precision: how fast is this machine at this moment?

    Calling it gives the seconds of the best of `repeats` runs: with 2 of them, half of all calls on an idle
    2-core machine differed by more than 10 % from the call before, with 8 one in seven did. A call may be answered
    with the last one's result where that is at most `max_age` seconds old.
    """

    def __init__(self, dtype: str = "float32", size: int | None = None, repeats: int = 8, clock: Clock | None = None):
        size = size or (512 if jax.default_backend() == "cpu" else 8192)
        self.flops, self.repeats, self.clock = 2 * size**3, repeats, clock or Clock()
        self.operand = jnp.full((size, size), 1 / size, dtype)
        self.matmul = compile_program(jnp.matmul, (self.operand, self.operand)).program
        self.best_seconds = float("inf")
        self()

    def __call__(self, max_age: float = 0.0) -> float:
        if max_age and (self.clock.now() - self.last_end) / 1e9 <= max_age:
            return self.last_seconds
        seconds = []
        for _ in range(self.repeats):
            start = self.clock.now()
            jax.block_until_ready(self.matmul(self.operand, self.operand))
            seconds.append((self.clock.now() - start) / 1e9)
        self.last_seconds, self.last_end = min(seconds), self.clock.now()
        self.best_seconds = min(self.best_seconds, self.last_seconds)
        return self.last_seconds

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
    """One sample.

    step_seconds: of a step in the median batch. cpu_seconds: mean per step over all `inner_steps` steps.
    calibration_seconds: mean of the calibration matmul before and after. noisy: those two differed by more
    than the allowed share in every try, or both were slower than the best of this process by too much.
    """

    step_seconds: float
    cpu_seconds: float
    inner_steps: int
    calibration_seconds: float
    noisy: bool


class Timer:
    """Samples the time of `step()`, which returns the arrays to wait for (or has waited already).

    `step` has been called before: what a first call has to set up is not timed here. A sample lasts at least
    `min_sample_seconds`, in `BATCHES` batches or, of long steps, fewer. If the calibrations before and after it
    differ by more than `max_drift` (as a share of the smaller), the sample is thrown away and taken again, at most
    `retries` times; then the one with the least drift is kept and marked noisy. A machine that is slow all the
    time (both calibrations more than `max_slow` above the best so far) only marks the sample: trying again would
    not help. Whether it is kept never depends on the time of the step itself.
    """

    def __init__(
        self,
        step: Callable[[], Any],
        min_sample_seconds: float,
        calibrate: Calibration | None = None,
        clock: Clock | None = None,
        max_drift: float = 0.1,
        max_slow: float = 0.25,
        retries: int = 1,
    ):
        self.step, self.min_sample_seconds = step, min_sample_seconds
        self.calibrate, self.clock = calibrate or calibration(), clock or Clock()
        self.max_drift, self.max_slow, self.retries = max_drift, max_slow, retries
        self.batch_steps = 1
        while (wall := self._batch()[0]) < min_sample_seconds / BATCHES:
            if self.batch_steps == MAX_BATCH_STEPS:
                raise RuntimeError(f"{self.batch_steps} steps took {wall} s: the clock stands still")
            growth = min(100, 1.2 * min_sample_seconds / BATCHES / max(wall, 1e-9))
            self.batch_steps = min(MAX_BATCH_STEPS, max(self.batch_steps + 1, int(growth * self.batch_steps)))
        self.num_batches = max(1, math.ceil(min_sample_seconds / wall))  # at most BATCHES

    def __call__(self) -> Sample:
        tries = []
        before = self.calibrate(max_age=0.05)  # the sample before ended with one
        for _ in range(1 + self.retries):
            batches = self._batches()
            after = self.calibrate()
            drift = max(before, after) / min(before, after) - 1
            slow = min(before, after) / self.calibrate.best_seconds - 1
            noisy = drift > self.max_drift or slow > self.max_slow
            wall, cpu = np.median([wall for wall, _ in batches]), np.mean([cpu for _, cpu in batches])
            times = (float(wall) / self.batch_steps, float(cpu) / self.batch_steps)
            sample = Sample(*times, len(batches) * self.batch_steps, (before + after) / 2, noisy)
            tries.append((drift, sample))
            if drift <= self.max_drift:
                break
            before = after
        return min(tries, key=lambda attempt: attempt[0])[1]

    def _batches(self) -> list[tuple[float, float]]:
        """Wall and CPU seconds of `num_batches` batches, and of more only if those were too short."""
        batches = [self._batch() for _ in range(self.num_batches)]
        while sum(wall for wall, _ in batches) < self.min_sample_seconds:
            batches.append(self._batch())
        return batches

    def _batch(self) -> tuple[float, float]:
        start, start_cpu = self.clock.now(), self.clock.cpu()
        for _ in range(self.batch_steps):
            result = self.step()
        jax.block_until_ready(result)
        return (self.clock.now() - start) / 1e9, (self.clock.cpu() - start_cpu) / 1e9
