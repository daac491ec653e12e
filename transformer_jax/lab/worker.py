"""The process that cells run in: reads requests and answers outcomes, one JSON line each, on pipes of its own.

Started by `supervisor.Worker` as `python -m transformer_jax.lab.worker FOLDER REQUEST_FD RESPONSE_FD`. Standard output
and error stay free, so that what a library prints cannot garble the protocol.
"""

import faulthandler
import json
import math
import os
import queue
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from transformer_jax.config import with_overrides
from transformer_jax.host import cores, provenance, signals
from transformer_jax.host.devices import DeviceError
from transformer_jax.host.exhaustion import is_out_of_memory
from transformer_jax.lab.closure import code_version
from transformer_jax.lab.plan import Experiment
from transformer_jax.lab.sweep import Job

RESERVED = ("kind", "key", "round", "status", "header", "rows", "part", "studies")
MAX_TEXT = 8000
NO_DEVICE = 69  # exit code: JAX finds no device of the kind that was asked for

_BYTES = re.compile(r"(\d+) ?(?:bytes|B)\b")
_SCALED = re.compile(r"([\d.]+) ?([KMGTP])(?:i?B)?\b")


def main(folder: str, request_fd: str, response_fd: str) -> None:
    """Answers with what this machine is, then requests with outcomes, until the parent is gone.

    A request is [function, config] or, for the function "cell", [function, config, job], and has one answer; to
    ["prepare", [config, ...]] there are several (`prepare`).
    """
    signals.leave_to_parent()
    faulthandler.enable()
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(int(request_fd), requests), daemon=True).start()
    with os.fdopen(int(response_fd), "w") as responses:
        experiment = Experiment(Path(folder).name, Path(folder))
        cells = experiment.cells
        code = code_version(experiment.folder / "cells.py")
        _answer(responses, {"code": code} | provenance.machine(getattr(cells, "USES_JAX", True)))
        while True:
            function, flat, *job = json.loads(requests.get())
            if function == "prepare":
                prepare(cells, flat, partial(_answer, responses))
                continue
            jobs = [Job(seed, Path(place), round_) for seed, place, round_ in job]
            check = dict if function == "data" else plain  # names of data are no columns
            config = with_overrides(cells.BASE, flat)
            _answer(responses, attempt(getattr(cells, function), config, *jobs, check=check))


def _listen(request_fd: int, requests: queue.SimpleQueue) -> None:
    """Passes requests on; ends this process group when the parent is gone, even in the middle of a cell."""
    with os.fdopen(request_fd) as lines:
        for line in lines:
            requests.put(line)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _answer(responses, message: dict) -> None:
    responses.write(json.dumps(message, allow_nan=False) + "\n")
    responses.flush()


def prepare(cells, configs: Sequence[dict], answer: Callable[[dict], None]) -> None:
    """Calls the experiment's `prepare` for each config, as many at once as there are cores; then, one at a time, what
    it gave back.

    Answers {"prepared": index, "stage": "compiled" or "ready"} with an outcome, as `attempt`: one for each config
    and stage, or the one stage that went wrong. Last comes {"prepared": None}.
    """
    later: dict[int, Callable[[], dict | None]] = {}

    def compiled(index: int) -> dict:
        def first() -> dict:
            later[index] = cells.prepare(with_overrides(cells.BASE, configs[index]))
            return {}

        return {"prepared": index, "stage": "compiled"} | attempt(first)

    with ThreadPoolExecutor(cores.count()) as threads:
        for future in as_completed([threads.submit(compiled, index) for index in range(len(configs))]):
            answer(future.result())
    for index in sorted(later):
        settle = later[index]
        answer({"prepared": index, "stage": "ready"} | attempt(lambda settle=settle: _nothing_or_row(settle())))
    answer({"prepared": None})


def _nothing_or_row(returned: dict | None) -> dict:
    return returned if isinstance(returned, dict) else {}


def attempt(function: Callable, *arguments, check: Callable[[Any], dict] | None = None) -> dict:
    """Calls one of the experiment's functions; `check` makes what it returns a dict for JSON (default: `plain`).

    Returns:
      {"status": "ok" | "nan", "row": {...}}, or "rows": [{...}, ...] where it returned a list; or
      {"status": "oom" | "failed", "message", "traceback"} and, for "oom", "requested_bytes" (None where the error does
      not tell), for "failed", "runtime_failed".
    """
    try:
        returned = function(*arguments)
        several = isinstance(returned, (list, tuple))
        rows = [(check or plain)(row) for row in (returned if several else [returned])]
        if not rows:
            raise TypeError("cell returned a list without a row")
    except BaseException as error:  # a SystemExit inside a cell is its failure too
        return failure(error)
    finite = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    outcome = {"status": "ok" if finite == rows else "nan"}
    return outcome | ({"rows": finite} if several else {"row": finite[0]})


def plain(row: dict) -> dict:
    """The row with NumPy and JAX scalars as Python ones.

    Raises:
      TypeError: not a flat dict of numbers, texts, booleans and None under names of its own.
    """
    if not isinstance(row, dict):
        raise TypeError(f"cell must return a dict or a list of dicts, not {type(row).__name__}")
    values = {}
    for name, value in row.items():
        if not isinstance(name, str) or name in RESERVED or "." in name:
            taken = ", ".join(RESERVED)
            raise TypeError(f"cell returned a column {name!r}: {taken} and dotted names are set for it")
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            value = value.item()
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise TypeError(f"cell returned {name!r} as {type(value).__name__}: a row is flat and holds scalars")
        values[name] = value
    return values


def failure(error: BaseException) -> dict:
    """What a row holds of an exception."""
    chain, cause = [], error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    message = f"{type(error).__name__}: {error}"[:MAX_TEXT]
    runtime_failed = any(type(cause).__name__ == "JaxRuntimeError" for cause in chain)  # jax may not be loaded
    outcome = {"message": message, "traceback": _traceback(error)}
    for cause in chain:
        text = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, MemoryError) or is_out_of_memory(text):
            return outcome | {"status": "oom", "requested_bytes": requested_bytes(text)}
    return outcome | {"status": "failed", "runtime_failed": runtime_failed}


def requested_bytes(text: str) -> int | None:
    """The bytes that were asked for, from an out-of-memory message; rounded where it gives GiB; None if it does not."""
    if exact := _BYTES.search(text):
        return int(exact[1])
    if scaled := _SCALED.search(text):
        return int(float(scaled[1]) * 1024 ** ("KMGTP".index(scaled[2]) + 1))
    return None


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MAX_TEXT else "...\n" + text[-MAX_TEXT:]


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DeviceError as error:
        print(error, file=sys.stderr)  # without a traceback: the parent shows what was printed
        sys.exit(NO_DEVICE)
