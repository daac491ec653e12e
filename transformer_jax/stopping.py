"""Stopping on request: the first Ctrl-C or SIGTERM asks, the second ends the process at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

RESUMABLE = 75  # EX_TEMPFAIL, the exit code of a run that stopped cleanly and can go on from there


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields a question: has the user asked to stop?"""
    received = []

    def handle(number, frame):
        if received:
            os._exit(RESUMABLE)
        received.append(number)
        os.write(2, b"\nstopping; once more to exit at once\n")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
