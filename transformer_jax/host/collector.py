"""Python's collector of cycles, held back while a command starts."""

import contextlib
import gc
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def paused() -> Iterator[Callable[[], None]]:
    """Yields what lets the collector go on before the context ends, where it goes on in any case.

    Imports and traces make some million objects, nearly all of which stay. To look through them again and again took a
    tenth of the CPU time until the first steps; a process that is not told to go on would keep garbage for long.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    gc.disable()
    try:
        yield gc.enable
    finally:
        gc.enable()
