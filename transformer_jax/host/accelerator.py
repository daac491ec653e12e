"""Which device a program would run on and how much it holds, found without taking that device in this process."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

SECONDS = 120.0

_ASK = """
import json, jax
device = jax.devices()[0]
print(json.dumps([device.platform, (device.memory_stats() or {}).get("bytes_limit")]))
"""


class Device(NamedTuple):
    platform: str
    """ "cpu", "gpu" or "tpu"."""
    memory_bytes: int | None
    """What a program may take of it; None: unknown."""


def first_device() -> Device:
    """JAX's first device; the CPU where JAX finds none.

    Without a plugin for an accelerator there is none, and nothing is started. Else a process of its own asks, because
    one that has asked keeps the device, or memory on it.
    """
    here = Device("cpu", _memory_bytes())
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu" or not _plugin_is_there():
        return here
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, "-c", _ASK]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
        found = Device(*json.loads(ran.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return here  # the worker, which finds the same, reports it
    return here if found.platform == "cpu" else found


def _plugin_is_there() -> bool:
    modules = any(importlib.util.find_spec(name) is not None for name in ("jax_plugins", "libtpu"))
    return modules or bool(metadata.entry_points(group="jax_plugins"))


def _memory_bytes() -> int | None:
    """The machine's memory, or what this process' control group may take of it."""
    found = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            found.append(int(Path(path).read_text()))
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)
