"""A cell that trains, in its worker: stopped and launched again, it gives the row of an unbroken run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = "--train.num-steps 120 --train.warmup-steps 5 --train.eval-every 20 --train.checkpoint-every 20"
COMMAND = f"run.py experiment recall --only num_items=2 mixer=lstm {STEPS} --out"


def launch(out: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *COMMAND.split(), out], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def saved_steps(out: Path) -> list[int]:
    return [int(path.name) for path in out.glob("cells/*/*/checkpoints/*") if path.name.isdigit()]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_training_cell_goes_on_where_it_was_to_the_row_of_an_unbroken_run(tmp_path, how, code):
    whole, broken = launch(tmp_path / "whole"), tmp_path / "broken"
    assert whole.wait(300) == 0, whole.stderr.read()
    process = launch(broken)
    deadline = time.monotonic() + 300
    while not any(step >= 40 for step in saved_steps(broken)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate(timeout=60)
    steps = max(saved_steps(broken))
    assert process.returncode == code and steps < 120 and len((broken / "rows.jsonl").read_text().splitlines()) == 1
    again = launch(broken)
    assert again.wait(300) == 0, again.stderr.read()
    assert (broken / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
    assert len(os.listdir(broken / "cells")) == 1
