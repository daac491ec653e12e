"""All that is measured of one piece of work: samples of its time, beside what is known of it without a clock."""

from collections.abc import Hashable
from dataclasses import asdict
from typing import Any

import jax

from transformer_jax.host import cores
from transformer_jax.measure import flops, memory, programs, timing
from transformer_jax.measure.closed_form import implementation, matmul_flops, num_params, record
from transformer_jax.measure.work import Work

Columns = dict[str, Any]


class Sampler:
    """Compiles the work's program and counts what it costs; a call is one sample, as columns.

    Several may be made at once, each in a thread; `settle` and the calls are for one thread, with nothing beside it.
    """

    def __init__(self, work: Work, min_sample_seconds: float):
        self.work, self.min_sample_seconds = work, min_sample_seconds
        self.program = programs.build(work)
        args = self.program.make_args()
        self.compiled = timing.compile_program(self.program.fn, args)
        self.columns = _known(work, self.program, self.compiled, args)
        self.timer: timing.Timer | None = None

    def settle(self) -> Columns:
        """The first steps: how much memory they take, and how many make a batch; {"sample_seconds"} of a sample."""
        if self.timer is None:
            arguments = programs.Arguments(self.program.make_args)
            self.columns |= memory.peak_columns(self.compiled, arguments())
            self.timer = timing.Timer(lambda: self.compiled(*arguments()), self.min_sample_seconds)
            self.arguments, self.calibration = arguments, timing.calibration(self.work.config.model.dtype)
        return {"sample_seconds": self.timer.sample_seconds}

    def __call__(self, place: Hashable) -> Columns:
        """One sample; place: the pass and the group of cells that it is taken in, where the machine is described."""
        self.settle()
        machine = self.calibration.columns(place)
        self.arguments()  # made outside the sample where they were not kept
        taken = asdict(self.timer())
        taken |= {name: taken[name] / self.program.steps for name in ("step_seconds", "cpu_seconds")}
        taken["inner_steps"] *= self.program.steps
        return self.columns | taken | machine


class OneCore(Sampler):
    """The same program, sampled with all threads of the process on one core of a CPU.

    Where cores cannot be withheld (an accelerator, a single core, another system than Linux) a sample has no
    `step_seconds`. How many steps make a batch, and the machine's own speed, are found on all cores.
    """

    def __call__(self, place: Hashable) -> Columns:
        if jax.default_backend() != "cpu" or not cores.can_withhold():
            return self.columns
        self.settle()
        self.calibration.at(place)
        with cores.one_core():
            return super().__call__(place)


def counted(program: programs.Program, args: tuple) -> Columns:
    """What the program's jaxpr says of one step; every column is None where a fused kernel hides it.

    Raises:
      UnknownPrimitive, UnknownTripCount: as `flops.count`.
    """
    columns = {"jaxpr_matmul_flops": "matmul_flops", "jaxpr_flops": "flops", "jaxpr_transcendentals": "transcendentals",
               "jaxpr_bytes": "bytes", "sequential_depth": "sequential_depth"}  # fmt: skip
    try:
        found = flops.count(program.fn, *args)
    except flops.HiddenInKernel:
        return dict.fromkeys(columns)
    return {column: round(getattr(found, name) / program.steps) for column, name in columns.items()}


def _known(work: Work, program: programs.Program, compiled: timing.Compiled, args: tuple) -> Columns:
    """What does not change from sample to sample and needs no step to be taken."""
    xla = compiled.program.cost_analysis() or {}
    return {
        "compile_seconds": compiled.compile_seconds,
        "compile_cached": compiled.cached,
        "tokens": program.tokens,
        "mixer_width": record(work.config.model).width,
        "num_params": num_params(work.config.model, work.shape, work.level),
        "implementation": implementation(work),
        "closed_form_flops": matmul_flops(work),
        **counted(program, args),
        "xla_flops": xla.get("flops"),
        "xla_bytes": xla.get("bytes accessed"),
        **asdict(memory.program_memory(compiled.program)),
    }
