"""A process that compiles and runs one training step of a language model within a memory limit, and says how it went.

Started by `measure.longest` as `python -m transformer_jax.measure.one_step`; reads {"config", "limit_bytes"} as JSON
from standard input, prints READY once its libraries are loaded, and then one line of JSON. It may die instead: whoever
started it finds that out.
"""

import json
import resource
import sys
import time
from pathlib import Path

from transformer_jax.config import Config, from_flat
from transformer_jax.host.exhaustion import is_out_of_memory

READY = "ready"


def main() -> None:
    """Prints {"outcome": "ok", "compile_seconds", "step_seconds", "peak_bytes"} or {"outcome": "memory"}.

    The limit is on the data of this process (RLIMIT_DATA: heap and private mappings), which on a CPU hold the arrays.
    """
    asked = json.load(sys.stdin)
    Path("/proc/self/oom_score_adj").write_text("1000")  # where the kernel must end a process, it is this one
    resource.setrlimit(resource.RLIMIT_DATA, (asked["limit_bytes"], asked["limit_bytes"]))
    try:
        answer = {"outcome": "ok"} | _step(from_flat(asked["config"]))
    except Exception as error:
        if not (isinstance(error, MemoryError) or is_out_of_memory(f"{type(error).__name__}: {error}")):
            raise
        answer = {"outcome": "memory"}
    print(json.dumps(answer), flush=True)


def _step(config: Config) -> dict[str, float | None]:
    import jax

    from transformer_jax.measure import memory, programs, timing
    from transformer_jax.measure.work import Work, next_token

    if (backend := jax.default_backend()) != "cpu":
        raise SystemExit(f"the memory of a {backend} is not limited by this process's: set JAX_PLATFORMS=cpu")
    print(READY, flush=True)
    program = programs.build(Work(config, next_token(config)))
    args = program.make_args()
    compiled = timing.compile_program(program.fn, args)
    start = time.perf_counter()
    with memory.peak_rss() as rss:
        jax.block_until_ready(compiled(*args))
    seconds = time.perf_counter() - start
    return {"compile_seconds": compiled.compile_seconds, "step_seconds": seconds, "peak_bytes": rss.peak_bytes}


if __name__ == "__main__":
    main()
