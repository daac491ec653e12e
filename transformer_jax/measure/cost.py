"""All that is measured of one piece of work: samples of its time, beside what is known of it without a clock."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from transformer_jax.measure import flops, memory, programs, timing
from transformer_jax.measure.closed_form import implementation, matmul_flops, num_params, record
from transformer_jax.measure.work import Work

Columns = dict[str, Any]


def sampler(work: Work, min_sample_seconds: float) -> Callable[[], Columns]:
    """Compiles the work's program and counts what it costs; each call of what it returns is one sample, as columns."""
    program = programs.build(work)
    arguments = programs.Arguments(program.make_args)
    compiled = timing.compile_program(program.fn, arguments())
    columns = _known(work, program, compiled, arguments())
    calibration = timing.calibration(work.config.model.dtype)
    timer = timing.Timer(lambda: compiled(*arguments()), min_sample_seconds, calibration)

    def sample() -> Columns:
        arguments()  # made outside the sample where they were not kept
        taken = asdict(timer())
        taken |= {name: taken[name] / program.steps for name in ("step_seconds", "cpu_seconds")}
        taken["inner_steps"] *= program.steps
        return columns | taken | {"matmul_peak_flops": calibration.peak_flops}

    return sample


def _known(work: Work, program: programs.Program, compiled: timing.Compiled, args: tuple) -> Columns:
    """What does not change from sample to sample; the program runs once, for its peak of memory."""
    counted = flops.count(program.fn, *args)
    xla = compiled.program.cost_analysis() or {}
    return {
        "compile_seconds": compiled.compile_seconds,
        "compile_cached": compiled.cached,
        "tokens": program.tokens,
        "mixer_width": record(work.config.model).width,
        "num_params": num_params(work.config.model, work.shape, work.level),
        "implementation": implementation(work),
        "closed_form_flops": matmul_flops(work),
        "jaxpr_matmul_flops": round(counted.matmul_flops / program.steps),
        "jaxpr_flops": round(counted.flops / program.steps),
        "jaxpr_transcendentals": round(counted.transcendentals / program.steps),
        "jaxpr_bytes": round(counted.bytes / program.steps),
        "sequential_depth": round(counted.sequential_depth / program.steps),
        "xla_flops": xla.get("flops"),
        "xla_bytes": xla.get("bytes accessed"),
        **asdict(memory.program_memory(compiled.program)),
        **memory.peak_columns(compiled, args),
    }
