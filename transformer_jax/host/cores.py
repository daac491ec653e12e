"""The cores that this process runs on."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

THREADS = Path("/proc/self/task")


def count() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_withhold() -> bool:
    """Whether `one_core` can work here: on Linux, where there is more than one core."""
    return hasattr(os, "sched_setaffinity") and THREADS.is_dir() and count() > 1


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """All threads of this process share one core meanwhile; threads that begin there get those of the caller after it.

    A program that was compiled for several threads keeps them: they take turns.
    """
    own, before = os.sched_getaffinity(0), {}
    try:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {min(own)})
        yield
    finally:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, before.get(thread, own))


def _threads() -> list[int]:
    return [int(path.name) for path in THREADS.iterdir()]
