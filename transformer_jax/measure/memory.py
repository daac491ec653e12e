"""Memory of a compiled program by XLA's own plan, and the peak of the process or the device as it ran."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax


@dataclass(frozen=True)
class ProgramMemory:
    """What XLA planned for one program, in bytes; every field is None where the backend reports nothing."""

    argument_bytes: int | None = None
    output_bytes: int | None = None
    temp_bytes: int | None = None
    alias_bytes: int | None = None
    generated_code_bytes: int | None = None


def program_memory(compiled: jax.stages.Compiled) -> ProgramMemory:
    """Reads `compiled.memory_analysis()`. Nothing but zeros is the report of a backend that has none."""
    try:
        analysis = compiled.memory_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return ProgramMemory()
    kinds = ("argument", "output", "temp", "alias", "generated_code")
    sizes = [getattr(analysis, f"{kind}_size_in_bytes", None) for kind in kinds]
    if None in sizes or not any(sizes[:3]):
        return ProgramMemory()
    return ProgramMemory(*sizes)


@dataclass
class PeakRss:
    """Resident memory of this process in bytes: as the watch began, and its peak, set as the watch ends."""

    start_bytes: int | None = None
    peak_bytes: int | None = None


@contextlib.contextmanager
def peak_rss() -> Iterator[PeakRss]:
    """Watches the resident memory's high-water mark: `with peak_rss() as rss: ...; rss.peak_bytes`.

    Linux only (the mark is reset through /proc/self/clear_refs, proc(5)); elsewhere both figures stay None.
    The mark is the whole process's, other threads included. What was resident at the start is part of it.
    """
    watch = PeakRss()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        watch.start_bytes = _status_bytes("VmHWM")
    except OSError:
        yield watch
        return
    try:
        yield watch
    finally:
        watch.peak_bytes = _status_bytes("VmHWM")


def _status_bytes(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def device_peak_bytes(device: jax.Device | None = None) -> int | None:
    """Most bytes that the device ever had in use in this process, or None where it does not say (CPU).

    The runtime offers no way to reset it: it belongs to the hungriest program so far.
    """
    stats = (device or jax.local_devices()[0]).memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None


def peak_columns(compiled: Callable, args: Sequence) -> dict[str, int | None]:
    """Runs the program once: the process's peak, by how much it rose, and the device's peak where it reports one.

    The process's peak holds what earlier programs left in memory; a rise of less than the program's own plan
    means that it ran in memory which the allocator had kept.
    """
    with peak_rss() as rss:
        jax.block_until_ready(compiled(*args))
    rise = None if rss.peak_bytes is None else rss.peak_bytes - rss.start_bytes
    return {"peak_rss_bytes": rss.peak_bytes, "rss_rise_bytes": rise, "device_peak_bytes": device_peak_bytes()}
