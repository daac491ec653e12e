"""Steps of several programs timed in turns, so that what the machine does meanwhile meets all of them alike."""

from collections.abc import Mapping

import jax

from transformer_jax.measure import programs, timing
from transformer_jax.measure.work import Work


def step_seconds(works: Mapping[str, Work], samples: int, min_sample_seconds: float) -> list[dict]:
    """So many samples of each piece of work, one of each in every dict: `step_seconds`, and how long it took to compile
    (`compile_seconds`, `compile_cached`), each behind the work's name.

    A sample lasts at least min_sample_seconds (`timing.Timer`). All are compiled, and have run once, before the first.
    """
    known: dict = {"device": jax.devices()[0].device_kind}
    timers = {}
    for name, work in works.items():
        program = programs.build(work)
        args = program.make_args()
        compiled = timing.compile_program(program.fn, args)
        jax.block_until_ready(compiled(*args))
        known |= {f"{name}compile_seconds": compiled.compile_seconds, f"{name}compile_cached": compiled.cached}
        timers[name] = timing.Timer(lambda run=compiled, args=args: run(*args), min_sample_seconds)
    return [
        known | {f"{name}step_seconds": timer().step_seconds for name, timer in timers.items()} for _ in range(samples)
    ]
