"""The longest sequence of which one training step can be done: bisection, each try in a process of its own."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from transformer_jax.config import Config, MeasureConfig, flatten
from transformer_jax.host import compilation
from transformer_jax.host.exhaustion import is_out_of_memory
from transformer_jax.host.provenance import ROOT
from transformer_jax.measure.one_step import READY

START_SECONDS = 180.0
Outcome = Literal["ok", "memory", "time"]


class Try(NamedTuple):
    """How one length went; seconds and bytes are None where no step was done."""

    tried_len: int
    outcome: Outcome
    compile_seconds: float | None = None
    step_seconds: float | None = None
    peak_bytes: int | None = None
    """Resident memory of the whole process at its peak."""


class Longest(NamedTuple):
    """What a search found: the longest length that could be done, and the shortest known that could not."""

    longest_len: int | None
    """None: not even the first length could be done."""
    too_long: int | None
    """None: the search ended at the cap, which could be done."""
    limited_by: Literal["memory", "time", "cap"]
    """What ended the try at `too_long`."""
    tries: tuple[Try, ...]


def search(attempt: Callable[[int], Try], first: int, cap: int, halvings: int) -> Longest:
    """Doubles the length from `first` until a try fails, then halves the bracket, in logarithms, so many times.

    After h halvings the two ends are a factor 2^(1 / 2^h) apart. A length that can be done is taken to say that every
    shorter one can be.
    """
    tries = [attempt(first)]
    while tries[-1].outcome == "ok" and tries[-1].tried_len < cap:
        tries.append(attempt(min(2 * tries[-1].tried_len, cap)))
    for _ in range(halvings):
        done, failed = _bracket(tries)
        if done is None or failed is None or failed.tried_len - done.tried_len < 2:
            break
        middle = round((done.tried_len * failed.tried_len) ** 0.5)
        tries.append(attempt(min(max(middle, done.tried_len + 1), failed.tried_len - 1)))
    done, failed = _bracket(tries)
    return Longest(
        done and done.tried_len, failed and failed.tried_len, failed.outcome if failed else "cap", tuple(tries)
    )  # fmt: skip


def _bracket(tries: list[Try]) -> tuple[Try | None, Try | None]:
    """The longest that could be done and the shortest that could not."""
    failed = min((one for one in tries if one.outcome != "ok"), default=None)
    return max((one for one in tries if one.outcome == "ok"), default=None), failed


def attempt(config: Config, limit_bytes: int, limit_seconds: float) -> Try:
    """One training step of the config's language model in a process of its own, within limits.

    Args:
      limit_bytes: of the process's data (see `one_step`).
      limit_seconds: for the arguments, compiling and the step; loading the libraries does not count.

    Raises:
      RuntimeError: the process ended without an answer and without saying that memory ran out, or took longer than
        START_SECONDS to load its libraries; with the end of what it printed.
    """
    T = config.task.seq_len
    # what an experiment adds to `measure` is its own: a step reads none of it
    flat = flatten(Config(config.model, config.task, config.train, MeasureConfig()))
    with tempfile.TemporaryFile() as log, _process(log) as child:
        child.stdin.write(json.dumps({"config": flat, "limit_bytes": limit_bytes}).encode())
        child.stdin.close()
        if (line := _line(child.stdout, START_SECONDS)) == READY:
            line = _line(child.stdout, limit_seconds)
            if line is None:
                return Try(T, "time")
        elif line is None:
            raise RuntimeError(f"a process that tries one step did not start within {START_SECONDS:g} s")
        if line:
            return Try(T, **json.loads(line))
        if (code := child.wait()) == -signal.SIGKILL:  # by the kernel, which chooses it first where memory runs out
            return Try(T, "memory")
        log.seek(0)
        end = log.read().decode(errors="replace")[-2000:]
    if is_out_of_memory(end):
        return Try(T, "memory")
    raise RuntimeError(f"a process that tried one step of task.seq_len={T} ended with {code}:\n{end}")


@contextlib.contextmanager
def _process(log):
    """The child in this process's group, which is killed at the end in any case."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "transformer_jax.measure.one_step"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        env=os.environ | compilation.environment() | {"PYTHONPATH": path},
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def _line(stream, seconds: float) -> str | None:
    """The next line, "" at the end of the stream, None if it takes longer."""
    deadline, read = time.monotonic() + seconds, b""
    while not read.endswith(b"\n"):
        if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        if not (byte := stream.read(1)):
            break
        read += byte
    return read.decode().strip()
