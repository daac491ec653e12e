"""Memory that runs out: how a library's message says it, and how much of it is free."""

import re
from pathlib import Path

_OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|OutOfMemory|bad_alloc|cannot allocate memory"
    r"|allocate of <\d+> failed",  # YNNPACK, whose exception then says no more than "operation failed"
    re.IGNORECASE,
)


def is_out_of_memory(text: str) -> bool:
    """Whether it is the message of XLA, CUDA, the C or the C++ library when memory runs out."""
    return bool(_OUT_OF_MEMORY.search(text))


def available_bytes() -> int:
    """Memory that new processes can have without swapping (MemAvailable of proc(5)).

    Raises:
      OSError: this system has no /proc/meminfo.
    """
    (kibibytes,) = re.findall(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(kibibytes) * 1024
