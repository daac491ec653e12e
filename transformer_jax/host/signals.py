"""Stopping on request: the first Ctrl-C or SIGTERM asks, the second ends the process at once.

Python calls a signal's handler between two bytecodes of the main thread, and while XLA compiles there are none, half a
minute perhaps. The interpreter also writes each signal's number to a pipe, at once; a thread reads it there.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator

RESUMABLE = 75  # EX_TEMPFAIL, the exit code of a run that stopped cleanly and can go on from there

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_signals(leave: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
    """Yields a question: has the user asked to stop?

    Args:
      leave: called at the first signal, in a thread of its own. True: nothing would be lost, and the process ends here
        and now; what is to be written or printed before, `leave` has done. False, or an OSError: it goes on, and ends
        when whoever asks the question lets it.
    """
    if all(signal.getsignal(number) is _of_the_parent for number in _NUMBERS):
        yield lambda: False
        return
    asked = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    thread = threading.Thread(target=_watch, args=(reader, asked, leave), name="signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer)
    previous = {number: signal.signal(number, lambda *_: asked.set()) for number in _NUMBERS}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)  # which ends the thread
        thread.join()
        os.close(reader)


def end_at_once() -> None:
    """Lets a signal end the process where no run listens: there is nothing to save.

    An exception in place of that, as Python's own handler raises it, is lost where a library has called back.
    """

    def handle(number, frame):
        _print(b"\nstopped; repeat the command\n")
        _end()

    for number in _NUMBERS:
        signal.signal(number, handle)


def leave_to_parent() -> None:
    """For a process whose parent listens to signals and kills it when it should end: here they do nothing, not even to
    `stop_signals`. What it starts with exec has the usual handlers again."""
    for number in _NUMBERS:
        signal.signal(number, _of_the_parent)


def _of_the_parent(number, frame) -> None:
    pass


def ignore() -> None:
    """From here on no signal changes how the process ends: as it exits, Python would give up the handlers first."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _watch(reader: int, asked: threading.Event, leave: Callable[[], bool]) -> None:
    first = None
    while number := os.read(reader, 1):
        if number[0] not in _NUMBERS:
            continue  # of a handler that somebody else has set
        asked.set()
        if first is not None:
            first.join(0.5)  # what it writes to may be full, or a terminal that is held
            _end()
        first = threading.Thread(target=_first, args=(leave,), name="first signal", daemon=True)
        first.start()
    if first is not None:
        first.join()


def _first(leave: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):
        if leave():
            _end()
    _print(b"\nstopping; once more to exit at once\n")


def _end() -> None:
    for child in multiprocessing.active_children():  # they would wait for this process for ever
        child.kill()
    if os.isatty(2) and select.select([], [2], [], 0)[1]:
        _print(b"\x1b[?25h")  # a progress bar hides the cursor
    os._exit(RESUMABLE)


def _print(text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody may be there to read
        os.write(2, text)
