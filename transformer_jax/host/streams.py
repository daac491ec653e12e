"""Standard output and error for people, which may be gone before the work is done."""

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


class Unfailing:
    """A stream for people. When nobody can read it any more (tee is gone, the disk is full), only its text is lost."""

    def __init__(self, stream: TextIO, lost: type[OSError] = OSError):
        """`lost`: the errors that are not raised; another one is raised once."""
        self._stream, self._lost = stream, lost

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raised = not isinstance(error, self._lost)
            if raised or isinstance(error, BrokenPipeError):  # the stream keeps the text: it would fail again at exit
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            if raised:
                raise
