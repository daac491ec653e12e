"""A worker process from outside: when it is replaced, and what counts as evidence of how it ended."""

import os
import signal
import time
from pathlib import Path

import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.lab import supervisor
from transformer_jax.lab.sweep import Job

CELLS = '''"""Its cell with seq_len 13 misbehaves."""
import os
from transformer_jax.config import Config

USES_JAX = False
BASE = Config()
STUDIES = {}

def cell(config, job):
    if config.task.seq_len == 13:
        FAULT
    return {"tokens": config.task.seq_len}
'''


def write_experiment(folder: Path, fault: str = "pass") -> Path:
    (folder / "tiny").mkdir()
    (folder / "tiny" / "cells.py").write_text(CELLS.replace("FAULT", fault.replace("\n", "\n        ")))
    return folder / "tiny"


def run(worker, seq_len: int = 13) -> dict:
    return worker.run(with_overrides(Config(), {"task.seq_len": seq_len}), 60, Job(0, Path("unused"), 0))


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize(("error", "replaced"), [("JaxRuntimeError", True), ("ValueError", False)])
def test_a_worker_whose_runtime_failed_is_replaced(tmp_path, error, replaced):
    fault = f"class JaxRuntimeError(RuntimeError): pass\nraise {error}('INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS')"
    with supervisor.Worker(write_experiment(tmp_path, fault)) as worker:
        worker.start()
        first = worker._process.pid
        assert run(worker)["status"] == "failed"
        worker.start()
        assert (worker._process.pid != first) == replaced


def test_what_another_cell_printed_is_no_evidence(tmp_path):
    path = write_experiment(tmp_path, "os.kill(os.getpid(), 9)")
    with supervisor.Worker(path) as worker:
        worker.start()
        worker._log.write(b"an earlier cell ran out of memory")
        worker._log.flush()
        assert run(worker)["status"] == "killed"


def test_the_kernels_counter_is_read():
    assert supervisor.oom_kills() >= 0


def test_a_worker_that_died_between_cells_blames_none(tmp_path):
    path = write_experiment(tmp_path)
    with supervisor.Worker(path) as worker:
        assert run(worker, 11)["status"] == "ok"
        os.kill(worker._process.pid, signal.SIGKILL)
        wait_until(worker._has_exited)
        assert run(worker, 11)["status"] == "ok"


def test_code_that_changes_under_a_run_ends_it(tmp_path):
    path = write_experiment(tmp_path)
    with supervisor.Worker(path) as worker:
        worker.start()
        worker.kill()
        cells = path / "cells.py"
        cells.write_text(cells.read_text() + "# a comment is none\n")
        worker.start()
        worker.kill()
        cells.write_text(cells.read_text() + "edited = True\n")
        with pytest.raises(supervisor.WorkerError, match="code changed while cells were run"):
            worker.start()


def test_other_functions_of_the_experiment_are_asked_without_a_job(tmp_path):
    path = write_experiment(tmp_path)
    with (path / "cells.py").open("a") as file:
        file.write('def data(config): return {"a.set/1.0": "sha"}\n')
    with supervisor.Worker(path) as worker:
        assert worker.ask("data", Config(), 60) == {"status": "ok", "row": {"a.set/1.0": "sha"}}


def test_the_worker_finds_the_project_and_keeps_every_compiled_program(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    made = supervisor.environment()
    assert made["PYTHONPATH"].split(os.pathsep) == [str(supervisor.ROOT), "/elsewhere"]
    assert made["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0" and made["PATH"] == os.environ["PATH"]
