"""How fast this machine moves memory: the other roof beside the peak of a matmul (Williams et al. 2009, roofline)."""

from functools import cache

import jax
import jax.numpy as jnp

from transformer_jax.measure.timing import Clock, compile_program


@cache
def bytes_per_second(num_bytes: int = 2**28, repeats: int = 5, clock: Clock | None = None) -> float:
    """Bytes read and written a second while one is added to a float32 array of `num_bytes`, in its own memory: the best
    of `repeats`. The array should be larger than the caches.
    """
    clock, array = clock or Clock(), jnp.zeros(num_bytes // 4, jnp.float32)
    add_one = compile_program(lambda array: array + 1, (array,), donate=(0,))  # new memory would take longer to get
    array, seconds = jax.block_until_ready(add_one(array)), []
    for _ in range(repeats):
        start = clock.now()
        array = jax.block_until_ready(add_one(array))
        seconds.append((clock.now() - start) / 1e9)
    return 2 * array.nbytes / min(seconds)
