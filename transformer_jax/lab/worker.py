"""The process that cells run in: reads requests and answers outcomes, one JSON line each, on pipes of its own.

Started by `process.Worker` as `python -m transformer_jax.worker FILE REQUEST_FD RESPONSE_FD`. Standard output
and error stay free, so that what a library prints cannot garble the protocol.
"""

import faulthandler
import json
import math
import os
import platform
import queue
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

from transformer_jax import experiment
from transformer_jax.config import Config, from_flat

RESERVED = ("kind", "key", "round", "status", "header")
MAX_TEXT = 8000

_OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory|OutOfMemory|bad_alloc", re.IGNORECASE)
_BYTES = re.compile(r"(\d+) ?(?:bytes|B)\b")
_SCALED = re.compile(r"([\d.]+) ?([KMGTP])(?:i?B)?\b")


def main(path: str, request_fd: str, response_fd: str) -> None:
    """Says hello (what this machine is), then answers [function, config] with outcomes, until the parent is gone."""
    faulthandler.enable()
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(int(request_fd), requests), daemon=True).start()
    with os.fdopen(int(response_fd), "w") as responses:
        module = experiment.load(Path(path))
        _say(responses, describe(Path(path), module))
        while True:
            function, config = json.loads(requests.get())
            _say(responses, attempt(getattr(module, function), from_flat(config)))


def _listen(request_fd: int, requests: queue.SimpleQueue) -> None:
    """Passes requests on; ends this process group when the parent is gone, even in the middle of a cell."""
    with os.fdopen(request_fd) as lines:
        for line in lines:
            requests.put(line)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _say(responses, message: dict) -> None:
    responses.write(json.dumps(message, allow_nan=False) + "\n")
    responses.flush()


def attempt(cell: Callable[[Config], dict], config: Config) -> dict:
    """Runs one cell and says what became of it.

    Returns:
      {"status": "ok" | "nan", "row": ...} or {"status": "oom" | "failed", "message", "traceback"} and,
      for "oom", "requested_bytes" (None where the error does not say), for "failed", "runtime_failed".
    """
    try:
        row = cell(config)
        values = plain(row)
    except BaseException as error:  # a SystemExit inside a cell is its failure too
        return failure(error)
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return {"status": "ok" if finite == values else "nan", "row": finite}


def plain(row: dict) -> dict:
    """The row with NumPy and JAX scalars as Python ones.

    Raises:
      TypeError: not a flat dict of numbers, texts, booleans and None under names of its own.
    """
    if not isinstance(row, dict):
        raise TypeError(f"cell must return a dict, not {type(row).__name__}")
    values = {}
    for name, value in row.items():
        if not isinstance(name, str) or name in RESERVED or "." in name:
            taken = ", ".join(RESERVED)
            raise TypeError(f"cell returned a column {name!r}: {taken} and dotted names belong to the runner")
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            value = value.item()
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise TypeError(f"cell returned {name!r} as {type(value).__name__}: a row is flat and holds scalars")
        values[name] = value
    return values


def failure(error: BaseException) -> dict:
    """What a row says about an exception."""
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


def is_out_of_memory(text: str) -> bool:
    """Whether a message of XLA, CUDA or the C++ library says that memory ran out."""
    return bool(_OUT_OF_MEMORY.search(text))


def requested_bytes(text: str) -> int | None:
    """The bytes that an out-of-memory message says were asked for; rounded where it says GiB; or None."""
    if exact := _BYTES.search(text):
        return int(exact[1])
    if scaled := _SCALED.search(text):
        return int(float(scaled[1]) * 1024 ** ("KMGTP".index(scaled[2]) + 1))
    return None


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MAX_TEXT else "...\n" + text[-MAX_TEXT:]


def describe(path: Path, module: ModuleType) -> dict:
    """What the numbers depend on besides the config: code, versions, device, processor, threads, flags.

    An experiment with USES_JAX = False is spared the import of jax and reports the device "none".
    """
    facts = {
        "code": experiment.code_version(path),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "cpu_model": _cpu_model(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "device": "none",
        "device_count": 0,
        "matmul_precision": None,
        "x64": None,
    }
    if getattr(module, "USES_JAX", True):
        import jax

        facts |= {
            "device": jax.devices()[0].device_kind,
            "device_count": jax.device_count(),
            "matmul_precision": jax.config.jax_default_matmul_precision or "default",
            "x64": bool(jax.config.jax_enable_x64),
        }
    return facts


_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main(*sys.argv[1:])
