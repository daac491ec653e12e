"""What a result depends on besides its config: code, versions, device, threads, flags; private texts are left out."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from transformer_jax.host import cores, devices

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the folder that holds the package."""
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@cache
def versions() -> dict[str, str | None]:
    """The installed versions of Python and of what results depend on; None for what is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def machine(with_jax: bool = True) -> dict:
    """The machine and how programs are compiled on it.

    with_jax=False spares the import of jax, for who measures nothing on a device; the device is then "none".

    Raises:
      DeviceError: JAX finds no device.
    """
    facts = {
        "versions": versions(),
        "platform": platform.platform(),
        "cpu_model": _cpu_model(),
        "threads": cores.count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "device": "none",
        "device_count": 0,
        "process_count": 1,
        "matmul_precision": None,
        "x64": None,
    }
    if with_jax:
        import jax

        facts |= {
            "device": devices.require()[0].device_kind,
            "device_count": jax.device_count(),
            "process_count": jax.process_count(),
            "matmul_precision": jax.config.jax_default_matmul_precision or "default",
            "x64": bool(jax.config.jax_enable_x64),
        }
    return facts


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def commit() -> dict:
    """{"commit", "dirty"} of this checkout; None where the package is not in a repository of its own."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    unknown = {"commit": None, "dirty": None}
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return unknown  # installed inside somebody's repository, whose commit says nothing of this code
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return unknown


def without_private(value):
    """The same with the home directory as ~ and values of secret-looking environment variables as ***."""
    secrets = [v for name, v in os.environ.items() if len(v) >= 8 and _SECRET.search(name.upper())]
    home = str(Path.home())

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        if not isinstance(value, str):
            return value
        for secret in secrets:
            value = value.replace(secret, "***")
        return value if home == "/" else re.sub(re.escape(home) + r"(?![\w.-])", "~", value)

    return clean(value)


_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL")
