"""Where a cell failed, from the traceback that its row holds."""

import re
from pathlib import Path

from transformer_jax.host.provenance import ROOT

PACKAGE = ROOT / "transformer_jax"
WORKER = PACKAGE / "lab" / "worker.py"  # which called the cell

_FRAME = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)


def place(traceback: str) -> str:
    """The innermost line of the experiment, and that of the package where the error was raised further in.

    " (x/cells.py, line 12)", " (x/cells.py, line 12; layers/attention.py, line 80)", or "" where neither is in it.
    """
    frames = [(Path(file), line) for file, line in _FRAME.findall(traceback)]
    frames = [(path, line) for path, line in frames if path != WORKER]
    own = [i for i, (path, _) in enumerate(frames) if path.name == "cells.py"][-1:]
    inside = [i for i, (path, _) in enumerate(frames) if PACKAGE in path.parents][-1:]
    found = [frames[i] for i in dict.fromkeys(own + [i for i in inside if not own or i > own[0]])]
    lines = [f"{path.parent.name}/{path.name}, line {line}" for path, line in found]
    return f" ({'; '.join(lines)})" if lines else ""
